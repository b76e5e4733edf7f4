//! Heartbeats for resources that a client forgets without them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::names::Name;
use crate::resource::Resource;
use crate::version::Version;

/// Held resources that have a time to live, and when each is to be confirmed.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    beats: BTreeMap<Name, Beat>,
}

#[derive(Debug, Clone)]
pub(super) struct Beat {
    pub(super) version: Version,
    pub(super) ttl: Duration,
    due: Instant,
}

impl Heartbeats {
    /// A resource was sent, which restarts its time.
    pub(super) fn sent(&mut self, resource: &Resource, now: Instant) {
        match resource.ttl() {
            Some(ttl) => {
                let beat = Beat { version: resource.version(), ttl, due: now + interval(ttl) };
                self.beats.insert(resource.name().clone(), beat);
            }
            None => self.forget(resource.name()),
        }
    }

    pub(super) fn forget(&mut self, name: &str) {
        if !self.beats.is_empty() {
            self.beats.remove(name);
        }
    }

    pub(super) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.beats.retain(|name, _| wanted(name));
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.beats.values().map(|beat| beat.due).min()
    }

    /// Those due by now, each again after its interval.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(Name, Beat)> {
        let mut due = Vec::new();
        for (name, beat) in &mut self.beats {
            if beat.due <= now {
                beat.due = now + interval(beat.ttl);
                due.push((name.clone(), beat.clone()));
            }
        }
        due
    }
}

/// A third of the time to live, so that one lost heartbeat loses nothing.
fn interval(ttl: Duration) -> Duration {
    (ttl / 3).max(Duration::from_millis(1))
}
