//! One request and what is answered.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body as _;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use super::payload::{Landings, Payload};
use crate::protocol::Message;

/// What is answered to a request.
pub(in crate::server) enum Answer {
    /// A stream of messages of gRPC.
    Stream(Box<dyn Messages>),
    /// Anything else.
    Whole(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

/// Messages, until a status ends them.
pub(in crate::server) trait Messages: Send {
    /// The next message, for a connection that can take one.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Message, Status>>>;
}

/// One request on an HTTP/2 connection, being answered.
pub(super) enum Exchange {
    Whole(Pin<Box<dyn Future<Output = Response<Body>> + Send>>, SendResponse<Payload>),
    Sending(Sending),
}

/// An answer of which the head was sent.
pub(super) struct Sending {
    from: From,
    into: SendStream<Payload>,
    /// Of a body, what the client does not take yet.
    waiting: Option<Payload>,
    /// How many payloads were given to the connection, and how many of them landed.
    sent: u64,
    landings: Landings,
    /// How many bytes had landed when last looked, if not all, and since when no more did.
    stuck: Option<(u64, Instant)>,
}

enum From {
    Messages(Box<dyn Messages>),
    Body(Body),
}

/// What comes next in an answer.
enum Next {
    Data(Payload),
    End(Option<HeaderMap>),
}

/// The stream is over, whether well or not.
struct Over;

impl From {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        match self {
            From::Messages(messages) => messages.poll_next(context).map(|next| match next {
                Some(Ok(message)) => Next::Data(Payload::of(message)),
                Some(Err(status)) => Next::End(trailers(&status)),
                None => Next::End(trailers(&Status::ok(""))),
            }),
            From::Body(body) => poll_body(body, context),
        }
    }
}

fn poll_body(body: &mut Body, context: &mut Context<'_>) -> Poll<Next> {
    loop {
        return Poll::Ready(match ready!(Pin::new(&mut *body).poll_frame(context)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => continue,
                Ok(data) => Next::Data(Payload::bytes(data)),
                Err(frame) => Next::End(frame.into_trailers().ok()),
            },
            Some(Err(status)) => Next::End(trailers(&status)),
            None => Next::End(None),
        });
    }
}

/// A status at the end of messages.
fn trailers(status: &Status) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).ok()?;
    Some(trailers)
}

impl Exchange {
    /// Begins to answer; none if the client has left already.
    pub(super) fn begin(answer: Answer, mut respond: SendResponse<Payload>) -> Option<Exchange> {
        match answer {
            Answer::Whole(answer) => Some(Exchange::Whole(answer, respond)),
            Answer::Stream(messages) => {
                let grpc = HeaderValue::from_static("application/grpc");
                let mut head = Response::new(());
                head.headers_mut().insert(header::CONTENT_TYPE, grpc);
                let into = respond.send_response(head, false).ok()?;
                Some(Exchange::Sending(Sending::new(From::Messages(messages), into)))
            }
        }
    }

    /// Ready when it is over.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self {
                Exchange::Sending(sending) => return sending.poll(context).map(|Over| ()),
                Exchange::Whole(answer, respond) => {
                    if respond.poll_reset(context).is_ready() {
                        return Poll::Ready(());
                    }
                    let (head, body) = ready!(answer.as_mut().poll(context)).into_parts();
                    let ended = body.is_end_stream();
                    let head = Response::from_parts(head, ());
                    match respond.send_response(head, ended) {
                        Ok(into) if !ended => {
                            *self = Exchange::Sending(Sending::new(From::Body(body), into));
                        }
                        _ => return Poll::Ready(()),
                    }
                }
            }
        }
    }

    /// Whether the client has taken nothing of what it was sent for so long. To be asked
    /// more often than that.
    pub(super) fn is_stuck(&mut self, now: Instant, stall: Duration) -> bool {
        match self {
            Exchange::Sending(sending) => sending.is_stuck(now, stall),
            Exchange::Whole(..) => false,
        }
    }

    /// Ends it without a further word.
    pub(super) fn cut(&mut self) {
        match self {
            Exchange::Sending(sending) => sending.into.send_reset(Reason::CANCEL),
            Exchange::Whole(_, respond) => respond.send_reset(Reason::CANCEL),
        }
    }
}

impl Sending {
    fn new(from: From, into: SendStream<Payload>) -> Sending {
        let landings = Landings::default();
        Sending { from, into, waiting: None, sent: 0, landings, stuck: None }
    }

    fn is_stuck(&mut self, now: Instant, stall: Duration) -> bool {
        let bytes = self.landings.bytes();
        if self.landings.payloads() == self.sent && self.waiting.is_none() {
            self.stuck = None;
        } else if self.stuck.is_none_or(|(before, _)| before != bytes) {
            self.stuck = Some((bytes, now));
        }
        self.stuck.is_some_and(|(_, since)| since + stall <= now)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Over> {
        loop {
            if self.waiting.is_some() {
                match self.poll_capacity(context) {
                    Poll::Ready(Ok(())) => self.send_waiting(),
                    Poll::Ready(Err(over)) => return Poll::Ready(over),
                    Poll::Pending => break,
                }
            }
            match self.from.poll_next(context) {
                Poll::Ready(Next::Data(payload)) => self.take(payload),
                Poll::Ready(Next::End(trailers)) => return Poll::Ready(self.end(trailers)),
                Poll::Pending => break,
            }
        }
        match self.from {
            // The stream hears of a reset where it waits for requests. Whoever waits for
            // it here as well is woken by each message that goes out.
            From::Messages(_) => Poll::Pending,
            From::Body(_) => self.into.poll_reset(context).map(|_| Over),
        }
    }

    /// Messages go out at once: of each type there is one that the client has not
    /// answered. A body may be of any length, and waits until the client takes some.
    fn take(&mut self, payload: Payload) {
        self.waiting = Some(payload.counted(&self.landings));
        match self.from {
            From::Messages(_) => self.send_waiting(),
            // As much as it takes to begin: what is claimed beyond that, other streams of
            // the connection would lack.
            From::Body(_) => self.into.reserve_capacity(1),
        }
    }

    fn send_waiting(&mut self) {
        if let Some(payload) = self.waiting.take() {
            self.sent += 1;
            // If the stream is over, it is heard elsewhere.
            let _ = self.into.send_data(payload, false);
        }
    }

    fn poll_capacity(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Over>> {
        while self.into.capacity() == 0 {
            match ready!(self.into.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Over)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Nobody is left to be told if this fails.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Over {
        self.into.reserve_capacity(0);
        let _ = match trailers {
            Some(trailers) => self.into.send_trailers(trailers),
            None => self.into.send_data(Payload::bytes(Bytes::new()), true),
        };
        Over
    }
}
