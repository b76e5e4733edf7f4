//! Events about services, for `kubectl get events` and `kubectl describe`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::Mutex;

use crate::api::connect;
use crate::config::KubernetesConfig;

/// The most bytes of an Event's note.
const LONGEST: usize = 1024;

/// A warning about a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// The namespace of the Event, and of the Service.
    pub namespace: String,
    /// The Service, by its name there.
    pub service: String,
    /// In one word: `ServiceAddressConflict`.
    pub reason: String,
    /// For people; cut to 1 KiB.
    pub note: String,
}

/// An Event could not be written.
#[derive(Debug, thiserror::Error)]
#[error("writing an Event about Service {namespace}/{service}")]
pub struct EventError {
    namespace: String,
    service: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Writes Events to one cluster.
pub struct Events {
    config: KubernetesConfig,
    reporter: Reporter,
    /// Made at the first Event, and anew after a failure.
    recorder: Mutex<Option<Recorder>>,
}

impl Events {
    /// Events of `instance`, whose name nobody else has.
    pub fn new(config: KubernetesConfig, instance: &str) -> Self {
        let instance = Some(instance.to_owned());
        let reporter = Reporter { controller: "mainstem.io/federation".to_owned(), instance };
        Self { config, reporter, recorder: Mutex::default() }
    }

    /// Writes an Event; one that repeats another of the last minutes is counted there.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn warn(&self, warning: &Warning) -> Result<(), EventError> {
        let Warning { namespace, service, reason, note } = warning;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| EventError {
            namespace: namespace.clone(),
            service: service.clone(),
            source,
        };
        let mut known = self.recorder.lock().await;
        let recorder = match known.take() {
            Some(recorder) => recorder,
            None => {
                let client = connect::client(&self.config).await;
                let client = client.map_err(|error| failed(error.into()))?;
                Recorder::new(client, self.reporter.clone())
            }
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.clone(),
            note: Some(note[..note.floor_char_boundary(LONGEST)].to_owned()),
            action: "Merge".to_owned(),
            secondary: None,
        };
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(namespace.clone()),
            name: Some(service.clone()),
            ..ObjectReference::default()
        };
        recorder.publish(&event, &about).await.map_err(|error| failed(error.into()))?;
        *known = Some(recorder);
        Ok(())
    }
}
