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
pub use subscription::Subscription;
pub(crate) use xdstp::{collection, is_collection, normalized};

/// The name of a resource.
pub type Name = Arc<str>;

/// What a client asks for to get everything.
pub const WILDCARD: &str = "*";

/// The type URL of a kind of resource. Those of xDS itself cost no memory.
#[derive(Clone)]
pub struct TypeUrl(Repr);

#[derive(Clone)]
enum Repr {
    Known(&'static str),
    Other(Arc<str>),
}

const KNOWN: [&str; 9] = [
    type_url::CLUSTER,
    type_url::CLUSTER_LOAD_ASSIGNMENT,
    type_url::LISTENER,
    type_url::ROUTE_CONFIGURATION,
    type_url::SCOPED_ROUTE_CONFIGURATION,
    type_url::VIRTUAL_HOST,
    type_url::SECRET,
    type_url::EXTENSION_CONFIG,
    type_url::RUNTIME,
];

impl TypeUrl {
    /// Clusters (CDS).
    pub const CLUSTER: TypeUrl = TypeUrl(Repr::Known(type_url::CLUSTER));
    /// Load assignments (EDS).
    pub const CLUSTER_LOAD_ASSIGNMENT: TypeUrl =
        TypeUrl(Repr::Known(type_url::CLUSTER_LOAD_ASSIGNMENT));
    /// Listeners (LDS).
    pub const LISTENER: TypeUrl = TypeUrl(Repr::Known(type_url::LISTENER));
    /// Route configurations (RDS).
    pub const ROUTE_CONFIGURATION: TypeUrl = TypeUrl(Repr::Known(type_url::ROUTE_CONFIGURATION));
    /// Scoped route configurations (SRDS).
    pub const SCOPED_ROUTE_CONFIGURATION: TypeUrl =
        TypeUrl(Repr::Known(type_url::SCOPED_ROUTE_CONFIGURATION));
    /// Virtual hosts on demand (VHDS).
    pub const VIRTUAL_HOST: TypeUrl = TypeUrl(Repr::Known(type_url::VIRTUAL_HOST));
    /// Secrets (SDS).
    pub const SECRET: TypeUrl = TypeUrl(Repr::Known(type_url::SECRET));
    /// Extension configurations (ECDS).
    pub const EXTENSION_CONFIG: TypeUrl = TypeUrl(Repr::Known(type_url::EXTENSION_CONFIG));
    /// Runtime layers (RTDS).
    pub const RUNTIME: TypeUrl = TypeUrl(Repr::Known(type_url::RUNTIME));

    /// The name by which people know the type: `CDS`, else the message's full name.
    pub fn short(&self) -> &str {
        type_url::short(self)
    }
}

impl From<&str> for TypeUrl {
    fn from(url: &str) -> Self {
        let known = KNOWN.into_iter().find(|known| *known == url);
        TypeUrl(known.map_or_else(|| Repr::Other(url.into()), Repr::Known))
    }
}

impl Deref for TypeUrl {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Repr::Known(url) => url,
            Repr::Other(url) => url,
        }
    }
}

impl Borrow<str> for TypeUrl {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq for TypeUrl {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for TypeUrl {}

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
