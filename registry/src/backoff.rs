//! Waiting longer after each failure.

use std::time::Duration;

use rand::Rng;

/// Exponential backoff with jitter: each wait is between half and all of a span
/// that doubles from `first` up to `most`.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Default for Backoff {
    /// From 100 ms to 10 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}

impl Backoff {
    /// A backoff from `first` up to `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait now; the next wait is longer.
    pub fn advance(&mut self) -> Duration {
        let span = self.next;
        self.next = (span * 2).min(self.most);
        // Jitter keeps many watchers from returning at the same moment.
        span.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Waits that long.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.advance()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for span in [100, 200, 350, 350] {
            let wait = backoff.advance().as_millis();
            assert!((span / 2..=span).contains(&wait), "{wait} ms of {span}");
        }
        backoff.reset();
        assert!(backoff.advance() <= Duration::from_millis(100));
    }
}
