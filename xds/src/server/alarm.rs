//! Being woken in time.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// Wakes its task by a moment that keeps moving.
///
/// Most deadlines move on before they come. The timer is set again only for an
/// earlier one; for a later one it fires early, once, and is set then.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer knows the task. It need not be told again.
    registered: bool,
}

impl Alarm {
    /// Ready at the moment, if it is not `now` yet. To be called from one task only.
    pub(super) fn poll(
        &mut self,
        moment: Instant,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if moment <= now {
            return Poll::Ready(());
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(moment)));
        let set = timer.deadline();
        if set > moment || set <= now {
            timer.as_mut().reset(moment);
            self.registered = false;
        }
        if self.registered {
            return Poll::Pending;
        }
        self.registered = true;
        timer.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use pretty_assertions::assert_eq;

    use super::*;

    /// The moment as a stream awaits it: looking again each time that it wakes.
    async fn until(alarm: &mut Alarm, moment: Instant) {
        poll_fn(|context| alarm.poll(moment, Instant::now(), context)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_moment_is_met_whichever_was_set_before() {
        let start = Instant::now();
        let mut alarm = Alarm::default();
        let mut met = Vec::new();
        for (after, given_up) in [(5, true), (9, true), (2, false), (7, false), (6, false)] {
            let ring = until(&mut alarm, start + Duration::from_secs(after));
            tokio::pin!(ring);
            if given_up {
                assert!(futures::poll!(ring).is_pending());
            } else {
                ring.await;
                met.push(start.elapsed().as_secs());
            }
        }
        assert_eq!(met, [2, 7, 7]);
    }
}
