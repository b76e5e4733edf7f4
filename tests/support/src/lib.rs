//! Real servers and clients for tests: start, wait, show the log, stop.
//!
//! ```text
//!              Program ─▶ Process ◀─ log in a Scratch directory
//!                           ▲
//!        ┌──────────┬───────┴──────┐
//!     Consul    Kubernetes       Envoy            EchoBackend
//!        ▲          ▲              │  routes to ─▶ (a workload)
//!        └─ FaultProxy ─┘          └ in a NetNs of a Network
//! ```
//!
//! Invariants:
//!
//! - A server is ready when its `start` returns, and has ended when its value is
//!   dropped, also by a panic. It ends too when the test process is killed.
//! - Everything listens on loopback, on ports from [`free_port`], or in network
//!   namespaces that the test made; tests and test processes run side by side.
//! - A test that fails shows the end of the log of each server it held.
//! - Nothing here sleeps for a fixed time: [`eventually`] asks until it is so.
//!
//! # Panics
//!
//! All of this is for tests, so what cannot be done panics, saying what was
//! attempted and on what. Calls whose failure a test may want to see (an API
//! request, a validation) return it.

mod background;
pub mod battery;
mod claim;
mod consul;
mod echo;
mod envoy;
mod eventually;
mod fault_proxy;
mod grpc_client;
mod http_client;
mod kubernetes;
mod network;
mod process;
mod scratch;
mod tls;
mod tokens;
mod tools;

pub use claim::free_port;
pub use consul::{AclToken, Consul, ConsulOptions, Federation, Storage};
pub use echo::EchoBackend;
pub use envoy::{Envoy, EnvoyOptions, EnvoyVersion};
pub use eventually::{TIMEOUT, eventually};
pub use fault_proxy::{Fault, FaultProxy};
pub use grpc_client::{GrpcClient, GrpcLanguage};
pub use http_client::{Answer, HttpClient};
pub use kubernetes::{Etcd, Kubernetes, KubernetesOptions, RestrictedUser};
pub use network::{Interception, NetNs, Network};
pub use process::{Process, Program};
pub use scratch::Scratch;
pub use tls::{Ca, Identity};
pub use tokens::{KeyServer, TokenIssuer};
pub use tools::{full_matrix, workspace_root};
