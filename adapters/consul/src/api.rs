//! The client: which queries there are, what an answer must be to be believed.
//!
//! An answer counts only if it is 200, has an index, comes from servers that
//! know their leader, was not filtered by missing rights, and is not longer than
//! [`MAX_ANSWER`]. Everything else is an [`ApiError`].

mod answer;
mod client;
mod error;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use answer::{Answer, BadInstance, MAX_ANSWER, RawInstance};
pub use error::ApiError;
pub use wire::{
    CatalogService, Check, Instance, Locality, Node, Peering, PeeringRemote, Service, ServiceList,
    StreamStatus, TaggedAddress, Weights,
};

#[cfg(test)]
pub(crate) use answer::read_instances;
pub(crate) use client::{base_url, install_crypto};

use crate::config::{Consistency, ConsulConfig};
use crate::credentials::Credentials;
use crate::index::CatalogIndex;
use answer::Raw;
use client::{Client, Query};

/// What the queries cost so far; grows only.
#[derive(Debug, Default)]
pub struct Traffic {
    queries: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    /// Queries sent.
    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// Bytes of answers' bodies.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// As configured.
    Any,
    /// The leader, even where the configuration says `stale`: for answers that
    /// take something away.
    Leader,
}

/// Whether blocking queries on a service may be answered from the view that the
/// agent itself keeps of it (Consul's streaming backend), which spares the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    /// They may.
    Welcome,
    /// The servers are to answer.
    Avoided,
}

/// Consul's API with one set of credentials.
#[derive(Debug)]
pub struct Api {
    client: Client,
    /// Which part of Consul queries are about.
    place: Vec<(&'static str, String)>,
    peer: Option<String>,
    canary: String,
    consistency: Consistency,
    agent_cache: bool,
    views: Views,
}

/// An answer of the probe: the agent is there and the token sees the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The datacenter that answered, if the answer says so.
    pub datacenter: Option<String>,
}

impl Api {
    /// Makes a client and asks the registry whether it is there.
    ///
    /// # Errors
    /// What is wrong with the address, the credentials, or the answer.
    pub async fn connect(
        config: &ConsulConfig,
        credentials: &Credentials,
        views: Views,
        traffic: Arc<Traffic>,
    ) -> Result<(Self, Present), ApiError> {
        let mut api = Self {
            client: Client::new(config, credentials, traffic)?,
            place: config.place(),
            peer: config.peer.clone(),
            canary: config.canary().to_owned(),
            consistency: config.consistency,
            agent_cache: config.agent_cache,
            views,
        };
        let present = api.probe().await?;
        api.client.open_pool()?;
        Ok((api, present))
    }

    /// Whether the agent multiplexes queries on a connection.
    pub fn multiplexes(&self) -> bool {
        self.client.multiplexes()
    }

    /// How many connections carry blocking queries, where they are shared.
    pub fn connections(&self) -> Option<usize> {
        self.client.connections()
    }

    /// Whether the registry answers and the token sees the catalog, or the peer is
    /// connected; on a connection of its own and within the configured time.
    ///
    /// # Errors
    /// [`ApiError::Silent`] and [`ApiError::Transport`] when nobody answers, else
    /// what is wrong with the answer.
    pub async fn probe(&self) -> Result<Present, ApiError> {
        if let Some(peer) = &self.peer {
            let peering = active(peer, &self.client.probe(self.peering(peer)).await?)?;
            let datacenter = Some(peering.remote.datacenter).filter(|name| !name.is_empty());
            return Ok(Present { datacenter });
        }
        if self.canary.is_empty() {
            let query = self.query(&["status", "leader"]).without_index();
            let leader = self.client.probe(query).await?;
            return match leader.parse::<String>()?.as_str() {
                "" => Err(ApiError::NoLeader { path: leader.path().to_owned() }),
                _ => Ok(Present { datacenter: None }),
            };
        }
        let answer = self.client.probe(self.query(&["catalog", "service", &self.canary])).await?;
        let found: Vec<CatalogService> = answer.parse()?;
        match found.into_iter().next() {
            Some(canary) => Ok(Present { datacenter: Some(canary.datacenter) }),
            None => Err(self.no_canary(answer.path())),
        }
    }

