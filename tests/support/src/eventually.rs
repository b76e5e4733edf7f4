//! Waiting for what other processes do.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long a test waits for what should take a moment: ample for a busy
/// machine, and only ever spent by a test that fails.
pub const TIMEOUT: Duration = Duration::from_secs(30);

const INTERVAL: Duration = Duration::from_millis(5);

/// Asks `check` every few milliseconds until it answers `Ok`, and returns that.
///
/// # Panics
///
/// After `deadline`, naming `what` and the last error.
pub async fn eventually<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut check: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + deadline;
    let mut last = String::from("the first check did not come back");
    loop {
        match timeout_at(end, check()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => panic!("{what}: not within {deadline:?}; last: {last}"),
        }
        if Instant::now() + INTERVAL > end {
            panic!("{what}: not within {deadline:?}; last: {last}");
        }
        sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_ok_is_returned() {
        let mut calls = 0;

        let value = eventually("counting", TIMEOUT, async || {
            calls += 1;
            if calls < 3 { Err("not yet") } else { Ok(calls) }
        })
        .await;

        assert_eq!(value, 3);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the door opens: not within 1s; last: locked")]
    async fn the_last_error_is_told() {
        eventually("the door opens", Duration::from_secs(1), async || Err::<(), _>("locked")).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "last: the first check did not come back")]
    async fn a_check_that_hangs_ends_with_the_deadline() {
        eventually("an answer", Duration::from_secs(1), async || {
            std::future::pending::<Result<(), String>>().await
        })
        .await;
    }
}
