//! Names: shared, immutable strings with a type each.

use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::intern::Pool;

macro_rules! names {
    ($stored:ty, $store:ident: $($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name($stored);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether nothing was named.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                static EMPTY: LazyLock<$name> = LazyLock::new(|| $name::from(""));
                EMPTY.clone()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self($store(text.into()))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self($store(text.into_boxed_str()))
            }
        }

        impl From<Arc<str>> for $name {
            fn from(text: Arc<str>) -> Self {
                Self::from(&*text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    )*};
}

fn alone(text: Box<str>) -> Arc<str> {
    Arc::from(text)
}

/// Text that is kept once however often it is made; one pointer wide.
pub(crate) fn shared(text: Box<str>) -> Arc<Box<str>> {
    static TEXTS: LazyLock<Pool<Box<str>>> = LazyLock::new(Pool::new);
    TEXTS.share(text)
}

names! { Arc<str>, alone:
    /// A fully qualified host name, possibly with a leading `*.`; lower case, no trailing dot.
    Hostname;
}

// Few distinct names, each carried by many values.
names! { Arc<Box<str>>, shared:
    /// The name of a namespace.
    NamespaceName;
    /// `provider/cluster`, such as `kubernetes/prod-eu` or `consul/dc1`.
    RegistryId;
    /// The name by which a cluster (Kubernetes, a Consul datacenter, a set of VMs) is known in the mesh.
    ClusterId;
    /// A network: addresses are unique and reachable within it. Empty is the default network.
    NetworkId;
    /// The host that a workload runs on.
    NodeName;
    /// The name of a service port.
    PortName;
    /// A service account's identity, as a SPIFFE ID.
    ServiceAccount;
}

impl Hostname {
    /// Reads a host name as users write it: any case, with or without the trailing dot.
    pub fn normalised(text: &str) -> Self {
        let text = text.trim_end_matches('.');
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Self::from(text.to_ascii_lowercase())
        } else {
            Self::from(text)
        }
    }

    /// Whether the name starts with `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }
}

impl RegistryId {
    /// The identity of a registry of `provider` for `cluster`.
    pub fn new(provider: &str, cluster: &str) -> Self {
        Self::from(format!("{provider}/{cluster}"))
    }

    /// The part before the slash: `kubernetes`, `consul`, `file`, `mcp`.
    pub fn provider(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(provider, _)| provider)
    }

    /// The part after the slash.
    pub fn cluster(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, cluster)| cluster)
    }
}

/// A set of host names: an exact name, `*.suffix` (any number of labels before
/// the suffix) or `*` (all).
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct HostPattern(Hostname);

impl HostPattern {
    /// Whether `host` belongs to the set. A wildcard host belongs when all its names would.
    pub fn matches(&self, host: &Hostname) -> bool {
        match self.0.as_str().strip_prefix('*') {
            Some("") => true,
            Some(suffix) => {
                let host = host.as_str().strip_prefix('*').unwrap_or(host.as_str());
                host.ends_with(suffix)
            }
            None => self.0 == *host,
        }
    }

    /// Whether every host name of `other` belongs to this set.
    pub fn covers(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<&str> for HostPattern {
    fn from(text: &str) -> Self {
        Self(Hostname::normalised(text))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("*.shop.svc", "db.shop.svc", true)]
    #[case("*.shop.svc", "a.db.shop.svc", true)]
    #[case("*.shop.svc", "shop.svc", false)]
    #[case("*.shop.svc", "xshop.svc", false)]
    #[case("*.shop.svc", "*.shop.svc", true)]
    #[case("*", "anything", true)]
    #[case("db.shop.svc", "DB.shop.svc.", true)]
    #[case("db.shop.svc", "a.db.shop.svc", false)]
    fn a_pattern_matches_whole_labels(
        #[case] pattern: &str,
        #[case] host: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(HostPattern::from(pattern).matches(&Hostname::normalised(host)), expected);
    }

    #[rstest]
    #[case("*", "*.svc", true)]
    #[case("*.svc", "*.shop.svc", true)]
    #[case("*.svc", "db.svc", true)]
    #[case("*.shop.svc", "*.svc", false)]
    #[case("db.svc", "*.svc", false)]
    #[case("*.svc", "*", false)]
    fn a_pattern_covers_narrower_ones(
        #[case] wide: &str,
        #[case] narrow: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(HostPattern::from(wide).covers(&HostPattern::from(narrow)), expected);
    }

    #[test]
    fn a_registry_is_its_provider_and_cluster() {
        let id = RegistryId::new("consul", "dc1");
        assert_eq!((id.as_str(), id.provider(), id.cluster()), ("consul/dc1", "consul", "dc1"));
    }
}
