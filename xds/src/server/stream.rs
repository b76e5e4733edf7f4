//! One stream: moves messages between a client and its state.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout};
use tonic::Status;
use tracing::{debug, info};

use super::Shared;
use super::alarm::Alarm;
use super::closing::Listening;
use super::frames::Requests;
use super::service::Serving;
use crate::auth::Credentials;
use crate::clients::Membership;
use crate::names::TypeUrl;
use crate::protocol::{Message, ProtocolError, Request, Response, State, Verdict};
use crate::source::{Client, ResourceView};

/// How long a response may wait for requests that precede it.
const PATIENCE: Duration = Duration::from_millis(100);

/// A stream before its first request.
pub(super) struct Opened<R> {
    pub(super) serving: Arc<Serving>,
    pub(super) implied: Option<TypeUrl>,
    pub(super) credentials: Credentials,
    pub(super) requests: Requests<R>,
    pub(super) responses: mpsc::Sender<Result<Message, Status>>,
}

/// Serves a stream to its end.
pub(super) async fn run<R: Request>(opened: Opened<R>) {
    let responses = opened.responses.clone();
    let (shared, closing) = (opened.serving.shared.clone(), opened.serving.closing.clone());
    // Beginnings are large, and most streams have long begun.
    let beginning = Box::pin(begin(opened));
    let begun = tokio::select! {
        begun = beginning => begun,
        () = closing.begun() => Err(Status::unavailable("the server is shutting down")),
    };
    let ended = match begun {
        Ok(Some(mut stream)) => stream.serve().await,
        Ok(None) => Ok(()),
        Err(status) => Err(status),
    };
    if let Err(status) = ended {
        debug!(%status, "stream ended");
        shared.observer.refused(&status);
        // Whoever does not read his responses does not read this either.
        let _ = timeout(Duration::from_secs(1), responses.send(Err(status))).await;
    }
}

/// A stream that is being served.
struct Stream<R: Request> {
    shared: Arc<Shared>,
    implied: Option<TypeUrl>,
    client: Arc<Client>,
    membership: Membership,
    view: Box<dyn ResourceView>,
    state: R::State,
    requests: Requests<R>,
    responses: mpsc::Sender<Result<Message, Status>>,
    closing: Listening,
    /// Whether there may be something to send now.
    more: bool,
    /// Since when the connection has not taken what is sent or to be sent.
    sending_since: Option<Instant>,
    /// Since when a change is known that the client has not accepted entirely,
    /// and whether anything was sent because of it.
    converging: Option<(std::time::Instant, bool)>,
    ends: Option<Instant>,
    /// Its turn among those that join, until it was sent something.
    joining: Option<OwnedSemaphorePermit>,
    alarm: Alarm,
}

enum Event<R> {
    Request(Result<Option<R>, Status>),
    /// Nobody reads responses any more.
    Gone,
    Changed,
    /// The connection takes a response.
    Room,
    /// Some time has come.
    Alarm,
    Shutdown,
}

/// Reads the first request and opens the client's view; `None` if the client
/// left before.
async fn begin<R: Request>(opened: Opened<R>) -> Result<Option<Box<Stream<R>>>, Status> {
    let Opened { serving, implied, credentials, mut requests, responses } = opened;
    let (shared, peer) = (&serving.shared, credentials.peer);
    // Held for the life of the stream by forgetting it here and adding it back there.
    let permit =
        shared.streams.try_acquire().map_err(|_| Status::unavailable("too many streams"))?;
    let first = timeout(shared.config.first_request, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("waiting for the first request"))??;
    let Some(mut first) = first else { return Ok(None) };
    let node = first.take_node().unwrap_or_default();
    shared.config.limits.check_node(&node)?;
    let client = Arc::new(serving.client(&credentials, node).await?);
    // However many come at once, those that are here wait for few of them.
    let turn = shared.joining.clone().acquire_owned().await;
    let turn = turn.expect("the semaphore is never closed");
    let mut view = shared.source.connect(&client)?;
    view.advance();
    view.release();
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
    let ends = config
        .max_stream_age
        .map(|age| Instant::now() + age.mul_f64(0.9 + 0.2 * spread(client.stream)));
    let mut stream = Box::new(Stream {
        shared: shared.clone(),
        implied,
        client,
        membership,
        view,
        state,
        requests,
        responses,
        closing: serving.closing.listen(),
        more: false,
        sending_since: None,
        converging: None,
        ends,
        joining: Some(turn),
        alarm: Alarm::default(),
    });
    stream.take_in(first)?;
    Ok(Some(stream))
}

