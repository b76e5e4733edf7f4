//! Load reporting: clients tell how much they sent where.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream;
use mainstem_proto::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingService;
use mainstem_proto::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::debug;

use super::service::Serving;
use crate::names::TypeUrl;
use crate::source::Client;

/// The load reporting service.
#[derive(Clone)]
pub(super) struct LoadService(pub(super) Arc<Serving>);

type Responses = Pin<Box<dyn Stream<Item = Result<LoadStatsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl LoadReportingService for LoadService {
    type StreamLoadStatsStream = Responses;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let serving = self.0.clone();
        let Some(interval) = serving.shared.config.load_reports else {
            return Err(Status::unimplemented("load reports are not asked for"));
        };
        let (headers, extensions, mut requests) = request.into_parts();
        let credentials = serving.screen(headers.as_ref(), &extensions)?;
        let first = timeout(serving.shared.config.first_request, requests.message()).await;
        let first =
            first.map_err(|_| Status::deadline_exceeded("waiting for the first request"))??;
        let Some(mut first) = first else { return Err(Status::invalid_argument("no request")) };
        let node = first.node.take().unwrap_or_default();
        serving.shared.config.limits.check_node(&node)?;
        let client = Arc::new(serving.client(&credentials, node).await?);
        let instructions = instructions(&serving, &client, interval)?;
        serving.shared.loads.add(&first.cluster_stats);
        // The response stream lasts as long as the reports come.
        let done = CancellationToken::new();
        let ended = done.clone().drop_guard();
        let closing = serving.closing.clone();
        let tasks = serving.tasks.clone();
        tasks.spawn(async move {
            let _ended = ended;
            tokio::select! {
                () = closing.begun() => {}
                () = receive(&serving, &client, &mut requests) => {}
            }
        });
        let silence = stream::once(async move {
            done.cancelled().await;
            Err(Status::unavailable("the reports ended"))
        });
        Ok(Response::new(Box::pin(stream::StreamExt::chain(
            stream::iter([Ok(instructions)]),
            silence,
        ))))
    }
}

/// Which clusters to report, and how often.
fn instructions(
    serving: &Serving,
    client: &Arc<Client>,
    interval: Duration,
) -> Result<LoadStatsResponse, Status> {
    let all = client.supports("envoy.lrs.supports_send_all_clusters");
    let clusters = if all {
        Vec::new()
    } else {
        let mut view = serving.shared.source.connect(client)?;
        view.advance();
        view.list(&TypeUrl::CLUSTER).map(|cluster| cluster.name().to_string()).collect()
    };
    let seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(interval.subsec_nanos()).expect("below 10^9");
    Ok(LoadStatsResponse {
        clusters,
        send_all_clusters: all,
        load_reporting_interval: Some(mainstem_proto::google::protobuf::Duration {
            seconds,
            nanos,
        }),
        report_endpoint_granularity: false,
    })
}

async fn receive(serving: &Serving, client: &Client, requests: &mut Streaming<LoadStatsRequest>) {
    loop {
        match requests.message().await {
            Ok(Some(request)) => {
                serving.shared.loads.add(&request.cluster_stats);
                serving.shared.observer.load_reported(client, &request.cluster_stats);
            }
            Ok(None) => return,
            Err(status) => return debug!(node = client.node.id, %status, "load reports ended"),
        }
    }
}
