//! A registry's bad moment never empties the mesh: every fault of every registry,
//! by a table, on real servers; also with the control plane killed and started
//! again meanwhile.
//!
//! For each fault: what every connected Envoy has before, during and after, the
//! state that the registry is in, and that it recovers without help.

mod common;
#[path = "faults/machines.rs"]
mod machines;
#[path = "faults/moments.rs"]
mod moments;
#[path = "faults/sites.rs"]
mod sites;
#[path = "faults/source.rs"]
mod source;
#[path = "faults/stage.rs"]
mod stage;

use mainstem_test_support::full_matrix;
use sites::Site;
use stage::Stage;

/// What can befall a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Killed at once.
    Killed,
    /// Stopped where it is: connections stay open, nothing answers.
    Stopped,
    /// Connections, or the file, are cut in the middle of what they say.
    Cut,
    /// Answers take ten seconds.
    Slow,
    /// Its certificate has expired.
    Expired,
    /// Half of all instances are deregistered at once.
    HalfGone,
    /// All of them are.
    AllGone,
    /// Half of the objects are malformed.
    Malformed,
    /// Restored to an older index.
    Older,
    /// Started again with nothing in it.
    Emptied,
    /// The token is revoked, the rights are removed.
    Unauthorised,
}

/// Every fault once, every other one with the control plane killed meanwhile; in
/// the full matrix every fault both ways.
async fn suffer_all(site: Site, first: usize) {
    let mut stage = Stage::set(site).await;
    for (number, fault) in stage.site.faults().iter().enumerate() {
        let both = [false, true];
        let one = [(number + first) % 2 == 1];
        let ways = if full_matrix() { &both[..] } else { &one[..] };
        for killed in ways {
            let killed = *killed && stage.site.names_objects(*fault);
            stage.suffer(*fault, killed).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_consul_loses_an_endpoint() {
    suffer_all(Site::consul().await, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_kubernetes_loses_an_endpoint() {
    suffer_all(Site::kubernetes().await, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_another_control_plane_loses_an_endpoint() {
    suffer_all(Site::mcp().await, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_machines_that_register_themselves_loses_an_endpoint() {
    suffer_all(Site::memory(), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_files_loses_an_endpoint() {
    suffer_all(Site::file(), 0).await;
}
