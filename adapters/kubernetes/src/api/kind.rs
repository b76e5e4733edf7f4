//! The kinds that are followed.

use mainstem_model::ObjectKind;

/// A kind that is followed, in the order in which troubles are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Service,
    EndpointSlice,
    Pod,
    Namespace,
    Node,
    ServiceEntry,
    WorkloadEntry,
}

/// The API group of Istio's networking kinds.
pub(crate) const ISTIO_GROUP: &str = "/apis/networking.istio.io";

/// The versions of Istio's kinds that can be read, the best first. They differ
/// in name only.
pub(crate) const ISTIO_VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha3"];

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
        Self::Namespace,
        Self::Node,
        Self::ServiceEntry,
        Self::WorkloadEntry,
    ];

    /// The kind's name, also in [`ObjectRef`](mainstem_model::ObjectRef)s.
    pub(crate) fn name(self) -> ObjectKind {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
        }
    }

    /// The name of its collection.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::Pod => "pods",
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::ServiceEntry => "serviceentries",
            Self::WorkloadEntry => "workloadentries",
        }
    }

    /// The path of its collection; `None` where discovery has to tell.
    pub(crate) fn path(self) -> Option<String> {
        let root = match self {
            Self::EndpointSlice => "/apis/discovery.k8s.io/v1",
            Self::ServiceEntry | Self::WorkloadEntry => return None,
            Self::Service | Self::Pod | Self::Namespace | Self::Node => "/api/v1",
        };
        Some(format!("{root}/{}", self.plural()))
    }

    /// What is left out on the API server already.
    pub(crate) fn field_selector(self) -> Option<&'static str> {
        (self == Self::Pod).then_some("status.phase!=Failed,status.phase!=Succeeded")
    }
}
