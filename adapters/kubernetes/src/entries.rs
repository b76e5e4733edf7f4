//! Named texts kept as ConfigMaps, one each, for replicas that share them.
//!
//! A ConfigMap has the entry's name and text as data, and carries a label by which all
//! entries of one group are listed and watched. Writes compare `resourceVersion`s.

use std::collections::BTreeMap;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::sync::Mutex;
use xxhash_rust::xxh3::xxh3_128;

use crate::api::connect;
use crate::config::KubernetesConfig;

/// The label whose value is the group's name.
const LABEL: &str = "mainstem.io/control-state";

/// The most that a text may have, in bytes: a ConfigMap takes 1 MiB in all.
pub const MOST: usize = 900_000;

/// Where entries are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntriesConfig {
    /// Which API server, with which credentials.
    pub server: KubernetesConfig,
    /// The namespace; `None` is the credentials' own.
    pub namespace: Option<String>,
    /// What the ConfigMaps' names begin with, and the value of their label.
    pub name: String,
}

/// One entry as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Its `resourceVersion`.
    pub revision: String,
}

/// Something did not work.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} ConfigMaps of the label {LABEL}={group}")]
pub struct EntriesError {
    attempt: &'static str,
    group: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The entries of one group.
pub struct Entries {
    config: EntriesConfig,
    /// Made at the first question, and anew after a failure: credentials may have changed.
    client: Mutex<Option<Client>>,
    /// The `resourceVersion` of the last list, from which watches go on.
    listed: Mutex<String>,
}

impl Entries {
    /// Asks nothing yet.
    pub fn new(config: EntriesConfig) -> Self {
        Self { config, client: Mutex::default(), listed: Mutex::default() }
    }

    /// Everything that stands there now; what has no name of an entry is passed over.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub async fn load(&self) -> Result<Vec<Entry>, EntriesError> {
        let api = self.api("listing").await?;
        let selector = ListParams::default().labels(&self.selector());
        let list = match api.list(&selector).await {
            Ok(list) => list,
            Err(error) => return Err(self.failed("listing", error).await),
        };
        *self.listed.lock().await = list.metadata.resource_version.unwrap_or_default();
        Ok(list.items.into_iter().filter_map(entry).collect())
    }

    /// Waits until something stands there that `known` (by name and revision, `None`
    /// where it went) does not hold for. May return early.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub async fn changed(
        &self,
        known: impl Fn(&str, Option<&str>) -> bool,
    ) -> Result<(), EntriesError> {
        loop {
            let api = self.api("watching").await?;
            let params = WatchParams::default().labels(&self.selector()).timeout(240);
            let from = self.listed.lock().await.clone();
            let watch = match api.watch(&params, &from).await {
                Ok(watch) => watch,
                Err(error) => return Err(self.failed("watching", error).await),
            };
            pin_mut!(watch);
            while let Some(event) = watch.next().await {
                let (object, gone) = match event {
                    Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => (object, false),
                    Ok(WatchEvent::Deleted(object)) => (object, true),
                    Ok(WatchEvent::Bookmark(_)) => continue,
                    // Too old, for instance: a new list says what is so.
                    Ok(WatchEvent::Error(_)) => return Ok(()),
                    Err(error) => return Err(self.failed("watching", error).await),
                };
                let entry = entry(object);
                let same = entry.as_ref().is_none_or(|entry| {
                    known(&entry.name, (!gone).then_some(entry.revision.as_str()))
                });
                if !same {
                    return Ok(());
                }
            }
        }
    }

    /// Sets an entry's text, or removes it; whether it stood there as expected: at this
    /// revision, or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write(
        &self,
        name: &str,
        text: Option<String>,
        expected: Option<&str>,
    ) -> Result<bool, EntriesError> {
        let api = self.api("writing").await?;
        let own = self.object_name(name);
        let post = PostParams::default();
        let done = match (text, expected) {
            (None, None) => return Ok(true),
            (Some(text), None) => api.create(&post, &self.object(name, text, None)).await.map(drop),
            (Some(text), Some(revision)) => {
                api.replace(&own, &post, &self.object(name, text, Some(revision))).await.map(drop)
            }
            (None, Some(revision)) => {
                let resource_version = Some(revision.to_owned());
                let preconditions = Some(Preconditions { resource_version, uid: None });
                let delete = DeleteParams { preconditions, ..DeleteParams::default() };
                api.delete(&own, &delete).await.map(drop)
            }
        };
        match done {
            Ok(()) => Ok(true),
            // It is there already, was changed, or is gone.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                // A namespace that is missing is no rival.
                if status.code == 404 && expected.is_none() {
                    return Err(self.failed("writing", kube::Error::Api(status)).await);
                }
                Ok(false)
            }
            Err(error) => Err(self.failed("writing", error).await),
        }
    }

    fn selector(&self) -> String {
        format!("{LABEL}={}", self.config.name)
    }

    fn object_name(&self, name: &str) -> String {
        format!("{}-{:032x}", self.config.name, xxh3_128(name.as_bytes()))
    }

    fn object(&self, name: &str, text: String, revision: Option<&str>) -> ConfigMap {
        let labels = [
            (LABEL.to_owned(), self.config.name.clone()),
            ("app.kubernetes.io/managed-by".to_owned(), "mainstem".to_owned()),
        ];
        let data = [("name".to_owned(), name.to_owned()), ("entry".to_owned(), text)];
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.object_name(name)),
                labels: Some(BTreeMap::from(labels)),
                resource_version: revision.map(str::to_owned),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from(data)),
            ..ConfigMap::default()
        }
    }

    async fn api(&self, attempt: &'static str) -> Result<Api<ConfigMap>, EntriesError> {
        let mut held = self.client.lock().await;
        let client = match &*held {
            Some(client) => client.clone(),
            None => {
                let made = connect::client(&self.config.server).await;
                let client = made.map_err(|error| self.error(attempt, error))?;
                held.insert(client).clone()
            }
        };
        Ok(match &self.config.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::default_namespaced(client),
        })
    }

    async fn failed(&self, attempt: &'static str, error: kube::Error) -> EntriesError {
        *self.client.lock().await = None;
        self.error(attempt, error)
    }

    fn error(
        &self,
        attempt: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> EntriesError {
        EntriesError { attempt, group: self.config.name.clone(), source: source.into() }
    }
}

/// Without the client.
impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("config", &self.config).finish_non_exhaustive()
    }
}

fn entry(object: ConfigMap) -> Option<Entry> {
    let mut data = object.data?;
    let revision = object.metadata.resource_version?;
    Some(Entry { name: data.remove("name")?, text: data.remove("entry")?, revision })
}
