//! One stream: moves messages between a client and its state.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{debug, info};

use super::Shared;
use super::service::Serving;
use crate::auth::Credentials;
use crate::clients::Membership;
use crate::names::TypeUrl;
use crate::protocol::{Message, ProtocolError, Request, State, Verdict};
use crate::source::{Client, ResourceView};

/// How long a response may wait for requests that precede it.
const PATIENCE: Duration = Duration::from_millis(100);

/// A stream before its first request.
pub(super) struct Opened<R> {
    pub(super) serving: Arc<Serving>,
    pub(super) implied: Option<TypeUrl>,
    pub(super) credentials: Credentials,
    pub(super) requests: Streaming<R>,
    pub(super) responses: mpsc::Sender<Result<Message, Status>>,
}

/// Serves a stream to its end.
pub(super) async fn run<R: Request>(opened: Opened<R>) {
    let responses = opened.responses.clone();
    let (shared, shutdown) = (opened.serving.shared.clone(), opened.serving.shutdown.clone());
    let ended = match shutdown.run_until_cancelled_owned(begin(opened)).await {
        Some(Ok(Some(mut stream))) => stream.serve().await,
        Some(Ok(None)) => Ok(()),
        Some(Err(status)) => Err(status),
        None => Err(Status::unavailable("the server is shutting down")),
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
    requests: Streaming<R>,
    responses: mpsc::Sender<Result<Message, Status>>,
    shutdown: CancellationToken,
    /// Since when there may be something to send that was not.
    sending_since: Option<Instant>,
    /// Since when a change is known that the client has not accepted entirely,
    /// and whether anything was sent because of it.
    converging: Option<(std::time::Instant, bool)>,
    ends: Option<Instant>,
    /// Its turn among those that join, until it was sent something.
    joining: Option<OwnedSemaphorePermit>,
}

enum Event<R> {
    Request(Result<Option<R>, Status>),
    /// Nobody reads responses any more.
    Gone,
    Changed,
    /// The connection takes a response.
    Ready,
    Deadline,
    Stalled,
    Aged,
    Shutdown,
}

/// Reads the first request and opens the client's view; `None` if the client
/// left before.
async fn begin<R: Request>(opened: Opened<R>) -> Result<Option<Stream<R>>, Status> {
    let Opened { serving, implied, credentials, mut requests, responses } = opened;
    let (shared, shutdown, peer) = (&serving.shared, serving.shutdown.clone(), credentials.peer);
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
    let mut stream = Stream {
        shared: shared.clone(),
        implied,
        client,
        membership,
        view,
        state,
        requests,
        responses,
        shutdown,
        sending_since: None,
        converging: None,
        ends,
        joining: Some(turn),
    };
    stream.take_in(first)?;
    Ok(Some(stream))
}

impl<R: Request> Stream<R> {
    async fn serve(&mut self) -> Result<(), Status> {
        loop {
            match self.event().await {
                Event::Request(Ok(Some(request))) => self.take_in(request)?,
                Event::Request(Ok(None)) => return self.finish().await,
                Event::Request(Err(status)) => return Err(status),
                Event::Gone => return Ok(()),
                Event::Changed | Event::Deadline => self.may_send(),
                Event::Ready => self.send_next(),
                Event::Stalled => {
                    return Err(Status::resource_exhausted(
                        "the client does not read its responses",
                    ));
                }
                Event::Aged => {
                    return Err(Status::unavailable("the stream has reached its maximum age"));
                }
                Event::Shutdown => return self.drain().await,
            }
        }
    }

    async fn event(&mut self) -> Event<R> {
        let now = Instant::now();
        let stalls = self.sending_since.map(|since| since + self.shared.config.stall);
        let deadline = self.state.deadline(now.into_std()).map(Instant::from_std);
        let sending = self.sending_since.is_some();
        // Requests come first, so that what is asked together is answered together.
        // A client whose requests never end is answered, aged and dropped like others.
        let overdue = self.sending_since.is_some_and(|since| now - since > PATIENCE);
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Event::Shutdown,
            () = ready(()), if stalls.is_some_and(|stalls| stalls <= now) => Event::Stalled,
            () = ready(()), if self.ends.is_some_and(|ends| ends <= now) => Event::Aged,
            room = self.responses.reserve(), if overdue => match room {
                Ok(_) => Event::Ready,
                Err(_) => Event::Gone,
            },
            request = self.requests.message() => Event::Request(request),
            room = self.responses.reserve(), if sending => match room {
                Ok(_) => Event::Ready,
                Err(_) => Event::Gone,
            },
            () = self.view.changed(), if !sending => Event::Changed,
            () = at(deadline), if !sending => Event::Deadline,
            () = at(stalls) => Event::Stalled,
            () = at(self.ends) => Event::Aged,
        }
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
        self.may_send();
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
        self.sending_since.get_or_insert_with(Instant::now);
    }

    /// Hands the next response to the connection, which was found ready.
    fn send_next(&mut self) {
        let now = self.catch_up();
        let response = self.state.next(&*self.view, now);
        self.view.release();
        self.joining = None;
        let Some(response) = response else {
            self.sending_since = None;
            self.membership.connected.rests(|type_url| self.state.pending(type_url));
            // Changes that concern this client in nothing have no convergence.
            if self.state.settled() {
                self.converging = None;
            }
            return;
        };
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

    /// The client asks for nothing more, and is given what it asked for.
    async fn finish(&mut self) -> Result<(), Status> {
        while self.sending_since.is_some() {
            let room = timeout(self.shared.config.stall, self.responses.reserve()).await;
            if !matches!(room, Ok(Ok(_))) {
                return Ok(());
            }
            drop(room);
            self.send_next();
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

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// A number in [0, 1) for a stream, spread evenly over the streams.
fn spread(stream: u64) -> f64 {
    let hash = xxhash_rust::xxh3::xxh3_64(&stream.to_le_bytes());
    f64::from(u32::try_from(hash >> 32).expect("the upper half has 32 bits"))
        / (f64::from(u32::MAX) + 1.0)
}
