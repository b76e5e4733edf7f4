//! Client status discovery: what each client has, as operators ask for it.
//!
//! ```text
//! request ─▶ matcher ─▶ one client after the other ─▶ parts ─▶ stream, or one message
//! ```

mod matcher;
mod parts;

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use mainstem_proto::envoy::admin::v3::{ClientResourceStatus, UpdateFailureState};
use mainstem_proto::envoy::service::status::v3::client_config::GenericXdsConfig;
use mainstem_proto::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryService;
use mainstem_proto::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
};
use mainstem_proto::type_url;
use tonic::{Request, Response, Status, Streaming};

use self::parts::Parts;
use super::service::Serving;
use crate::clients::{Connected, Nack, Refused, SyncState, TypeStatus};
use crate::resource::Resource;
use crate::source::ResourceSource;

/// The client status discovery service.
#[derive(Clone)]
pub(super) struct ClientStatusService(pub(super) Arc<Serving>);

#[tonic::async_trait]
impl ClientStatusDiscoveryService for ClientStatusService {
    type StreamClientStatusStream =
        Pin<Box<dyn Stream<Item = Result<ClientStatusResponse, Status>> + Send>>;

    /// Each request is answered by as many responses as it takes.
    async fn stream_client_status(
        &self,
        request: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Status> {
        let requests = admit_operator(&self.0, request).await?;
        let serving = self.0.clone();
        let responses = requests.map(move |request| {
            let parts = request.and_then(|request| Parts::of(&serving.shared, &request));
            match parts {
                Ok(parts) => parts.stream().left_stream(),
                Err(status) => futures::stream::iter([Err(status)]).right_stream(),
            }
        });
        Ok(Response::new(Box::pin(responses.flatten())))
    }

    /// One message, without contents or not at all where they do not fit.
    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Status> {
        let request = admit_operator(&self.0, request).await?;
        Parts::of(&self.0.shared, &request)?.whole().await.map(Response::new)
    }
}

async fn admit_operator<T>(serving: &Serving, request: Request<T>) -> Result<T, Status> {
    let (headers, extensions, request) = request.into_parts();
    let credentials = serving.screen(headers.as_ref(), &extensions)?;
    let identity = serving.identify(&credentials, None).await?;
    if identity.operator {
        Ok(request)
    } else {
        Err(Status::permission_denied("the status of clients is for operators"))
    }
}

/// Nothing of its resources if the source turns it away by now.
fn client_config(source: &dyn ResourceSource, connected: &Connected, bare: bool) -> ClientConfig {
    let mut configs = Vec::new();
    if let Ok(given) = connected.given(source) {
        for of_type in connected.status().types {
            let resources = given.get(of_type.type_url.as_str());
            let resources = resources.map(Vec::as_slice).unwrap_or_default();
            configs.extend(resources.iter().map(|resource| of_resource(&of_type, resource, bare)));
            let absent = connected.names_without(&of_type.type_url, resources);
            configs.extend(absent.iter().map(|name| of_nothing(&of_type, name)));
        }
    }
    ClientConfig {
        node: Some(connected.client().node()),
        generic_xds_configs: configs,
        client_scope: format!("stream {}", connected.client().stream),
        ..ClientConfig::default()
    }
}

fn of_resource(of_type: &TypeStatus, resource: &Resource, bare: bool) -> GenericXdsConfig {
    let refusal = of_type.refusal_of(resource.name());
    let (config, client) = match of_type.state_of(resource.name()) {
        SyncState::Empty => (ConfigStatus::NotSent, ClientResourceStatus::Requested),
        SyncState::Synced => (ConfigStatus::Synced, ClientResourceStatus::Acked),
        SyncState::Rejected if refusal.is_none_or(|of| of.version == resource.version()) => {
            (ConfigStatus::Error, ClientResourceStatus::Nacked)
        }
        // What was refused has changed since, and the answer is awaited.
        SyncState::Stale | SyncState::Rejected => {
            (ConfigStatus::Stale, ClientResourceStatus::Requested)
        }
    };
    // What a secret is, is told to nobody but who may use it.
    let shown = !bare && of_type.type_url != type_url::SECRET;
    let accepted = of_type.acked.as_ref().filter(|_| client == ClientResourceStatus::Acked);
    let nack = of_type.nacked.as_ref().filter(|_| client == ClientResourceStatus::Nacked);
    GenericXdsConfig {
        type_url: of_type.type_url.clone(),
        name: resource.name().to_string(),
        version_info: resource.version().to_string(),
        xds_config: shown.then(|| resource.any()),
        last_updated: accepted.map(|answer| answer.at.into()),
        config_status: config.into(),
        client_status: client.into(),
        error_state: refusal.map(failure).or_else(|| nack.map(|nack| undecided(nack, resource))),
        ..GenericXdsConfig::default()
    }
}

fn failure(refused: &Refused) -> UpdateFailureState {
    UpdateFailureState {
        details: refused.message.to_string(),
        last_update_attempt: Some(refused.at.into()),
        version_info: refused.version.to_string(),
        ..UpdateFailureState::default()
    }
}

/// The response that has it was refused, and nobody found guilty yet.
fn undecided(nack: &Nack, resource: &Resource) -> UpdateFailureState {
    UpdateFailureState {
        details: nack.rejection.message.clone(),
        last_update_attempt: Some(nack.answer.at.into()),
        version_info: resource.version().to_string(),
        ..UpdateFailureState::default()
    }
}

fn of_nothing(of_type: &TypeStatus, name: &str) -> GenericXdsConfig {
    GenericXdsConfig {
        type_url: of_type.type_url.clone(),
        name: name.to_owned(),
        config_status: ConfigStatus::NotSent.into(),
        client_status: ClientResourceStatus::DoesNotExist.into(),
        ..GenericXdsConfig::default()
    }
}
