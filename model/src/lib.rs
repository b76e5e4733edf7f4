//! The values of Mainstem. No async, no gRPC, no registry client.
//!
//! Adapters make these values out of what their registry says, the aggregate
//! merges them into one [`Snapshot`], and everything a proxy is told is computed
//! from that snapshot alone.
//!
//! ```text
//!  names, labels, locality, protocol      what values are made of
//!  service, endpoint, workload, config    what registries bring
//!  origin, registry, conflict             where it came from, and in what state
//!  update                                 what an adapter says: one Value put, one Key gone, or all replaced
//!  mesh, time_span                        settings of the whole mesh
//!  proxy                                  who asks: node identifier and metadata
//!  shards, snapshot                       the immutable whole, sharing what did not change
//! ```
//!
//! Invariants:
//! - A [`Snapshot`] never changes; an edit makes a new one that shares all
//!   unchanged shards with its predecessor and knows which keys differ.
//! - Equality of *content* leaves revisions out ([`Origin`] against [`Sourced`]),
//!   so a write that changes nothing that a proxy could see compares equal.
//! - Everything that can reach a resource's bytes has a total order.

mod addresses;
mod config;
mod conflict;
mod endpoint;
mod intern;
mod labels;
mod locality;
mod mesh;
mod names;
mod origin;
mod place;
mod protocol;
mod proxy;
mod registry;
mod service;
mod shards;
mod snapshot;
mod time_span;
mod update;
mod workload;

pub use addresses::ClusterAddresses;
pub use config::{Body, Config, ConfigKey, Message, Namespace, NetworkGateway, NetworkGatewayKey};
pub use conflict::{Conflict, ConflictKind};
pub use endpoint::{Address, Endpoint, EndpointKey, EndpointSet, Health, TlsMode};
pub use labels::Labels;
pub use locality::Locality;
pub use mesh::{
    DefaultVisibility, LocalityFailover, LocalityLb, MeshSettings, OutboundPolicy,
    OutboundTrafficPolicy, TcpKeepalive,
};
pub use names::{
    ClusterId, HostPattern, Hostname, NamespaceName, NetworkId, NodeName, PortName, RegistryId,
    ServiceAccount,
};
pub use origin::{ObjectKind, ObjectRef, Origin, Origins, Rejected, Revision, Sourced, Via};
pub use place::{Place, SharedPlace};
pub use protocol::{Protocol, ProtocolHint};
pub use proxy::{Interception, NodeIdError, PodPort, Proxy, ProxyMetadata, ProxyType};
pub use registry::{Condition, Freshness, RegistryState};
pub use service::{
    Port, Resolution, Service, ServiceKey, TargetPort, TrafficDistribution, Visibility,
};
pub use shards::Shards;
pub use snapshot::{ChangeSet, Draft, Generation, ServiceTarget, Snapshot, Unloaded};
pub use time_span::{TimeSpan, TimeSpanError};
pub use update::{Key, RegistryUpdate, Value};
pub use workload::{Workload, WorkloadKey};
