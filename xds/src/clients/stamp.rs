//! Moments in eight bytes.

use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

/// One moment by both clocks, from which all others are counted.
static EPOCH: LazyLock<(Instant, SystemTime)> =
    LazyLock::new(|| (Instant::now(), SystemTime::now()));

/// A moment of this process, in nanoseconds since the first that was noted, which
/// is 1. Each stream keeps several per type, and the time of day is worked out
/// only when somebody reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(NonZeroU64);

impl Stamp {
    /// Now.
    pub(crate) fn now() -> Stamp {
        let _ = *EPOCH;
        Stamp::from(Instant::now())
    }

    /// The time of day.
    pub(crate) fn time(self) -> SystemTime {
        EPOCH.1 + self.since_epoch()
    }

    /// By the clock that only goes forward.
    pub(crate) fn instant(self) -> Instant {
        EPOCH.0 + self.since_epoch()
    }

    fn since_epoch(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }
}

/// What was before the first moment counts as that.
impl From<Instant> for Stamp {
    fn from(at: Instant) -> Self {
        let nanos = at.saturating_duration_since(EPOCH.0).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX - 1);
        Stamp(NonZeroU64::MIN.saturating_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_between_two_moments_is_kept_to_the_nanosecond() {
        let at = Stamp::now();
        let later = at.instant() + Duration::from_nanos(1_000_000_001);
        assert_eq!(Stamp::from(later).instant(), later);
        assert_eq!(Stamp::from(later).time(), at.time() + Duration::from_nanos(1_000_000_001));
    }

    #[test]
    fn an_optional_moment_takes_no_more_room() {
        assert_eq!(size_of::<Option<Stamp>>(), 8);
    }
}