impl<R: Request> Stream<R> {
    async fn serve(&mut self) -> Result<(), Status> {
        loop {
            self.keep_time()?;
            match self.event().await {
                Event::Request(Ok(Some(request))) => self.take_in(request)?,
                Event::Request(Ok(None)) => return self.finish().await,
                Event::Request(Err(status)) => return Err(status),
                Event::Gone => return Ok(()),
                // Requests come first, and there is none.
                Event::Changed => {
                    self.may_send();
                    self.send();
                }
                Event::Room => self.send(),
                Event::Alarm => {}
                Event::Shutdown => return self.drain().await,
            }
        }
    }

    async fn event(&mut self) -> Event<R> {
        if !self.more {
            return poll_fn(|context| self.poll_event(context)).await;
        }
        let responses = self.responses.clone();
        tokio::select! {
            biased;
            event = poll_fn(|context| self.poll_event(context)) => event,
            room = responses.reserve() => room.map_or(Event::Gone, |_| Event::Room),
        }
    }

    /// Requests come first, so that what is asked together is answered together.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event<R>> {
        if self.closing.poll(context).is_ready() {
            return Poll::Ready(Event::Shutdown);
        }
        if let Poll::Ready(request) = self.requests.poll_message(context) {
            return Poll::Ready(Event::Request(request));
        }
        if !self.more && self.view.poll_changed(context).is_ready() {
            return Poll::Ready(Event::Changed);
        }
        let now = Instant::now();
        let Some(due) = self.next_alarm(now) else { return Poll::Pending };
        self.alarm.poll(due, now, context).map(|()| Event::Alarm)
    }

    /// When something is due without any event.
    fn next_alarm(&self, now: Instant) -> Option<Instant> {
        let deadline = if self.more { None } else { self.deadline(now) };
        [self.stalls(), self.ends, deadline].into_iter().flatten().min()
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        self.state.deadline(now.into_std()).map(Instant::from_std)
    }

    fn stalls(&self) -> Option<Instant> {
        self.sending_since.map(|since| since + self.shared.config.stall)
    }

    /// Does what is due. A client whose requests never end is answered, aged and
    /// dropped like others.
    fn keep_time(&mut self) -> Result<(), Status> {
        let now = Instant::now();
        let due = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now);
        if due(self.ends) {
            return Err(Status::unavailable("the stream has reached its maximum age"));
        }
        if due(self.stalls()) {
            if self.more || self.responses.capacity() == 0 {
                return Err(Status::resource_exhausted("the client does not read its responses"));
            }
            self.sending_since = None;
        }
        if !self.more && due(self.deadline(now)) {
            self.may_send();
        }
        if self.more && self.sending_since.is_some_and(|since| now - since > PATIENCE) {
            self.send();
        }
        Ok(())
    }

    /// Takes in a request, at the latest moment of the view.
    fn take_in(&mut self, mut request: R) -> Result<(), Status> {
        if let Some(implied) = &self.implied {
            if request.type_url().is_empty() {
                request.set_type_url(implied);
            } else if request.type_url() != &**implied {
                return Err(ProtocolError::OtherType(request.type_url().to_owned()).into());
            }
        }
        let type_url = TypeUrl::from(request.type_url());
        let now = self.catch_up();
        let verdict = self.state.on_request(request, &*self.view, now);
        self.view.release();
        self.note(&type_url, verdict?, now);
        let pending = self.state.pending(&type_url);
        if let Some(subscription) = self.state.subscription(&type_url) {
            self.view.subscribed(&type_url, subscription);
            self.membership.connected.subscribed(&type_url, subscription, pending);
        }
        if self.state.has_more() {
            self.may_send();
        } else {
            self.rest();
        }
        Ok(())
    }

    /// Moves the view to the latest moment, until it is released.
    fn catch_up(&mut self) -> std::time::Instant {
        let now = Instant::now().into_std();
        let changes = self.view.advance();
        if let Some(since) = changes.since {
            self.converging.get_or_insert((since, false));
        }
        self.state.on_changes(&changes, now);
        now
    }

    fn note(&mut self, type_url: &TypeUrl, verdict: Verdict, now: std::time::Instant) {
        let observer = &self.shared.observer;
        match verdict {
            Verdict::None => {}
            Verdict::Stale => observer.expired_nonce(&self.client, type_url),
            Verdict::Ack(answered) => {
                observer.acked(
                    &self.client,
                    type_url,
                    now.saturating_duration_since(answered.sent),
                );
                self.membership.connected.acked(type_url, &answered);
                self.note_convergence(now);
            }
            Verdict::Nack(answered, rejection) => {
                self.converging = None;
                info!(
                    node = self.client.node.id,
                    r#type = type_url.short(),
                    code = rejection.code,
                    message = rejection.message,
                    culprits = ?rejection.culprits,
                    "response refused"
                );
                observer.rejected(&self.client, type_url, &rejection);
                self.membership.connected.nacked(type_url, &answered, &rejection);
            }
        }
    }

    fn note_convergence(&mut self, now: std::time::Instant) {
        if !self.state.settled() {
            return;
        }
        if let Some((since, true)) = self.converging.take() {
            self.shared.observer.converged(&self.client, now.saturating_duration_since(since));
        }
    }

    fn may_send(&mut self) {
        if !self.more && self.responses.capacity() > 0 {
            self.sending_since = None;
        }
        self.more = true;
        self.sending_since.get_or_insert_with(Instant::now);
    }

    /// Hands responses to the connection while it takes them.
    fn send(&mut self) {
        while self.more && self.responses.capacity() > 0 {
            let now = self.catch_up();
            let response = self.state.next(&*self.view, now);
            self.view.release();
            self.more = response.is_some() && self.state.has_more();
            match response {
                Some(response) => self.hand_over(response),
                None => self.sending_since = None,
            }
            if !self.more {
                self.membership.connected.rests(|type_url| self.state.pending(type_url));
                self.rest();
            }
        }
    }

    fn hand_over(&mut self, response: Response) {
        self.joining = None;
        if let Some((_, sent)) = &mut self.converging {
            *sent = true;
        }
        let waited = self
            .sending_since
            .replace(Instant::now())
            .map_or(Duration::ZERO, |since| since.elapsed());
        self.shared.observer.pushed(&self.client, &response, waited);
        self.membership.connected.sent(&response, self.state.pending(&response.type_url));
        // Only this task sends, and a moment ago there was room.
        let _ = self.responses.try_send(Ok(response.message));
    }

    /// Nothing more can be sent for now.
    fn rest(&mut self) {
        self.joining = None;
        // Changes that concern this client in nothing have no convergence.
        if self.state.settled() {
            self.converging = None;
        }
    }

    /// The client asks for nothing more, and is given what it asked for.
    async fn finish(&mut self) -> Result<(), Status> {
        while self.more {
            let room = timeout(self.shared.config.stall, self.responses.reserve()).await;
            if !matches!(room, Ok(Ok(_))) {
                return Ok(());
            }
            drop(room);
            self.send();
        }
        Ok(())
    }

    /// Ends at a time of its own, so that not all clients reconnect at once.
    async fn drain(&mut self) -> Result<(), Status> {
        let delay = self.shared.config.drain.mul_f64(spread(self.client.stream));
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.responses.closed() => {}
        }
        Err(Status::unavailable("the server is shutting down"))
    }
}

impl<R: Request> Drop for Stream<R> {
    fn drop(&mut self) {
        self.shared.streams.add_permits(1);
        self.shared.observer.disconnected(&self.client);
        info!(node = self.client.node.id, stream = self.client.stream, "client disconnected");
    }
}

/// A number in [0, 1) for a stream, spread evenly over the streams.
fn spread(stream: u64) -> f64 {
    let hash = xxhash_rust::xxh3::xxh3_64(&stream.to_le_bytes());
    f64::from(u32::try_from(hash >> 32).expect("the upper half has 32 bits"))
        / (f64::from(u32::MAX) + 1.0)
}
