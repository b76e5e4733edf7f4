//! The client: which kinds are followed, how the API server is reached, and the
//! four things that it is asked.

pub(crate) mod connect;
mod kind;

use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::Client;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

pub(crate) use connect::ConnectError;
pub(crate) use kind::Kind;

use crate::config::KubernetesConfig;
use kind::{ISTIO_GROUP, ISTIO_VERSIONS};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    List,
    Watch,
    Probe,
    Find,
}

/// A question that got no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{question} {}: the API server answers {code}: {message}", .kind.plural())]
    Answered { question: Question, kind: Kind, code: u16, message: String },

    #[error("{question} {}", .kind.plural())]
    Request { question: Question, kind: Kind, source: kube::Error },

    #[error("{question} {}: no answer within {limit:?}", .kind.plural())]
    Silent { question: Question, kind: Kind, limit: Duration },

    #[error("{question} {}: unreadable answer", .kind.plural())]
    Unreadable { question: Question, kind: Kind, source: serde_json::Error },
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "listing",
            Self::Watch => "watching",
            Self::Probe => "asking for",
            Self::Find => "looking for",
        })
    }
}

impl ApiError {
    fn new(question: Question, kind: Kind, source: kube::Error) -> Self {
        match source {
            kube::Error::Api(status) => {
                let (code, message) = (status.code, status.message);
                Self::Answered { question, kind, code, message }
            }
            source => Self::Request { question, kind, source },
        }
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Answered { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The position to go on from is forgotten: list anew.
    pub(crate) fn is_gone(&self) -> bool {
        self.code() == Some(410)
    }

    /// There is no such kind.
    pub(crate) fn is_absent(&self) -> bool {
        self.code() == Some(404)
    }

    /// The credentials are not, or no longer, good.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.code() == Some(401)
    }

    /// The API server is there: it answered, or took the question and said nothing.
    pub(crate) fn reached(&self) -> bool {
        !matches!(self, Self::Request { .. })
    }
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    pub(crate) metadata: PageMeta,
    #[serde(default)]
    pub(crate) items: Vec<Value>,
}

/// Where a page stands.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PageMeta {
    /// The position from which a watch goes on after the last page.
    pub(crate) resource_version: String,
    /// What to ask the next page with; empty after the last.
    pub(crate) r#continue: String,
}

/// The way to one API server. Cheap questions only: whoever asks decides when.
#[derive(Debug)]
pub(crate) struct Api {
    config: KubernetesConfig,
    client: watch::Sender<Holder>,
}

/// [`Client`] has no `Debug`.
#[derive(Clone)]
struct Holder(Client);

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Api {
    /// A client by the configuration; asks nothing yet.
    pub(crate) async fn connect(config: &KubernetesConfig) -> Result<Self, ConnectError> {
        let client = connect::client(config).await?;
        Ok(Self { config: config.clone(), client: watch::Sender::new(Holder(client)) })
    }

    /// Reads the credentials anew, for later questions.
    pub(crate) async fn renew(&self) -> Result<(), ConnectError> {
        let client = connect::client(&self.config).await?;
        self.client.send_replace(Holder(client));
        Ok(())
    }

    fn client(&self) -> Client {
        self.client.borrow().0.clone()
    }

    /// One page of all objects of a kind, as they are now; further pages by the
    /// token of the one before.
    pub(crate) async fn list(
        &self,
        kind: Kind,
        path: &str,
        token: Option<String>,
    ) -> Result<Page, ApiError> {
        let params = ListParams {
            field_selector: kind.field_selector().map(str::to_owned),
            limit: Some(self.config.page_size.max(1)),
            continue_token: token,
            ..ListParams::default()
        };
        let limit = self.config.request_timeout.duration();
        self.ask(Question::List, kind, limit, Request::new(path).list(&params)).await
    }

    /// What changes from `revision` on; bookmarks too.
    pub(crate) async fn watch(
        &self,
        kind: Kind,
        path: &str,
        revision: &str,
    ) -> Result<BoxStream<'static, Result<WatchEvent<Value>, ApiError>>, ApiError> {
        let question = Question::Watch;
        let seconds = self.config.watch_timeout.duration().as_secs().max(1);
        let params = WatchParams {
            field_selector: kind.field_selector().map(str::to_owned),
            timeout: Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = Request::new(path).watch(&params, revision);
        let request = request.map_err(|error| ApiError::Request {
            question,
            kind,
            source: kube::Error::BuildRequest(error),
        })?;
        let limit = self.config.request_timeout.duration();
        let client = self.client();
        match timeout(limit, client.request_events::<Value>(request)).await {
            Err(_) => Err(ApiError::Silent { question, kind, limit }),
            Ok(Err(error)) => Err(ApiError::new(question, kind, error)),
            Ok(Ok(events)) => Ok(events
                .map(move |event: kube::Result<_>| {
                    event.map_err(|error| ApiError::new(question, kind, error))
                })
                .boxed()),
        }
    }

    /// Asks for one object of a kind: the least that shows that the API server,
    /// its store and the rights are there. Returns the revision of the store.
    pub(crate) async fn probe(&self, kind: Kind, path: &str) -> Result<String, ApiError> {
        let params = ListParams { limit: Some(1), ..ListParams::default() };
        let limit = self.config.probe_timeout.duration();
        let request = Request::new(path).list(&params);
        let page: PageMetaOnly = self.ask(Question::Probe, kind, limit, request).await?;
        Ok(page.metadata.resource_version)
    }

    /// The path of a kind that may or may not be defined.
    pub(crate) async fn find(&self, kind: Kind) -> Result<Option<String>, ApiError> {
        if let Some(path) = kind.path() {
            return Ok(Some(path));
        }
        let Some(group) = self.find_at::<Group>(kind, ISTIO_GROUP).await? else {
            return Ok(None);
        };
        for version in ISTIO_VERSIONS {
            if !group.versions.iter().any(|served| served.version == version) {
                continue;
            }
            let root = format!("{ISTIO_GROUP}/{version}");
            let list = self.find_at::<Resources>(kind, &root).await?;
            if list.is_some_and(|list| list.resources.iter().any(|r| r.name == kind.plural())) {
                return Ok(Some(format!("{root}/{}", kind.plural())));
            }
        }
        Ok(None)
    }

    async fn find_at<T>(&self, kind: Kind, path: &str) -> Result<Option<T>, ApiError>
    where
        T: for<'de> Deserialize<'de>,
    {
        let limit = self.config.request_timeout.duration();
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(kube::core::request::Error::BuildRequest);
        match self.ask(Question::Find, kind, limit, request).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ask<T>(
        &self,
        question: Question,
        kind: Kind,
        limit: Duration,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ApiError>
    where
        T: for<'de> Deserialize<'de>,
    {
        let failed = |error| ApiError::new(question, kind, error);
        let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        let client = self.client();
        let text = match timeout(limit, client.request_text(request)).await {
            Err(_) => return Err(ApiError::Silent { question, kind, limit }),
            Ok(answer) => answer.map_err(failed)?,
        };
        serde_json::from_str(&text).map_err(|source| ApiError::Unreadable {
            question,
            kind,
            source,
        })
    }
}

/// A list of which only the head is read.
#[derive(Debug, Deserialize)]
struct PageMetaOnly {
    metadata: PageMeta,
}

#[derive(Debug, Deserialize)]
struct Group {
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
}

#[derive(Debug, Deserialize)]
struct Resources {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    name: String,
}
