//! How often something may be done: pure.

use std::time::Duration;

use tokio::time::Instant;

/// At most so many times within a span, refilled evenly.
#[derive(Debug)]
pub(super) struct Allowance {
    most: u32,
    refill: Duration,
    left: u32,
    filled: Instant,
}

impl Allowance {
    pub(super) fn new(most: usize, span: Duration, now: Instant) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
        Self { most, refill: span / most, left: most, filled: now }
    }

    /// Whether it may be done now; counts it.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        while self.left < self.most && now.duration_since(self.filled) >= self.refill {
            self.left += 1;
            self.filled += self.refill;
        }
        if self.left == self.most {
            self.filled = now;
        }
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_used_up_comes_back_evenly() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut allowance = Allowance::new(2, 10 * second, now);
        assert!(allowance.take(now) && allowance.take(now));
        assert!(!allowance.take(now + 4 * second));
        assert!(allowance.take(now + 5 * second));
        assert!(!allowance.take(now + 9 * second));
        assert!(allowance.take(now + 60 * second) && allowance.take(now + 60 * second));
        assert!(!allowance.take(now + 60 * second));
    }
}
