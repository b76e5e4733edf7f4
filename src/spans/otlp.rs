//! Spans by OTLP over gRPC.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::Context as _;
use mainstem_model::{ChangeSet, ServiceKey, Snapshot};
use mainstem_xds::protocol::Rejection;
use mainstem_xds::{Client, PushObserver, RoundTrip, TypeUrl};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, Status, TraceContextExt, TracerProvider,
};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use parking_lot::Mutex;
use tracing::{info, warn};

/// Changes whose pushes still find their trace.
const REMEMBERED: usize = 256;
/// Services that a span names; of more it says how many there are.
const NAMED: usize = 16;

/// What traces go to, if anything. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Spans(Option<Arc<Traces>>);

#[derive(Debug)]
struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// One moment by both clocks.
    epoch: (Instant, SystemTime),
    /// The newest changes that are traced, by when they were said.
    changes: Mutex<VecDeque<(Instant, SpanContext)>>,
}

/// A change that is being translated.
#[derive(Debug)]
pub struct Change(Option<(Span, Span)>);

impl Spans {
    /// To the collector that the environment names; else to nobody.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub fn from_environment() -> anyhow::Result<Self> {
        if !super::wanted() {
            return Ok(Self::default());
        }
        let exporter = SpanExporter::builder().with_tonic().build();
        let exporter = exporter.context("sending traces by OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("mainstem");
        }
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.with_attribute(version).build())
            .build();
        let tracer = provider.tracer("mainstem");
        let epoch = (Instant::now(), SystemTime::now());
        info!("changes are traced");
        Ok(Self(Some(Arc::new(Traces { provider, tracer, epoch, changes: Mutex::default() }))))
    }

    /// Begins the trace of what a snapshot brings, of which the first was said at `since`.
    pub fn change(&self, since: Instant, snapshot: &Snapshot, set: Option<&ChangeSet>) -> Change {
        Change(self.0.as_ref().and_then(|traces| traces.change(since, snapshot, set)))
    }

    /// Sends what was not sent yet.
    pub async fn flush(self) {
        let Some(traces) = self.0 else { return };
        let ended = tokio::task::spawn_blocking(move || traces.provider.shutdown()).await;
        if let Ok(Err(error)) = ended {
            warn!(%error, "the last traces are lost");
        }
    }
}

impl Change {
    /// So many streams were woken.
    pub fn told(self, streams: usize) {
        let Some((mut change, mut translate)) = self.0 else { return };
        translate.end();
        change.set_attribute(number("mainstem.streams", streams));
        change.end();
    }
}

impl Traces {
    fn change(
        &self,
        since: Instant,
        snapshot: &Snapshot,
        set: Option<&ChangeSet>,
    ) -> Option<(Span, Span)> {
        let attributes = attributes(snapshot, set);
        let said = SpanBuilder::from_name("change").with_start_time(self.at(since));
        let change =
            said.with_attributes(attributes).start_with_context(&self.tracer, &Context::new());
        let context = change.span_context().clone();
        if !context.is_sampled() {
            return None;
        }
        let parent = below(&context);
        let from = |name, at| SpanBuilder::from_name(name).with_start_time(self.at(at));
        from("snapshot", since).start_with_context(&self.tracer, &parent).end();
        let translate = from("translate", Instant::now()).start_with_context(&self.tracer, &parent);
        let mut changes = self.changes.lock();
        if changes.len() == REMEMBERED {
            changes.pop_front();
        }
        changes.push_back((since, context));
        Some((change, translate))
    }

    fn answered(
        &self,
        client: &Client,
        type_url: &TypeUrl,
        trip: RoundTrip,
        rejection: Option<&Rejection>,
    ) {
        let Some(change) = trip.change.and_then(|since| self.traced(since)) else { return };
        let mut push = SpanBuilder::from_name("push")
            .with_start_time(self.at(trip.sent))
            .with_attributes([
                KeyValue::new("mainstem.node", client.node.id.clone()),
                KeyValue::new("mainstem.type", type_url.short().to_owned()),
            ])
            .start_with_context(&self.tracer, &below(&change));
        if let Some(rejection) = rejection {
            push.set_status(Status::error(rejection.message.clone()));
        }
        push.end_with_timestamp(self.at(trip.answered));
    }

    fn traced(&self, since: Instant) -> Option<SpanContext> {
        let changes = self.changes.lock();
        let (_, context) = changes.iter().rev().find(|(said, _)| *said == since)?;
        Some(context.clone())
    }

    fn at(&self, moment: Instant) -> SystemTime {
        let (instant, time) = self.epoch;
        match moment.checked_duration_since(instant) {
            Some(after) => time + after,
            None => time - (instant - moment),
        }
    }
}

impl PushObserver for Spans {
    fn acked(&self, client: &Client, type_url: &TypeUrl, trip: RoundTrip) {
        if let Some(traces) = &self.0 {
            traces.answered(client, type_url, trip, None);
        }
    }

    fn rejected(
        &self,
        client: &Client,
        type_url: &TypeUrl,
        trip: RoundTrip,
        rejection: &Rejection,
    ) {
        if let Some(traces) = &self.0 {
            traces.answered(client, type_url, trip, Some(rejection));
        }
    }
}

/// As a parent.
fn below(span: &SpanContext) -> Context {
    Context::new().with_remote_span_context(span.clone())
}

fn attributes(snapshot: &Snapshot, set: Option<&ChangeSet>) -> Vec<KeyValue> {
    let generation = i64::try_from(snapshot.generation()).unwrap_or(i64::MAX);
    let mut attributes = vec![KeyValue::new("mainstem.generation", generation)];
    if let Some(set) = set {
        attributes.push(number("mainstem.services.defined", set.services.len()));
        attributes.push(number("mainstem.services.endpoints", set.endpoints.len()));
        let named = set.services.union(&set.endpoints).take(NAMED);
        let named = named.map(|key: &ServiceKey| StringValue::from(key.to_string())).collect();
        attributes.push(KeyValue::new("mainstem.services", Value::Array(Array::String(named))));
    }
    attributes
}

fn number(key: &'static str, count: usize) -> KeyValue {
    KeyValue::new(key, i64::try_from(count).unwrap_or(i64::MAX))
}
