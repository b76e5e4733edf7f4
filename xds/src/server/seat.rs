//! Where a stream is served, and who looks at it when nobody polls it.
//!
//! ```text
//!  connection ── can take a message ──▶ Seat ──▶ stream
//!  server ────── now and then ────────▶ Seat ──▶ overdue?
//! ```
//!
//! A connection polls a stream when it can take a message. While a client does not
//! read that may be never, and such a stream must end all the same.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;
use tracing::debug;

use super::Shared;
use super::stream::{Opened, Stream, begin};
use crate::protocol::{Message, Request};

/// What the server looks at.
type Watched = Mutex<Vec<Weak<dyn Watch>>>;

/// All seats of a server.
#[derive(Clone, Default)]
pub(super) struct Seats(Arc<Watched>);

impl Seats {
    /// Ends streams whose clients take nothing for so long, or whose time is up.
    pub(super) fn look(&self, now: Instant, stall: Duration) {
        self.0.lock().retain(|seat| {
            let seat = seat.upgrade();
            seat.as_ref().inspect(|seat| seat.look(now, stall)).is_some()
        });
    }
}

trait Watch: Send + Sync {
    fn look(&self, now: Instant, stall: Duration);
}

/// The messages of one stream.
pub(super) struct Seat<R: Request>(Arc<Mutex<Phase<R>>>);

enum Phase<R: Request> {
    /// Most streams have long begun, and beginnings are large.
    Beginning(Beginning<R>, Held),
    Serving(Box<Stream<R>>, Held),
    /// To be told.
    Refused(Status),
    Ended,
}

type Beginning<R> = Pin<Box<dyn Future<Output = Result<Option<Box<Stream<R>>>, Status>> + Send>>;

/// What a stream holds until it ends.
struct Held {
    shared: Arc<Shared>,
    /// The server waits for it.
    _token: TaskTrackerToken,
}

impl<R: Request> Seat<R> {
    pub(super) fn new(opened: Opened<R>) -> Self {
        let serving = opened.serving.clone();
        let held = Held { shared: serving.shared.clone(), _token: serving.tasks.token() };
        let seat = Arc::new(Mutex::new(Phase::Beginning(Box::pin(begin(opened)), held)));
        let watched: Weak<Mutex<Phase<R>>> = Arc::downgrade(&seat);
        serving.seats.0.lock().push(watched);
        Self(seat)
    }
}

impl<R: Request> futures::Stream for Seat<R> {
    type Item = Result<Message, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.lock().poll_next(context)
    }
}

impl<R: Request> Watch for Mutex<Phase<R>> {
    /// A seat that is taken is being polled.
    fn look(&self, now: Instant, stall: Duration) {
        let Some(mut phase) = self.try_lock() else { return };
        if let Phase::Serving(stream, held) = &*phase
            && let Some(status) = stream.overdue(now, stall)
        {
            held.refuse(&status);
            *phase = Phase::Refused(status);
        }
    }
}

impl<R: Request> Phase<R> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Message, Status>>> {
        loop {
            let ended = match self {
                Phase::Beginning(begin, _) => match ready!(begin.as_mut().poll(context)) {
                    Ok(Some(stream)) => {
                        self.serve(stream);
                        continue;
                    }
                    Ok(None) => None,
                    Err(status) => Some(status),
                },
                Phase::Serving(stream, _) => match ready!(stream.poll_next(context)) {
                    Some(Ok(message)) => return Poll::Ready(Some(Ok(message))),
                    Some(Err(status)) => Some(status),
                    None => None,
                },
                Phase::Refused(_) | Phase::Ended => None,
            };
            return Poll::Ready(self.end(ended).map(Err));
        }
    }

    fn serve(&mut self, stream: Box<Stream<R>>) {
        if let Phase::Beginning(_, held) = std::mem::replace(self, Phase::Ended) {
            *self = Phase::Serving(stream, held);
        }
    }

    /// What the client is told at the end.
    fn end(&mut self, status: Option<Status>) -> Option<Status> {
        match std::mem::replace(self, Phase::Ended) {
            Phase::Beginning(_, held) | Phase::Serving(_, held) => {
                status.inspect(|status| held.refuse(status))
            }
            Phase::Refused(status) => Some(status),
            Phase::Ended => None,
        }
    }
}

impl Held {
    fn refuse(&self, status: &Status) {
        debug!(%status, "stream ended");
        self.shared.observer.refused(status);
    }
}
