//! When to publish: pure, with the time as an input.

use tokio::time::Instant;

use crate::dirty::Pending;
use crate::settings::Debounce;

/// What is to be published now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Endpoints alone.
    AtOnce,
    Everything,
}

/// Decides when. Endpoints go at once, but no sooner than `spacing` after what
/// was published before; everything else after `quiet`, at the latest after
/// `longest`.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// When enough quiet will have passed, and until when it may be waited for.
    settled: Option<(Instant, Instant)>,
    /// Nothing is published earlier.
    earliest: Instant,
}

impl Schedule {
    pub(crate) fn new(now: Instant) -> Self {
        Self { settled: None, earliest: now }
    }

    /// Something arrived that waits for quiet.
    pub(crate) fn unsettled(&mut self, debounce: &Debounce, now: Instant) {
        let latest = self.settled.map_or(now + debounce.longest, |(_, latest)| latest);
        self.settled = Some((now + debounce.quiet, latest));
    }

    /// Something was published.
    pub(crate) fn published(&mut self, due: Due, debounce: &Debounce, now: Instant) {
        self.earliest = now + debounce.spacing;
        if due == Due::Everything {
            self.settled = None;
        }
    }

    /// What is to be published at `now`.
    pub(crate) fn due(&self, pending: &Pending, now: Instant) -> Due {
        if self.settles_at(pending).is_some_and(|at| at <= now) {
            Due::Everything
        } else if self.at_once_at(pending).is_some_and(|at| at <= now) {
            Due::AtOnce
        } else {
            Due::Nothing
        }
    }

    /// When something will be due, if nothing else arrives.
    pub(crate) fn next(&self, pending: &Pending) -> Option<Instant> {
        self.settles_at(pending).into_iter().chain(self.at_once_at(pending)).min()
    }

    fn settles_at(&self, pending: &Pending) -> Option<Instant> {
        let (quiet, latest) = self.settled?;
        (!pending.settling.is_empty()).then(|| quiet.min(latest).max(self.earliest))
    }

    fn at_once_at(&self, pending: &Pending) -> Option<Instant> {
        (!pending.at_once.is_empty()).then_some(self.earliest)
    }
}
