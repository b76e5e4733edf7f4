//! A stream from its opening to its end, as its connection sees it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tonic::Status;
use tracing::debug;

use super::Shared;
use super::connection::Messages;
use super::stream::{Opened, Stream, begin};
use crate::protocol::{Message, Request};

/// A stream from its opening to its end.
pub(super) struct Phased<R: Request> {
    shared: Arc<Shared>,
    phase: Phase<R>,
}

enum Phase<R: Request> {
    /// Most streams have long begun, and beginnings are large.
    Beginning(Pin<Box<dyn Future<Output = Begun<R>> + Send>>),
    Serving(Box<Stream<R>>),
    Ended,
}

/// None if the client has left before its first request.
pub(super) type Begun<R> = Result<Option<Box<Stream<R>>>, Status>;

impl<R: Request> Phased<R> {
    pub(super) fn new(opened: Opened<R>) -> Self {
        let shared = opened.serving.shared.clone();
        Self { shared, phase: Phase::Beginning(Box::pin(begin(opened))) }
    }

    /// What the client is told at the end.
    fn end(&mut self, status: Option<Status>) -> Option<Status> {
        self.phase = Phase::Ended;
        status.inspect(|status| {
            debug!(%status, "stream ended");
            self.shared.observer.refused(status);
        })
    }
}

impl<R: Request> Messages for Phased<R> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Message, Status>>> {
        loop {
            let ended = match &mut self.phase {
                Phase::Beginning(begin) => match ready!(begin.as_mut().poll(context)) {
                    Ok(Some(stream)) => {
                        self.phase = Phase::Serving(stream);
                        continue;
                    }
                    Ok(None) => None,
                    Err(status) => Some(status),
                },
                Phase::Serving(stream) => match ready!(stream.poll_next(context)) {
                    Some(Ok(message)) => return Poll::Ready(Some(Ok(message))),
                    Some(Err(status)) => Some(status),
                    None => None,
                },
                Phase::Ended => None,
            };
            return Poll::Ready(self.end(ended).map(Err));
        }
    }
}
