//! Disagreements between registries, and between their services: no choice is
//! silent.

use serde::Serialize;

use crate::{Hostname, NamespaceName, RegistryId, Service};

/// What two registries, or two services, disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ConflictKind {
    /// The loser's name for a port number.
    PortName,
    /// The loser's protocol for a port number.
    PortProtocol,
    /// The loser's resolution.
    Resolution,
    /// The loser may not define this host (`hosts` of its configuration).
    UndeclaredHost,
    /// The loser may not add endpoints to this host (`joins` of its configuration).
    UndeclaredJoin,
    /// The loser's endpoints name a port that the service does not have.
    UnknownPort,
    /// The loser's service accounts lie outside its trust domain and its list.
    ForeignServiceAccount,
    /// The loser has the name in another namespace, where alone it is seen.
    NamespaceTakeover,
    /// Registries have different workloads at one address of one network.
    AddressCollision,
    /// Two services have one address and port, or range; the loser's own.
    ServiceAddress,
    /// Two services take opaque traffic on one port, and neither has an address
    /// that would tell them apart; the loser's own.
    ServicePort,
    /// Two services go by one name; the loser's own.
    ServiceName,
}

/// One disagreement: who won, who lost, over what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conflict {
    /// The service's host name; for an address collision, the address.
    pub hostname: Hostname,
    /// The service's namespace, or the losing workload's.
    pub namespace: NamespaceName,
    /// What the conflict is about.
    pub kind: ConflictKind,
    /// The registry whose word counts, where there is one.
    pub winner: Option<RegistryId>,
    /// The registry whose word was dropped.
    pub loser: RegistryId,
    /// Both values, in words: `port 80: http against tcp`.
    pub detail: String,
}

impl Conflict {
    /// A conflict between services: the loser claims `what`, which is the
    /// winner's. None for a loser that nobody says.
    pub fn between(
        kind: ConflictKind,
        winner: &Service,
        loser: &Service,
        what: &str,
    ) -> Option<Self> {
        let registry = |service: &Service| {
            service.origins.first().map(|sourced| sourced.origin.registry.clone())
        };
        Some(Self {
            hostname: loser.hostname().clone(),
            namespace: loser.namespace().clone(),
            kind,
            winner: registry(winner),
            loser: registry(loser)?,
            detail: format!("{what} is {}'s", winner.key),
        })
    }
}
