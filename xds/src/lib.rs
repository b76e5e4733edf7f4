//! The xDS protocol: state machines without sockets, and the gRPC services around them.
//!
//! ```text
//!  ResourceSource ──connect──▶ ResourceView      what one client may see, moment by moment
//!                                  │ advance, get
//!  client ──request──▶ protocol::{delta,sotw}    subscriptions, nonces, ACK, NACK, ordering
//!         ◀─response──     │ pure: marks what is owed, builds one response at a time
//!                       server::stream           moves messages, wakes on change, times out
//!                          │
//!                       Clients, PushObserver    who is connected, what was sent and accepted
//! ```
//!
//! The crate knows neither snapshots nor registries: whoever has resources
//! implements [`ResourceSource`], and [`StaticSource`] is a ready one.
//!
//! Invariants:
//! - A resource is encoded once and shared by every stream; a stream adds a
//!   nonce. Versions are hashes of content, equal on every replica.
//! - Per type and stream there is at most one response without an ACK, and one
//!   pending set of names. Content is read when it is sent, so a slow client
//!   gets fewer and newer answers, and pins nothing.
//! - A refused resource is not sent again until its content changes; what was
//!   refused with it is.
//! - Whatever a client sends, its state stays within [`Limits`].

pub mod auth;
pub mod clients;
pub mod limits;
pub mod loads;
pub mod names;
pub mod observe;
pub mod protocol;
pub mod resource;
pub mod server;
pub mod source;
pub mod static_source;
pub mod version;

pub use auth::{Anonymous, Authenticator, Credentials, Denied, Identity, Operators};
pub use clients::{ClientStatus, Clients};
pub use limits::Limits;
pub use loads::Loads;
pub use names::{Name, NameSet, Subscription, TypeUrl};
pub use observe::{NoObserver, PushObserver, RoundTrip};
pub use resource::Resource;
pub use server::{Listener, ServeError, Server, ServerConfig, Tls, TlsError, TlsMaterial};
pub use source::{Changes, Client, Lookup, Refusal, ResourceFailure, ResourceSource, ResourceView};
pub use static_source::StaticSource;
pub use version::{SetVersion, Version};
