//! The end of a server, as its streams hear of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Whether a server is shutting down. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Closing {
    begun: Arc<AtomicBool>,
    tasks: CancellationToken,
}

impl Closing {
    /// Tells every stream.
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.tasks.cancel();
    }

    /// Waits for it.
    pub(super) async fn begun(&self) {
        self.tasks.cancelled().await;
    }

    /// One task's way to hear of it.
    pub(super) fn listen(&self) -> Listening {
        let waiting = Box::pin(self.tasks.clone().cancelled_owned());
        Listening { begun: self.begun.clone(), waiting, registered: false }
    }
}

/// Registers its task once: tasks look here each time that they wake, by the
/// thousand.
#[derive(Debug)]
pub(super) struct Listening {
    begun: Arc<AtomicBool>,
    waiting: Pin<Box<WaitForCancellationFutureOwned>>,
    registered: bool,
}

impl Listening {
    /// Ready once it has begun. To be called from one task only.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.registered {
            self.registered = true;
            return self.waiting.as_mut().poll(context);
        }
        if self.begun.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn whoever_listens_hears_of_it_whether_before_or_after() {
        let closing = Closing::default();
        let listen = |closing: &Closing| {
            let mut listening = closing.listen();
            async move { poll_fn(|context| listening.poll(context)).await }
        };
        let early = listen(&closing);
        tokio::pin!(early);
        assert!(futures::poll!(&mut early).is_pending());
        closing.begin();
        early.await;
        listen(&closing).await;
        closing.begun().await;
    }
}