    /// Waits until some service is registered, changed or deregistered.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn services_changed(
        &self,
        index: CatalogIndex,
        ask: Ask,
    ) -> Result<Answer<()>, ApiError> {
        let query = self.asking(ask, &["catalog", "services"]).after(index);
        let query = query.filter("ServiceName == \"\"").cached(self.may_be_cached(ask));
        self.client.ask(query).await?.with(())
    }

    /// The names of all services.
    ///
    /// # Errors
    /// [`ApiError`], also where the canary is missing.
    pub async fn services(&self, ask: Ask) -> Result<Answer<ServiceList>, ApiError> {
        let query = self.asking(ask, &["catalog", "services"]);
        let answer = self.client.ask(query).await?;
        let services: ServiceList = answer.parse()?;
        if !self.canary.is_empty() && !services.contains_key(&self.canary) {
            return Err(self.no_canary(answer.path()));
        }
        answer.with(services)
    }

    /// The names of all services that `peer` exports; does not wait for a change.
    ///
    /// # Errors
    /// [`ApiError`], also while the peer is not connected.
    pub async fn exports(&self, peer: &str) -> Result<BTreeSet<String>, ApiError> {
        let peering = active(peer, &self.client.ask(self.peering(peer)).await?)?;
        Ok(peering.stream_status.imported_services)
    }

    /// A service's instances with their checks.
    ///
    /// # Errors
    /// [`ApiError`], also where rights on some instance are missing.
    pub async fn instances(
        &self,
        service: &str,
        index: CatalogIndex,
        ask: Ask,
    ) -> Result<Answer<Vec<RawInstance>>, ApiError> {
        let mut query = self.asking(ask, &["health", "service", service]).after(index);
        query = query.cached(self.may_be_cached(ask));
        if self.views == Views::Avoided {
            query = query.by_servers();
        }
        let answer = self.client.ask(query).await?;
        answer.unfiltered("service:read and node:read on all of it")?;
        let instances = answer.instances()?;
        answer.with(instances)
    }

    /// The index of a service's instances, in an answer of a few bytes.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn instances_index(&self, service: &str) -> Result<CatalogIndex, ApiError> {
        // The filter selects nothing, and leaves the index as it is.
        let query = self.query(&["health", "service", service]).filter("Service.ID == \"\"");
        self.client.ask(query).await?.index()
    }

    /// All checks that do not pass.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn troubled_checks(
        &self,
        index: CatalogIndex,
    ) -> Result<Answer<Vec<Check>>, ApiError> {
        let query = self.query(&["health", "state", "any"]).filter("Status != \"passing\"");
        let answer = self.client.ask(query.after(index)).await?;
        let checks = answer.parse::<Option<Vec<Check>>>()?.unwrap_or_default();
        answer.with(checks)
    }

    /// Waits until some node is added, changed or removed.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn nodes_changed(&self, index: CatalogIndex) -> Result<Answer<()>, ApiError> {
        let query = self.query(&["catalog", "nodes"]).filter("Node == \"\"").after(index);
        self.client.ask(query).await?.with(())
    }

    fn asking(&self, ask: Ask, path: &[&str]) -> Query {
        match (ask, self.consistency) {
            (Ask::Leader, Consistency::Stale) => self.query(path).consistency(Consistency::Default),
            _ => self.query(path),
        }
    }

    fn may_be_cached(&self, ask: Ask) -> bool {
        self.agent_cache
            && ask == Ask::Any
            && self.views == Views::Welcome
            && self.consistency != Consistency::Consistent
    }

    fn query(&self, path: &[&str]) -> Query {
        Query::new(path, self.place.clone(), self.consistency)
    }

    fn peering(&self, peer: &str) -> Query {
        let partition = self.place.iter().filter(|(name, _)| *name == "partition").cloned();
        Query::new(&["peering", peer], partition.collect(), self.consistency).without_index()
    }

    fn no_canary(&self, path: &str) -> ApiError {
        ApiError::NoCanary { path: path.to_owned(), canary: self.canary.clone() }
    }
}

/// The peering, if its peer is connected.
fn active(peer: &str, answer: &Raw) -> Result<Peering, ApiError> {
    let peering: Peering = answer.parse()?;
    match peering.state == Peering::ACTIVE {
        true => Ok(peering),
        false => Err(ApiError::Peering { peer: peer.to_owned(), state: peering.state }),
    }
}

#[cfg(test)]
mod tests;
