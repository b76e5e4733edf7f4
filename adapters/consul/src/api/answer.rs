//! What came back.

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::{ApiError, Instance};
use crate::index::CatalogIndex;

/// The longest answer that is taken in, in bytes: some 50,000 instances of one service.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A believed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// From where the next query goes on.
    pub index: CatalogIndex,
    /// Equal for equal bytes.
    pub hash: u64,
    /// From what the agent itself keeps (Consul's streaming backend, or its cache): it
    /// does not say whether rights were missing, so what it lacks may well be there.
    pub by_agent: bool,
    /// What it says.
    pub value: T,
}

/// An instance, or why it is none.
pub type RawInstance = Result<Instance, BadInstance>;

/// An element of an answer that is no instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadInstance {
    /// Its id, as far as it can be read.
    pub id: String,
    /// Its node, as far as it can be read.
    pub node: String,
    /// What is wrong.
    pub reason: String,
}

/// An answer whose body is not read yet.
#[derive(Debug)]
pub(super) struct Raw {
    path: String,
    address: String,
    index: Option<CatalogIndex>,
    filtered: bool,
    by_agent: bool,
    body: Bytes,
}

impl Raw {
    pub(super) fn new(
        path: &str,
        address: &str,
        headers: &HeaderMap,
        body: Bytes,
        has_index: bool,
    ) -> Result<Self, ApiError> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let raw = Self {
            path: path.to_owned(),
            address: address.to_owned(),
            index: header("x-consul-index")
                .and_then(|i| i.parse().ok())
                .and_then(CatalogIndex::new),
            filtered: header("x-consul-results-filtered-by-acls") == Some("true"),
            by_agent: header("x-consul-query-backend") == Some("streaming")
                || header("x-cache").is_some(),
            body,
        };
        if has_index {
            raw.index()?;
        }
        // An answer of the agent's own says that no leader is known.
        if header("x-consul-knownleader") == Some("false") && !raw.by_agent {
            return Err(ApiError::NoLeader { path: raw.path });
        }
        Ok(raw)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn index(&self) -> Result<CatalogIndex, ApiError> {
        let missing =
            || ApiError::MissingIndex { path: self.path.clone(), address: self.address.clone() };
        self.index.ok_or_else(missing)
    }

    /// An error where rights were missing; `rights` says which.
    pub(super) fn unfiltered(&self, rights: &str) -> Result<(), ApiError> {
        match self.filtered {
            true => Err(ApiError::Filtered { path: self.path.clone(), rights: rights.to_owned() }),
            false => Ok(()),
        }
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(|source| self.malformed(source))
    }

    /// The elements one by one, so that a bad one costs only itself.
    pub(super) fn instances(&self) -> Result<Vec<RawInstance>, ApiError> {
        // The usual case in one pass, without a tree of values.
        if let Ok(all) = serde_json::from_slice::<Option<Vec<Instance>>>(&self.body) {
            return Ok(all.unwrap_or_default().into_iter().map(Ok).collect());
        }
        let elements: Vec<Value> = self.parse()?;
        Ok(elements.into_iter().enumerate().map(|(at, element)| instance(at, &element)).collect())
    }

    pub(super) fn with<T>(&self, value: T) -> Result<Answer<T>, ApiError> {
        Ok(Answer {
            index: self.index()?,
            hash: xxh3_64(&self.body),
            by_agent: self.by_agent,
            value,
        })
    }

    fn malformed(&self, source: serde_json::Error) -> ApiError {
        ApiError::Malformed { path: self.path.clone(), source }
    }
}

fn instance(at: usize, element: &Value) -> RawInstance {
    let text = |a: &str, b: &str| element.get(a)?.get(b)?.as_str().map(str::to_owned);
    Instance::deserialize(element).map_err(|error| BadInstance {
        id: text("Service", "ID").unwrap_or_else(|| format!("element-{at}")),
        node: text("Node", "Node").unwrap_or_default(),
        reason: error.to_string(),
    })
}

/// The instances in an answer's body.
#[cfg(test)]
pub(crate) fn read_instances(body: impl Into<Bytes>) -> Result<Vec<RawInstance>, ApiError> {
    let mut headers = HeaderMap::new();
    headers.insert("x-consul-index", http::HeaderValue::from_static("1"));
    Raw::new("test", "test", &headers, body.into(), true)?.instances()
}
