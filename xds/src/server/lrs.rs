//! Load reporting: clients tell how much they sent where.
//!
//! ```text
//!  view ── clusters come and go ──▶ instructions ─▶ client
//!  client ─ report ─▶ known clusters? ─▶ Loads, observer
//! ```

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use mainstem_proto::envoy::config::endpoint::v3::ClusterStats;
use mainstem_proto::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingService;
use mainstem_proto::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use mainstem_proto::google::protobuf;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};
use tracing::debug;

use super::Shared;
use super::service::Serving;
use crate::loads::Reporter;
use crate::names::TypeUrl;
use crate::source::{Client, ResourceView};

/// The load reporting service.
#[derive(Clone)]
pub(super) struct LoadService(pub(super) Arc<Serving>);

type Responses = Pin<Box<dyn Stream<Item = Result<LoadStatsResponse, Status>> + Send>>;

/// What a client is to report.
#[derive(Clone, PartialEq)]
enum Wanted {
    /// Whatever it has.
    All,
    /// Those clusters.
    Clusters(Vec<String>),
}

#[tonic::async_trait]
impl LoadReportingService for LoadService {
    type StreamLoadStatsStream = Responses;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let opened = tokio::select! {
            opened = open(&self.0, request) => opened,
            () = self.0.closing.begun() => Err(Status::unavailable("the server is shutting down")),
        };
        opened.inspect_err(|status| self.0.shared.observer.refused(status))
    }
}

/// Reads the first request, and takes reports from then on.
async fn open(
    serving: &Arc<Serving>,
    request: Request<Streaming<LoadStatsRequest>>,
) -> Result<Response<Responses>, Status> {
    let config = &serving.shared.config;
    let Some(interval) = config.load_reports else {
        return Err(Status::unimplemented("load reports are not asked for"));
    };
    let (headers, extensions, mut requests) = request.into_parts();
    let credentials = serving.screen(headers.as_ref(), &extensions)?;
    let room = Room::take(&serving.shared)?;
    let first = timeout(config.first_request, requests.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("waiting for the first request"))??;
    let Some(mut first) = first else { return Err(Status::invalid_argument("no request")) };
    let node = first.node.take().unwrap_or_default();
    config.limits.check_node(&node)?;
    let client = Arc::new(serving.client(&credentials, node).await?);
    let mut view = serving.shared.source.connect(&client)?;
    view.advance();
    let wanted = wanted(&client, &*view);
    view.release();
    let (asks, asked) = watch::channel(wanted);
    let reporter = serving.shared.loads.reporter();
    let mut reports =
        Reports { serving: serving.clone(), client, view, requests, asks, reporter, _room: room };
    reports.take(&first.cluster_stats);
    serving.tasks.spawn(reports.run());
    Ok(Response::new(instructions(asked, interval)))
}

/// A stream's place among those that are served at a time.
struct Room(Arc<Shared>);

impl Room {
    fn take(shared: &Arc<Shared>) -> Result<Self, Status> {
        let permit = shared.streams.try_acquire();
        permit.map_err(|_| Status::unavailable("too many streams"))?.forget();
        Ok(Self(shared.clone()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.streams.add_permits(1);
    }
}

/// The reports of one client.
struct Reports {
    serving: Arc<Serving>,
    client: Arc<Client>,
    view: Box<dyn ResourceView>,
    requests: Streaming<LoadStatsRequest>,
    /// What it is asked for; the end of its value ends the stream.
    asks: watch::Sender<Wanted>,
    reporter: Reporter,
    _room: Room,
}

impl Reports {
    /// Takes reports as long as they come, and asks anew when clusters come and go.
    async fn run(mut self) {
        let closing = self.serving.closing.clone();
        loop {
            let Self { view, requests, .. } = &mut self;
            tokio::select! {
                () = closing.begun() => return,
                () = poll_fn(|context| view.poll_changed(context)) => {
                    self.catch_up();
                    self.view.release();
                }
                request = requests.message() => match request {
                    Ok(Some(request)) => self.take(&request.cluster_stats),
                    Ok(None) => return,
                    Err(status) => {
                        return debug!(node = self.client.node.id, %status, "load reports ended");
                    }
                },
            }
        }
    }

    /// Moves the view to the latest moment, until it is released; asks for the
    /// clusters that there are now, if they are others.
    fn catch_up(&mut self) {
        let changes = self.view.advance();
        if changes.names.iter().any(|(type_url, _)| *type_url == TypeUrl::CLUSTER) {
            let wanted = wanted(&self.client, &*self.view);
            self.asks.send_if_modified(|asked| {
                let changed = *asked != wanted;
                *asked = wanted;
                changed
            });
        }
    }

    fn take(&mut self, report: &[ClusterStats]) {
        self.catch_up();
        self.reporter.add(report, |cluster| self.view.has(&TypeUrl::CLUSTER, cluster));
        self.view.release();
        self.serving.shared.observer.load_reported(&self.client, report);
    }
}

fn wanted(client: &Client, view: &dyn ResourceView) -> Wanted {
    if client.supports("envoy.lrs.supports_send_all_clusters") {
        return Wanted::All;
    }
    let clusters = view.list(&TypeUrl::CLUSTER);
    Wanted::Clusters(clusters.map(|cluster| cluster.name().to_string()).collect())
}

/// What the client is told: the latest of what is wanted, until nobody wants anything.
fn instructions(asked: watch::Receiver<Wanted>, interval: Duration) -> Responses {
    let told = stream::unfold(Some((asked, true)), move |state| async move {
        let (mut asked, first) = state?;
        if !first && asked.changed().await.is_err() {
            return Some((Err(Status::unavailable("the reports ended")), None));
        }
        let wanted = asked.borrow_and_update().clone();
        Some((Ok(response(wanted, interval)), Some((asked, false))))
    });
    Box::pin(told)
}

/// Which clusters to report, and how often.
fn response(wanted: Wanted, interval: Duration) -> LoadStatsResponse {
    let seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(interval.subsec_nanos()).expect("below 10^9");
    let (clusters, send_all_clusters) = match wanted {
        Wanted::All => (Vec::new(), true),
        Wanted::Clusters(clusters) => (clusters, false),
    };
    LoadStatsResponse {
        clusters,
        send_all_clusters,
        load_reporting_interval: Some(protobuf::Duration { seconds, nanos }),
        report_endpoint_granularity: false,
    }
}
