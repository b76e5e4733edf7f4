//! When the cold services' indices are looked at: pure.

use std::time::Duration;

use tokio::time::Instant;

/// Sweeps one after another, each at least as long after the last one's end as
/// that took: however fast the catalog changes, sweeping takes at most half of
/// the time, and a change is seen at the latest after three times a sweep's
/// duration (it may just miss a sweep, wait out the pause, and be seen last).
#[derive(Debug)]
pub(super) struct Sweep {
    running: Option<Instant>,
    remaining: usize,
    rested: Instant,
    wanted: bool,
}

impl Sweep {
    pub(super) fn new(now: Instant) -> Self {
        Self { running: None, remaining: 0, rested: now, wanted: false }
    }

    /// Something unnamed changed.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// When the next one is due; none while one is running or none is wanted.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.wanted && self.running.is_none()).then_some(self.rested)
    }

    /// It starts and looks at so many services.
    pub(super) fn start(&mut self, now: Instant, services: usize) {
        self.wanted = false;
        self.remaining = services;
        self.running = (services > 0).then_some(now);
    }

    /// One service was looked at.
    pub(super) fn looked(&mut self, now: Instant) {
        self.remaining = self.remaining.saturating_sub(1);
        if let Some(started) = self.running.filter(|_| self.remaining == 0) {
            self.running = None;
            self.rested = now + now.duration_since(started).max(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sweep_rests_as_long_as_it_took() {
        let now = Instant::now();
        let mut sweep = Sweep::new(now);
        assert_eq!(sweep.due(), None);
        sweep.want();
        assert_eq!(sweep.due(), Some(now));

        sweep.start(now, 2);
        sweep.want();
        assert_eq!(sweep.due(), None, "one at a time");

        let second = Duration::from_secs(1);
        sweep.looked(now + second);
        sweep.looked(now + 2 * second);
        assert_eq!(sweep.due(), Some(now + 4 * second), "wanted meanwhile");

        sweep.start(now + 4 * second, 0);
        assert_eq!(sweep.due(), None);
    }
}
