//! One stream: moves messages between a client and its state.
//!
//! Polled by its connection, when that can take a message. A task of its own would
//! cost each message a detour.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, timeout};
use tonic::Status;
use tracing::info;

use super::alarm::Alarm;
use super::closing::Listening;
use super::phase::Begun;
use super::requests::Requests;
use super::service::Serving;
use super::{Shared, spread};
use crate::auth::Credentials;
use crate::clients::Membership;
use crate::names::TypeUrl;
use crate::observe::RoundTrip;
use crate::protocol::{Answered, Message, ProtocolError, Request, Response, State, Verdict};
use crate::source::{Client, ResourceView};

/// How long a response may wait for requests that precede it.
const PATIENCE: Duration = Duration::from_millis(100);
/// Steps in a row before other tasks get their turn.
const BURST: usize = 64;
const SHUTDOWN: &str = "the server is shutting down";
const AGED: &str = "the connection has reached its maximum age";

/// A stream before its first request.
pub(super) struct Opened<R> {
    pub(super) serving: Arc<Serving>,
    pub(super) implied: Option<TypeUrl>,
    pub(super) credentials: Credentials,
    pub(super) requests: Requests<R>,
    /// When its connection has reached its age.
    pub(super) ends: Option<Instant>,
}

/// A stream that is being served.
pub(super) struct Stream<R: Request> {
    shared: Arc<Shared>,
    implied: Option<TypeUrl>,
    client: Arc<Client>,
    membership: Membership,
    view: Box<dyn ResourceView>,
    state: R::State,
    requests: Requests<R>,
    /// Whether the client may still ask.
    asking: bool,
    /// None once it is heard.
    closing: Option<Listening>,
    /// Since when there may be something to send, if there may.
    more: Option<Instant>,
    /// When there may be without any event, while there is not.
    due: Option<Instant>,
    /// When it ends whatever happens, and why.
    ends: Option<(Instant, &'static str)>,
    alarm: Alarm,
}

/// What a look at a stream came to.
enum Step {
    Send(Message),
    /// Something has changed: look again.
    Again,
    /// The client asks for nothing more, and was given what it asked for.
    End,
}

enum Event<R> {
    Request(Result<Option<Box<R>>, Status>),
    Changed,
    /// Some time has come.
    Alarm,
    Shutdown,
}

/// Reads the first request and opens the client's view; `None` if the client
/// left before.
pub(super) async fn begin<R: Request>(opened: Opened<R>) -> Begun<R> {
    let closing = opened.serving.closing.clone();
    tokio::select! {
        begun = join(opened) => begun,
        () = closing.begun() => Err(Status::unavailable(SHUTDOWN)),
    }
}

async fn join<R: Request>(opened: Opened<R>) -> Begun<R> {
    let Opened { serving, implied, credentials, mut requests, ends } = opened;
    let (shared, peer) = (&serving.shared, credentials.peer);
    let first = timeout(shared.config.first_request, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("waiting for the first request"))??;
    let Some(mut first) = first else { return Ok(None) };
    let node = first.take_node().unwrap_or_default();
    shared.config.limits.check_node(&node)?;
    let client = Arc::new(serving.client(&credentials, node).await?);
    // Only who is proven takes the place of others. It is held for the life of the stream
    // by forgetting it here and adding it back there.
    let permit =
        shared.streams.try_acquire().map_err(|_| Status::unavailable("too many streams"))?;
    let turn = shared.joining.acquire().await.expect("the semaphore is never closed");
    let mut view = shared.source.connect(&client)?;
    view.advance();
    view.release();
    // However many come at once, those that are here wait for few of them: the next one
    // has its turn when everybody who was ready before this one has had one.
    yield_now().await;
    drop(turn);
    permit.forget();
    let protocol = <R::State as State>::PROTOCOL;
    let membership = shared.clients.join(client.clone(), protocol);
    shared.observer.connected(&client);
    info!(node = client.node.id, stream = client.stream, ?protocol, ?peer, "client connected");
    let config = &shared.config;
    let salt = shared.salt_of(client.stream);
    let state = R::State::open(
        &client,
        config.limits.clone(),
        config.identifier.clone(),
        salt,
        shared.sets.clone(),
    );
    let ends = ends.map(|ends| (ends, AGED));
    let mut stream = Box::new(Stream {
        shared: shared.clone(),
        implied,
        client,
        membership,
        view,
        state,
        requests,
        asking: true,
        closing: Some(serving.closing.listen()),
        more: None,
        due: None,
        ends,
        alarm: Alarm::default(),
    });
    stream.take_in(first, Instant::now())?;
    Ok(Some(stream))
}

impl<R: Request> Stream<R> {
    /// The next message, for a connection that can take one.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Status>>> {
        for _ in 0..BURST {
            match self.poll_step(context) {
                Poll::Ready(Ok(Step::Again)) => {}
                Poll::Ready(Ok(Step::Send(message))) => return Poll::Ready(Some(Ok(message))),
                Poll::Ready(Ok(Step::End)) => return Poll::Ready(None),
                Poll::Ready(Err(status)) => return Poll::Ready(Some(Err(status))),
                Poll::Pending => return Poll::Pending,
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Requests come first, so that what is asked together is answered together.
    /// A client whose requests never end is answered and aged like others.
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Result<Step, Status>> {
        let now = Instant::now();
        if let Some(status) = self.ended(now) {
            return Poll::Ready(Err(status));
        }
        if self.more.is_some_and(|since| since + PATIENCE < now) {
            return Poll::Ready(Ok(self.respond(now)));
        }
        let Poll::Ready(event) = self.poll_event(now, context) else { return self.at_rest(now) };
        Poll::Ready(match event {
            Event::Request(Ok(Some(request))) => self.take_in(request, now).map(|()| Step::Again),
            Event::Request(Ok(None)) => {
                self.asking = false;
                Ok(Step::Again)
            }
            Event::Request(Err(status)) => Err(status),
            Event::Changed => {
                self.may_send(now);
                Ok(self.respond(now))
            }
            Event::Alarm => {
                if self.due.is_some_and(|due| due <= now) {
                    self.may_send(now);
                }
                Ok(Step::Again)
            }
            Event::Shutdown => {
                self.leave(now);
                Ok(Step::Again)
            }
        })
    }

    fn poll_event(&mut self, now: Instant, context: &mut Context<'_>) -> Poll<Event<R>> {
        if self.closing.as_mut().is_some_and(|closing| closing.poll(context).is_ready()) {
            return Poll::Ready(Event::Shutdown);
        }
        if self.asking
            && let Poll::Ready(request) = self.requests.poll_message(context)
        {
            return Poll::Ready(Event::Request(request));
        }
        if self.more.is_none() && self.view.poll_changed(context).is_ready() {
            return Poll::Ready(Event::Changed);
        }
        let alarm = [self.due, self.ends.map(|(at, _)| at)].into_iter().flatten().min();
        let Some(alarm) = alarm else { return Poll::Pending };
        self.alarm.poll(alarm, now, context).map(|()| Event::Alarm)
    }

    /// Nothing happens: what waits is sent.
    fn at_rest(&mut self, now: Instant) -> Poll<Result<Step, Status>> {
        if self.more.is_some() {
            Poll::Ready(Ok(self.respond(now)))
        } else if self.asking {
            Poll::Pending
        } else {
            Poll::Ready(Ok(Step::End))
        }
    }

    fn ended(&self, now: Instant) -> Option<Status> {
        let (_, why) = self.ends.filter(|(at, _)| *at <= now)?;
        Some(Status::unavailable(why))
    }

    /// Ends at a time of its own, so that not all clients reconnect at once.
    fn leave(&mut self, now: Instant) {
        self.closing = None;
        let at = now + self.shared.config.drain.mul_f64(spread(self.client.stream));
        if self.ends.is_none_or(|(end, _)| at < end) {
            self.ends = Some((at, SHUTDOWN));
        }
    }

    /// Takes in a request, at the latest moment of the view.
    #[allow(clippy::boxed_local)] // It is large, and boxed already.
    fn take_in(&mut self, mut request: Box<R>, at: Instant) -> Result<(), Status> {
        if let Some(implied) = &self.implied {
            if request.type_url().is_empty() {
                request.set_type_url(implied);
            } else if request.type_url() != &**implied {
                return Err(ProtocolError::OtherType(request.type_url().to_owned()).into());
            }
        }
        let type_url = TypeUrl::from(request.type_url());
        let now = at.into_std();
        self.catch_up(now);
        let verdict = self.state.on_request(*request, &*self.view, now);
        self.view.release();
        if self.note(&type_url, verdict?, now)
            && let Some(subscription) = self.state.subscription(&type_url)
        {
            self.view.subscribed(&type_url, subscription);
        }
        if self.state.has_more() {
            self.may_send(at);
        } else {
            self.rest(now);
        }
        Ok(())
    }

    /// Moves the view to the latest moment, until it is released.
    fn catch_up(&mut self, now: std::time::Instant) {
        let changes = self.view.advance();
        self.state.on_changes(&changes, now);
        self.membership.connected.changed(&changes, &self.state, now);
    }

    /// Notes what a request said; whether the client may ask for something else than before.
    fn note(&mut self, type_url: &TypeUrl, verdict: Verdict, now: std::time::Instant) -> bool {
        let heard = self.membership.connected.heard(type_url, &verdict, &self.state, now);
        let change = heard.change;
        let trip = |answered: &Answered| RoundTrip { sent: answered.sent, answered: now, change };
        let observer = &self.shared.observer;
        match verdict {
            Verdict::None => {}
            Verdict::Stale => observer.expired_nonce(&self.client, type_url),
            Verdict::Ack(answered) => {
                observer.acked(&self.client, type_url, trip(&answered));
                if let Some(since) = change.filter(|_| heard.converged) {
                    observer.converged(&self.client, now.saturating_duration_since(since));
                }
            }
            Verdict::Nack(answered, rejection) => {
                info!(
                    node = self.client.node.id,
                    r#type = type_url.short(),
                    code = rejection.code,
                    message = rejection.message,
                    culprits = ?rejection.culprits,
                    "response refused"
                );
                observer.rejected(&self.client, type_url, trip(&answered), &rejection);
            }
        }
        heard.subscribed
    }

    fn may_send(&mut self, now: Instant) {
        self.more.get_or_insert(now);
        self.due = None;
    }

    /// The next response, if anything is to be said.
    fn respond(&mut self, at: Instant) -> Step {
        let now = at.into_std();
        self.catch_up(now);
        let response = self.state.next(&*self.view, now);
        self.view.release();
        let since = self.more.take();
        self.more = (response.is_some() && self.state.has_more()).then_some(at);
        let waited = since.map_or(Duration::ZERO, |since| at - since);
        let message = response.map(|response| self.hand_over(response, at, waited));
        if self.more.is_none() {
            if message.is_none() {
                self.membership.connected.rests(&self.state, now);
            }
            self.rest(now);
        }
        message.map_or(Step::Again, Step::Send)
    }

    fn hand_over(&mut self, response: Response, now: Instant, waited: Duration) -> Message {
        self.shared.observer.pushed(&self.client, &response, waited);
        let (rests, at) = (self.more.is_none(), now.into_std());
        self.membership.connected.sent(&response, rests, &self.state, at);
        response.message
    }

    /// Nothing more can be sent for now.
    fn rest(&mut self, now: std::time::Instant) {
        self.due = self.state.deadline(now).map(Instant::from_std);
    }
}

impl<R: Request> Drop for Stream<R> {
    fn drop(&mut self) {
        self.shared.streams.add_permits(1);
        self.shared.observer.disconnected(&self.client);
        info!(node = self.client.node.id, stream = self.client.stream, "client disconnected");
    }
}
