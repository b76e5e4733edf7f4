//! Names of resources and types, and sets of them.

mod set;
mod subscription;
mod xdstp;

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use mainstem_proto::type_url;

pub use set::NameSet;
pub(crate) use set::hash_of;
pub use subscription::Subscription;
pub(crate) use xdstp::{collection, is_collection, normalized};

/// The name of a resource.
pub type Name = Arc<str>;

/// What a client asks for to get everything.
pub const WILDCARD: &str = "*";

/// The type URL of a kind of resource. Those of xDS itself cost no memory, and
/// comparing them costs nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct TypeUrl(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    Known(Known),
    /// None of the known ones.
    Other(Arc<str>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Cluster,
    ClusterLoadAssignment,
    Listener,
    RouteConfiguration,
    ScopedRouteConfiguration,
    VirtualHost,
    Secret,
    ExtensionConfig,
    Runtime,
}

impl Known {
    const ALL: [Known; 9] = [
        Known::Cluster,
        Known::ClusterLoadAssignment,
        Known::Listener,
        Known::RouteConfiguration,
        Known::ScopedRouteConfiguration,
        Known::VirtualHost,
        Known::Secret,
        Known::ExtensionConfig,
        Known::Runtime,
    ];

    fn url(self) -> &'static str {
        match self {
            Known::Cluster => type_url::CLUSTER,
            Known::ClusterLoadAssignment => type_url::CLUSTER_LOAD_ASSIGNMENT,
            Known::Listener => type_url::LISTENER,
            Known::RouteConfiguration => type_url::ROUTE_CONFIGURATION,
            Known::ScopedRouteConfiguration => type_url::SCOPED_ROUTE_CONFIGURATION,
            Known::VirtualHost => type_url::VIRTUAL_HOST,
            Known::Secret => type_url::SECRET,
            Known::ExtensionConfig => type_url::EXTENSION_CONFIG,
            Known::Runtime => type_url::RUNTIME,
        }
    }
}

impl TypeUrl {
    /// Clusters (CDS).
    pub const CLUSTER: TypeUrl = TypeUrl(Repr::Known(Known::Cluster));
    /// Load assignments (EDS).
    pub const CLUSTER_LOAD_ASSIGNMENT: TypeUrl = TypeUrl(Repr::Known(Known::ClusterLoadAssignment));
    /// Listeners (LDS).
    pub const LISTENER: TypeUrl = TypeUrl(Repr::Known(Known::Listener));
    /// Route configurations (RDS).
    pub const ROUTE_CONFIGURATION: TypeUrl = TypeUrl(Repr::Known(Known::RouteConfiguration));
    /// Scoped route configurations (SRDS).
    pub const SCOPED_ROUTE_CONFIGURATION: TypeUrl =
        TypeUrl(Repr::Known(Known::ScopedRouteConfiguration));
    /// Virtual hosts on demand (VHDS).
    pub const VIRTUAL_HOST: TypeUrl = TypeUrl(Repr::Known(Known::VirtualHost));
    /// Secrets (SDS).
    pub const SECRET: TypeUrl = TypeUrl(Repr::Known(Known::Secret));
    /// Extension configurations (ECDS).
    pub const EXTENSION_CONFIG: TypeUrl = TypeUrl(Repr::Known(Known::ExtensionConfig));
    /// Runtime layers (RTDS).
    pub const RUNTIME: TypeUrl = TypeUrl(Repr::Known(Known::Runtime));

    /// The name by which people know the type: `CDS`, else the message's full name.
    pub fn short(&self) -> &str {
        type_url::short(self)
    }
}

impl From<&str> for TypeUrl {
    fn from(url: &str) -> Self {
        let known = Known::ALL.into_iter().find(|known| known.url() == url);
        TypeUrl(known.map_or_else(|| Repr::Other(url.into()), Repr::Known))
    }
}

impl Deref for TypeUrl {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Repr::Known(known) => known.url(),
            Repr::Other(url) => url,
        }
    }
}

impl Borrow<str> for TypeUrl {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialOrd for TypeUrl {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TypeUrl {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl std::hash::Hash for TypeUrl {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}
