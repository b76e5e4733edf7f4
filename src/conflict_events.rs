//! Conflicts as Kubernetes Events.
//!
//! ```text
//! snapshot ─ conflicts ─ new ones ─ Lease? ─▶ Event about the Service, in its namespace
//! ```
//!
//! An Event is written when a conflict begins, and again each half an hour that it
//! lasts, since Events are forgotten after an hour. Of several replicas the one that holds
//! the Lease writes. At most [`AT_ONCE`] are written in a turn; the rest waits for the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstem_aggregate::Published;
use mainstem_kubernetes::KubernetesConfig;
use mainstem_kubernetes::events::{Events, Warning};
use mainstem_kubernetes::lease::{Leasehold, RENEWED};
use mainstem_model::Conflict;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::admin::Current;
use crate::config::Config;
use crate::configuration::with_each;

/// How many Events are written in a turn of [`RENEWED`].
const AT_ONCE: usize = 20;

/// After how long an Event is written again.
const AGAIN: Duration = Duration::from_secs(1800);

/// The Lease, in the mesh's root namespace.
const LEASE: &str = "mainstem-conflicts";

/// Reports conflicts where the configuration says so, until the shutdown.
///
/// # Errors
/// Never; the signature is that of a core task.
pub async fn report(
    published: Published,
    current: watch::Receiver<Current>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    with_each(current, shutdown, server, |config| with(published.clone(), config)).await;
    Ok(())
}

fn server(config: &Config) -> Option<KubernetesConfig> {
    config.api_server(config.conflict_events.registry.as_ref()?)
}

/// Reports to one API server, for ever.
async fn with(published: Published, config: Arc<Config>) {
    let Some(server) = server(&config) else { return std::future::pending().await };
    let instance = format!("{:032x}", rand::random::<u128>());
    let root = config.mesh.root_namespace.as_str();
    let lease = Leasehold::new(server.clone(), root, LEASE, &instance);
    let events = Events::new(server, &instance);
    let mut reported = BTreeMap::new();
    let mut ticks = tokio::time::interval(RENEWED);
    loop {
        ticks.tick().await;
        // What a registry says that others have yet to contradict is no news.
        if !published.readiness.is_ready() {
            continue;
        }
        match lease.hold().await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                warn!("no conflict is reported: {:#}", anyhow::Error::from(error));
                continue;
            }
        }
        let warnings = warnings(&published.snapshots.load().conflicts());
        for warning in due(&mut reported, warnings, Instant::now()) {
            if let Err(error) = events.warn(&warning).await {
                warn!("{:#}", anyhow::Error::from(error));
            }
        }
    }
}

/// The warnings that are to be written now, of all that hold.
fn due(
    reported: &mut BTreeMap<Warning, Instant>,
    mut warnings: Vec<Warning>,
    now: Instant,
) -> Vec<Warning> {
    warnings.sort();
    reported.retain(|warning, _| warnings.binary_search(warning).is_ok());
    let old = |warning: &Warning| reported.get(warning).is_none_or(|at| *at + AGAIN <= now);
    warnings.retain(old);
    warnings.truncate(AT_ONCE);
    reported.extend(warnings.iter().map(|warning| (warning.clone(), now)));
    warnings
}

fn warnings(conflicts: &[Conflict]) -> Vec<Warning> {
    conflicts.iter().map(warning).collect()
}

fn warning(conflict: &Conflict) -> Warning {
    let Conflict { hostname, namespace, kind, winner, loser, detail } = conflict;
    let winner = winner.as_ref().map(|winner| format!("{winner} against "));
    let service = hostname.as_str().split('.').find(|label| *label != "*").unwrap_or_default();
    Warning {
        namespace: namespace.to_string(),
        service: service.to_owned(),
        reason: format!("{kind:?}Conflict"),
        note: format!("{hostname}: {}{loser}: {detail}", winner.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::ConflictKind;
    use pretty_assertions::assert_eq;

    fn conflict(host: &str) -> Conflict {
        Conflict {
            hostname: host.into(),
            namespace: "shop".into(),
            kind: ConflictKind::PortName,
            winner: Some("kubernetes/eu".into()),
            loser: "consul/dc1".into(),
            detail: "port 80: http against web".to_owned(),
        }
    }

    #[test]
    fn a_conflict_is_told_of_the_service_in_its_namespace() {
        let expected = Warning {
            namespace: "shop".to_owned(),
            service: "orders".to_owned(),
            reason: "PortNameConflict".to_owned(),
            note: "orders.shop.svc.cluster.local: kubernetes/eu against consul/dc1: port 80: http \
                   against web"
                .to_owned(),
        };
        assert_eq!(warning(&conflict("orders.shop.svc.cluster.local")), expected);
    }

    #[test]
    fn a_warning_is_written_when_it_begins_and_again_after_half_an_hour() {
        let (mut reported, start) = (BTreeMap::new(), Instant::now());
        let both = || warnings(&[conflict("a.b"), conflict("c.d")]);
        assert_eq!(due(&mut reported, both(), start).len(), 2);
        assert_eq!(due(&mut reported, both(), start + AGAIN / 2), []);
        assert_eq!(due(&mut reported, both(), start + AGAIN).len(), 2);
        // One that ended and begins again is new.
        assert_eq!(due(&mut reported, warnings(&[conflict("a.b")]), start + AGAIN), []);
        let [again] = &due(&mut reported, both(), start + AGAIN)[..] else { panic!("one is new") };
        assert_eq!(again.service, "c");
    }

    #[test]
    fn what_is_too_much_for_one_turn_waits_for_the_next() {
        let (mut reported, start) = (BTreeMap::new(), Instant::now());
        let many: Vec<_> = (0..AT_ONCE + 5).map(|n| conflict(&format!("s{n}.b"))).collect();
        assert_eq!(due(&mut reported, warnings(&many), start).len(), AT_ONCE);
        assert_eq!(due(&mut reported, warnings(&many), start).len(), 5);
    }
}
