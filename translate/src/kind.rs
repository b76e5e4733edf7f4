//! The types of resources that are translated.

use mainstem_proto::{istio, type_url};

/// A type of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Clusters (CDS).
    Cluster,
    /// Load assignments (EDS).
    LoadAssignment,
    /// Listeners (LDS).
    Listener,
    /// Route configurations (RDS).
    Route,
    /// Istio's ServiceEntries, for control planes that import services.
    ServiceEntry,
    /// Configuration objects that pass through unread, for control planes that import
    /// them. They travel under as many types; [`passing::name`](crate::passing::name)
    /// is theirs here.
    Config,
}

impl Kind {
    /// All, in the order in which a client should learn of them.
    pub const ALL: [Self; 6] = [
        Self::Cluster,
        Self::LoadAssignment,
        Self::Listener,
        Self::Route,
        Self::ServiceEntry,
        Self::Config,
    ];

    /// The type URL under which such resources travel; of configuration objects that of
    /// their message.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => type_url::CLUSTER,
            Self::LoadAssignment => type_url::CLUSTER_LOAD_ASSIGNMENT,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE_CONFIGURATION,
            Self::ServiceEntry => istio::SERVICE_ENTRIES,
            Self::Config => istio::RESOURCE,
        }
    }
}
