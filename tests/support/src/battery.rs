//! What every registry adapter must show, against its real registry.
//!
//! A fixture brings the registry, something in front of it that can cut and
//! slow it, and the adapter; the battery brings the facts:
//!
//! ```text
//! Fixture ── put, remove, malform ──▶ registry ─▶ cut, slow, hang ─▶ adapter
//!                                                                       │
//! fact ◀── until(…) ◀── View ◀── Batch ◀────────────────────── UpdateReceiver
//! ```
//!
//! A registry may hold more than the battery put there: facts look only at the
//! services and objects that they named. An adapter's tests are:
//!
//! ```text
//! mainstem_test_support::adapter_battery!(ConsulFixture::start().await);
//! ```

mod facts;
mod view;
mod watch;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mainstem_model::{ObjectRef, RegistryId, ServiceKey};
use mainstem_registry::Adapter;

pub use facts::{
    add, delete, first_sync, lost_connection, malformed_item_among_good_ones,
    malformed_item_at_the_first_sync, relist_after_a_gap, shutdown_in_the_middle_of_a_request,
    slow_answer, update,
};
pub use view::View;
pub use watch::Watch;

/// One real registry, the faults in front of it, and how its adapter starts.
///
/// The calls that change the registry return when it has the change; whether the
/// adapter has seen it is the battery's question.
#[allow(async_fn_in_trait, reason = "facts run on their test's own task")]
pub trait Fixture {
    /// The registry's identity.
    fn registry(&self) -> RegistryId;

    /// A new adapter that reaches the registry through the faults.
    fn adapter(&self) -> Box<dyn Adapter>;

    /// The key of the service that [`TestService`]s of this name become.
    fn key(&self, name: &str) -> ServiceKey;

    /// Creates the service, or makes it so.
    async fn put(&mut self, service: &TestService);

    /// Deletes the service with all its endpoints.
    async fn remove(&mut self, name: &str);

    /// Makes one object of a service that was `put` one that the registry takes
    /// and the adapter cannot understand. `put` makes it good again.
    async fn malform(&mut self, name: &str);

    /// The object that is rejected after `malform(name)`.
    fn malformed(&self, name: &str) -> ObjectRef;

    /// From now on the adapter cannot reach the registry: what is open breaks.
    /// Changes by the fixture itself still work.
    async fn cut(&mut self);

    /// Begins a time whose changes the adapter can learn by a complete list only:
    /// its watch breaks, and the position where it would resume gets lost.
    async fn begin_gap(&mut self);

    /// Ends it: the adapter can reach the registry and must list anew.
    async fn end_gap(&mut self);

    /// From now on answers take this much longer.
    async fn slow(&mut self, by: Duration);

    /// From now on requests get no answer, and no error either.
    async fn hang(&mut self);

    /// Returns when the running adapter is in the middle of a request that hangs.
    async fn hanging(&mut self);

    /// Undoes `cut`, `slow` and `hang`.
    async fn restore(&mut self);
}

/// A service with one port, as a fixture registers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestService {
    /// Its short name.
    pub name: String,
    /// The service port, HTTP.
    pub port: u16,
    /// The port of its endpoints.
    pub target: u16,
    /// Endpoints that take traffic.
    pub ready: Vec<Ipv4Addr>,
    /// Endpoints that the registry knows and holds for unhealthy.
    pub unready: Vec<Ipv4Addr>,
}

impl TestService {
    /// A service on port 80 with ready endpoints on 8080 at these addresses.
    pub fn new(name: &str, ready: &[[u8; 4]]) -> Self {
        Self {
            name: name.to_owned(),
            port: 80,
            target: 8080,
            ready: ready.iter().copied().map(Ipv4Addr::from).collect(),
            unready: Vec::new(),
        }
    }

    /// Address and port of the endpoints that take traffic, in order.
    pub fn serving(&self) -> Vec<(IpAddr, u16)> {
        let mut all: Vec<_> =
            self.ready.iter().map(|ip| (IpAddr::from(*ip), self.target)).collect();
        all.sort();
        all
    }
}

/// Expands to one test for each fact of the battery. The argument is an
/// expression, which may await, that makes a new [`Fixture`](crate::battery::Fixture).
#[macro_export]
macro_rules! adapter_battery {
    ($fixture:expr) => {
        $crate::adapter_battery! {
            $fixture;
            first_sync
            add
            update
            delete
            relist_after_a_gap
            malformed_item_among_good_ones
            malformed_item_at_the_first_sync
            lost_connection
            slow_answer
            shutdown_in_the_middle_of_a_request
        }
    };
    ($fixture:expr; $($fact:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                $crate::battery::$fact($fixture).await;
            }
        )*
    };
}
