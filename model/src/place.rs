//! Where an endpoint runs: what all endpoints of one host have in common.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::Serialize;

use crate::intern::Pool;
use crate::{ClusterId, Locality, NetworkId, NodeName};

/// Cluster, network, locality and host.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The cluster that the workload belongs to.
    pub cluster: ClusterId,
    /// The network that the address belongs to.
    pub network: NetworkId,
    /// Where it runs.
    pub locality: Locality,
    /// The host it runs on, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
}

/// A [`Place`] of which equal ones are one; one pointer wide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SharedPlace(Arc<Place>);

impl From<Place> for SharedPlace {
    fn from(place: Place) -> Self {
        static KNOWN: LazyLock<Pool<Place>> = LazyLock::new(Pool::new);
        Self(KNOWN.share(place))
    }
}

impl Default for SharedPlace {
    fn default() -> Self {
        static UNKNOWN: LazyLock<SharedPlace> = LazyLock::new(|| Place::default().into());
        UNKNOWN.clone()
    }
}

impl Deref for SharedPlace {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.0
    }
}
