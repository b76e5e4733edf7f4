//! Who wants to be looked at, on a connection that has one task.
//!
//! ```text
//!  HTTP/2, timers ─ Bell ─┐
//!  stream ───────── Bell ─┼─▶ Door ─▶ the connection's task, unless it is looking anyway
//!  stream ───────── Bell ─┘
//! ```
//!
//! One task for a connection and all its streams, since a message and its ACK then cost
//! one turn of the scheduler each; and a bell each, since a connection may have many
//! streams of which one has something to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// How often it is looked again at once, before other tasks have their turn.
const ROUNDS: usize = 8;

/// The task of a connection.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// Whether the task is looking: nobody has to wake it then.
    looking: AtomicBool,
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Door {
    /// Looks until nobody rings any more.
    pub(super) fn answer<T>(
        &self,
        context: &mut Context<'_>,
        mut look: impl FnMut() -> Poll<T>,
    ) -> Poll<T> {
        self.task.register(context.waker());
        self.looking.store(true, Ordering::SeqCst);
        let mut outcome = Poll::Pending;
        for _ in 0..ROUNDS {
            // Read as well as written: whatever was rung for before is seen by the look.
            self.rung.swap(false, Ordering::SeqCst);
            outcome = look();
            if outcome.is_ready() || !self.rung.load(Ordering::SeqCst) {
                break;
            }
        }
        self.looking.store(false, Ordering::SeqCst);
        // Whoever rang while it was being looked has woken nobody.
        if outcome.is_pending() && self.rung.load(Ordering::SeqCst) {
            context.waker().wake_by_ref();
        }
        outcome
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        if !self.looking.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

/// What one of those behind the door rings.
#[derive(Debug)]
pub(super) struct Bell {
    note: Arc<Note>,
    waker: Waker,
}

#[derive(Debug)]
struct Note {
    rung: AtomicBool,
    door: Arc<Door>,
}

impl Bell {
    /// A bell that has rung: whoever is new is looked at.
    pub(super) fn new(door: &Arc<Door>) -> Bell {
        let note = Arc::new(Note { rung: AtomicBool::new(false), door: door.clone() });
        let bell = Bell { waker: note.clone().into(), note };
        bell.ring();
        bell
    }

    pub(super) fn ring(&self) {
        self.waker.wake_by_ref();
    }

    /// Whether it has rung since the last time.
    pub(super) fn has_rung(&self) -> bool {
        self.note.rung.load(Ordering::SeqCst) && self.note.rung.swap(false, Ordering::SeqCst)
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.door.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use pretty_assertions::assert_eq;

    use super::*;

    #[tokio::test]
    async fn each_bell_is_heard_once_whether_somebody_looks_or_not() {
        let door = Arc::<Door>::default();
        let (own, other) = (Bell::new(&door), Bell::new(&door));
        let strange = other.waker.clone();
        let (mut heard, mut outside) = (Vec::new(), Some(strange.clone()));
        poll_fn(|context| {
            door.answer(context, || {
                heard.push((own.has_rung(), other.has_rung()));
                match heard.len() {
                    // Rung from within.
                    1 => own.waker.wake_by_ref(),
                    // Rung by another thread, later.
                    2 => {
                        let waker = outside.take().unwrap();
                        std::thread::spawn(move || waker.wake());
                    }
                    _ => return Poll::Ready(()),
                }
                Poll::Pending
            })
        })
        .await;
        assert_eq!(heard, [(true, true), (true, false), (false, true)]);
    }
}
