//! Objects of one custom kind: followed as a whole, and given a status.
//!
//! For objects that tell the control plane what to do, unlike those that say what there
//! is, which the registry follows.

use std::collections::BTreeMap;

use futures::{StreamExt, pin_mut};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use mainstem_registry::Backoff;
use serde_json::{Value, json};

use crate::api::connect;
use crate::config::KubernetesConfig;

/// A kind, by its names in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomKind {
    /// `mainstem.io`.
    pub group: &'static str,
    /// `v1alpha1`.
    pub version: &'static str,
    /// `FederationPolicy`.
    pub kind: &'static str,
    /// `federationpolicies`.
    pub plural: &'static str,
}

/// An object's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CustomName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An object as it stands there.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomObject {
    /// Which one.
    pub name: CustomName,
    /// `metadata.generation`: goes up with each change of the spec.
    pub generation: i64,
    /// `spec`, null where there is none.
    pub spec: Value,
    /// `status`, null where there is none.
    pub status: Value,
}

/// Something did not work.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} {what}")]
pub struct CustomError {
    attempt: &'static str,
    what: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The objects of one kind in all namespaces.
pub struct CustomObjects {
    config: KubernetesConfig,
    kind: CustomKind,
}

impl CustomObjects {
    /// Asks nothing yet.
    pub fn new(config: KubernetesConfig, kind: CustomKind) -> Self {
        Self { config, kind }
    }

    /// Says all objects each time that something changed, and each failure. A failure
    /// changes no object. Runs until it is dropped.
    pub async fn follow(&self, mut said: impl FnMut(Result<Vec<CustomObject>, CustomError>)) {
        let mut backoff = Backoff::default();
        loop {
            let error = self
                .watch(&mut |all| {
                    backoff.reset();
                    said(Ok(all));
                })
                .await;
            said(Err(error));
            backoff.wait().await;
        }
    }

    /// Until the first failure.
    async fn watch(&self, said: &mut impl FnMut(Vec<CustomObject>)) -> CustomError {
        let api = match self.api().await {
            Ok(api) => api,
            Err(error) => return error,
        };
        let events = watcher(api, watcher::Config::default());
        pin_mut!(events);
        let mut all = BTreeMap::new();
        let mut listing = true;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => (all, listing) = (BTreeMap::new(), true),
                Ok(Event::InitDone) => listing = false,
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    let object = read(object);
                    all.insert(object.name.clone(), object);
                }
                Ok(Event::Delete(object)) => drop(all.remove(&read(object).name)),
                Err(error) => return self.failed("following", error),
            }
            if !listing {
                said(all.values().cloned().collect());
            }
        }
        self.failed("following", std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
    }

    /// Sets the status of an object.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub async fn write_status(&self, name: &CustomName, status: &Value) -> Result<(), CustomError> {
        let client = self.client().await?;
        let api: Api<DynamicObject> =
            Api::namespaced_with(client, &name.namespace, &self.resource());
        let patch = Patch::Merge(json!({ "status": status }));
        let written = api.patch_status(&name.name, &PatchParams::default(), &patch).await;
        written.map(drop).map_err(|error| self.failed("writing the status of", error))
    }

    async fn api(&self) -> Result<Api<DynamicObject>, CustomError> {
        Ok(Api::all_with(self.client().await?, &self.resource()))
    }

    async fn client(&self) -> Result<Client, CustomError> {
        connect::client(&self.config).await.map_err(|error| self.failed("reaching", error))
    }

    fn resource(&self) -> ApiResource {
        let CustomKind { group, version, kind, plural } = self.kind;
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    fn failed(
        &self,
        attempt: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> CustomError {
        let what = format!("{}.{} of {}", self.kind.plural, self.kind.group, self.config.cluster);
        CustomError { attempt, what, source: source.into() }
    }
}

fn read(mut object: DynamicObject) -> CustomObject {
    let metadata = object.metadata;
    let namespace = metadata.namespace.unwrap_or_default();
    CustomObject {
        name: CustomName { namespace, name: metadata.name.unwrap_or_default() },
        generation: metadata.generation.unwrap_or_default(),
        spec: object.data["spec"].take(),
        status: object.data["status"].take(),
    }
}
