//! What clients need of registries that load no more than that.
//!
//! ```text
//!  subscription ─▶ Wanted ─▶ Needs: how many want it, and until when it lingers ─▶ Interest ─▶ adapters
//!  snapshot ─▶ Unloaded ─▶ which clients have to wait
//! ```
//!
//! Invariants:
//! - What the last client no longer wants is needed for [`LINGER`] longer, so that
//!   nothing is unloaded while proxies restart.
//! - Of what only lingers no more than [`MOST_IDLE`] are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mainstem_aggregate::RegistrySettings;
use mainstem_model::{Hostname, MeshSettings, NamespaceName, Proxy, Unloaded};
use mainstem_registry::{Interest, Updates};
use mainstem_translate::Kind;
use mainstem_xds::Subscription;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::federated::Federated;

/// How long something is needed after the last client that wanted it.
const LINGER: Duration = Duration::from_secs(600);

/// How long clients wait for what is needed to be loaded: as long as readiness waits for
/// a registry that says nothing else.
pub(super) const PATIENCE: Duration = RegistrySettings::DEADLINE;

/// How many things linger at most; the oldest go first.
const MOST_IDLE: usize = 10_000;

/// Who asks for more names than these is taken for one that asks for all it sees, so
/// that a request costs no more than that.
const MOST_NAMES: usize = 1_000;

/// One thing that a client wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// Whatever there is.
    Everything,
    /// All that is seen from a namespace.
    SeenFrom(NamespaceName),
    /// The services of a host name.
    Host(Hostname),
}

impl Wanted {
    /// What a client comes to that asks for all it sees.
    pub(super) fn by(proxy: &Proxy) -> Self {
        match proxy.is_importer() {
            true => Self::Everything,
            false => Self::SeenFrom(proxy.namespace.clone()),
        }
    }

    /// What a client's subscription to resources of a kind comes to, each once.
    pub(super) fn of(kind: Kind, subscription: &Subscription, proxy: &Proxy) -> Vec<Self> {
        let broad = subscription.wildcard() || subscription.len() > MOST_NAMES;
        match kind {
            Kind::Config => Vec::new(),
            _ if broad => vec![Self::by(proxy)],
            _ => {
                let hosts: BTreeSet<_> =
                    subscription.iter().filter_map(|name| host_of(name)).collect();
                hosts.into_iter().map(Self::Host).collect()
            }
        }
    }

    /// Whether it is more than single services.
    pub(super) fn is_broad(&self) -> bool {
        !matches!(self, Self::Host(_))
    }
}

/// The host name within a resource's name: `outbound|80||HOST`, `HOST:80`, `NS/HOST`, or
/// an `xdstp:` name of one of these.
pub(super) fn host_of(name: &str) -> Option<Hostname> {
    let federated = Federated::parse(name);
    let name = federated.as_ref().map_or(name, |federated| &federated.plain);
    let last = name.rsplit(['|', '/']).next().unwrap_or_default();
    let host = match last.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => last,
    };
    let is_number = host.bytes().all(|byte| byte.is_ascii_digit());
    (!is_number).then(|| Hostname::from(host))
}

/// How one thing is needed.
#[derive(Clone, Copy, Debug)]
struct Need {
    since: Instant,
    /// How many clients want it.
    uses: usize,
    /// Until when it lingers, if nobody does.
    end: Option<Instant>,
}

/// Who wants what, over all clients.
#[derive(Debug, Default)]
struct Needs {
    needed: BTreeMap<Wanted, Need>,
    /// What lingers, by its end.
    by_end: BTreeSet<(Instant, Wanted)>,
    interest: Interest,
}

impl Needs {
    /// Somebody wants it; whether it was not needed before.
    fn add(&mut self, wanted: &Wanted, now: Instant) -> bool {
        let Some(need) = self.needed.get_mut(wanted) else {
            self.needed.insert(wanted.clone(), Need { since: now, uses: 1, end: None });
            self.set(wanted, true);
            return true;
        };
        need.uses += 1;
        if let Some(end) = need.end.take() {
            self.by_end.remove(&(end, wanted.clone()));
        }
        false
    }

    /// Somebody wants it no longer.
    fn leave(&mut self, wanted: &Wanted, now: Instant) {
        let Some(need) = self.needed.get_mut(wanted) else { return };
        need.uses -= 1;
        if need.uses == 0 {
            need.end = Some(now + LINGER);
            self.by_end.insert((now + LINGER, wanted.clone()));
        }
    }

    /// Ends what has lingered long enough; whether there was any.
    fn expire(&mut self, now: Instant) -> bool {
        let mut changed = false;
        while let Some((end, _)) = self.by_end.first()
            && (*end <= now || self.by_end.len() > MOST_IDLE)
            && let Some((_, wanted)) = self.by_end.pop_first()
        {
            self.needed.remove(&wanted);
            self.set(&wanted, false);
            changed = true;
        }
        changed
    }

    fn set(&mut self, wanted: &Wanted, needed: bool) {
        let interest = &mut self.interest;
        match (wanted, needed) {
            (Wanted::Everything, _) => interest.everything = needed,
            (Wanted::SeenFrom(namespace), true) => {
                Arc::make_mut(&mut interest.namespaces).insert(namespace.clone());
            }
            (Wanted::SeenFrom(namespace), false) => {
                Arc::make_mut(&mut interest.namespaces).remove(namespace);
            }
            (Wanted::Host(host), true) => drop(interest.hosts.insert(host.clone(), ())),
            (Wanted::Host(host), false) => drop(interest.hosts.remove(host)),
        }
    }
}

/// What is needed, and what is not loaded.
#[derive(Default)]
pub(super) struct Demand {
    needs: Mutex<Needs>,
    updates: OnceLock<Updates>,
    /// As of the snapshot that is told.
    missing: RwLock<Arc<Missing>>,
}

/// What is not loaded, at one moment.
#[derive(Debug, Default)]
pub(super) struct Missing {
    unloaded: Unloaded,
    mesh: Arc<MeshSettings>,
}

impl Missing {
    /// Whether a part of the host's services is not loaded.
    pub(super) fn has(&self, host: &Hostname) -> bool {
        self.unloaded.named(host).next().is_some()
    }

    /// Whether everything is loaded.
    pub(super) fn is_empty(&self) -> bool {
        self.unloaded.is_empty()
    }

    /// Whether a client that asks for all it sees does not have all of it.
    pub(super) fn concerns(&self, proxy: &Proxy) -> bool {
        if self.is_empty() || proxy.is_grpc() {
            return false;
        }
        let exported_to = &self.mesh.default_service_export_to;
        proxy.is_importer() || self.unloaded.may_be_seen_from(&proxy.namespace, exported_to)
    }

    pub(super) fn version(&self) -> u64 {
        self.unloaded.version()
    }
}

impl Demand {
    /// Adapters are told from now on.
    pub(super) fn tell(&self, updates: Updates) {
        let needs = self.needs.lock();
        updates.need(needs.interest.clone());
        let _ = self.updates.set(updates);
    }

    /// A client wants this instead of that.
    pub(super) fn change(&self, before: &[Wanted], after: &[Wanted]) {
        let now = Instant::now();
        let mut needs = self.needs.lock();
        let mut changed = false;
        // Added first: what stays does not linger.
        after.iter().for_each(|wanted| changed |= needs.add(wanted, now));
        before.iter().for_each(|wanted| needs.leave(wanted, now));
        changed |= needs.expire(now);
        self.publish(&needs, changed);
    }

    /// Whether it has been needed for so long that nobody waits for it any more.
    pub(super) fn is_overdue(&self, wanted: &Wanted) -> bool {
        let needs = self.needs.lock();
        needs.needed.get(wanted).is_some_and(|need| need.since.elapsed() >= PATIENCE)
    }

    /// Ends what nobody has wanted for long.
    pub(super) fn expire(&self) {
        let mut needs = self.needs.lock();
        let changed = needs.expire(Instant::now());
        self.publish(&needs, changed);
    }

    /// The clients are told of a snapshot; whether other services are unloaded in it.
    pub(super) fn follow(&self, unloaded: &Unloaded, mesh: &Arc<MeshSettings>) -> bool {
        let mut needs = self.needs.lock();
        let exported_to = &mesh.default_service_export_to;
        if *needs.interest.exported_to != *exported_to {
            needs.interest.exported_to = Arc::new(exported_to.clone());
            self.publish(&needs, true);
        }
        let mut missing = self.missing.write();
        let changed = missing.version() != unloaded.version();
        *missing = Arc::new(Missing { unloaded: unloaded.clone(), mesh: mesh.clone() });
        changed
    }

    /// What is not loaded now.
    pub(super) fn missing(&self) -> Arc<Missing> {
        self.missing.read().clone()
    }

    /// The number of that state.
    pub(super) fn version(&self) -> u64 {
        self.missing.read().version()
    }

    fn publish(&self, needs: &Needs, changed: bool) {
        if let Some(updates) = self.updates.get().filter(|_| changed) {
            updates.need(needs.interest.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Locality, ServiceKey};
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use serde_json::json;

    fn host(name: &str) -> Wanted {
        Wanted::Host(name.into())
    }

    #[test]
    fn a_subscription_wants_its_hosts_or_all_that_is_seen() {
        let id = "sidecar~10.9.9.9~web.shop~shop.svc.cluster.local";
        let proxy = Proxy::parse(id, json!({}), Locality::default(), &"home".into()).unwrap();
        let wanted = |wildcard, names: usize| {
            let names = (0..names).map(|n| format!("outbound|{}||{}.com", n % 2, n / 2).into());
            let subscription = Subscription::new(wildcard, names.collect());
            Wanted::of(Kind::LoadAssignment, &subscription, &proxy)
        };
        assert_eq!(wanted(false, 3), [host("0.com"), host("1.com")]);
        let seen = [Wanted::SeenFrom("shop".into())];
        assert_eq!(
            (&wanted(true, 3)[..], &wanted(false, MOST_NAMES + 1)[..]),
            (&seen[..], &seen[..])
        );
    }

    fn needed(needs: &Needs, name: &str) -> bool {
        needs.interest.needs(&ServiceKey::new(name, "shop"))
    }

    #[rstest]
    #[case("outbound|80||a.com", Some("a.com"))]
    #[case("a.com:80", Some("a.com"))]
    #[case("80/a.com:80", Some("a.com"))]
    #[case("xdstp://auth/type/a.com:80?x=y", Some("a.com"))]
    #[case("xdstp://auth/type/outbound%7C80%7C%7Ca.com", Some("a.com"))]
    #[case("a.com", Some("a.com"))]
    #[case("80", None)]
    #[case("", None)]
    fn a_resource_names_a_host(#[case] name: &str, #[case] expected: Option<&str>) {
        assert_eq!(host_of(name), expected.map(Hostname::from));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_last_client_wanted_is_needed_for_a_while_longer() {
        let (mut needs, now) = (Needs::default(), Instant::now());
        assert!(needs.add(&host("a.com"), now));
        assert!(!needs.add(&host("a.com"), now), "known");
        needs.leave(&host("a.com"), now);
        needs.leave(&host("a.com"), now);
        assert!(!needs.expire(now) && needed(&needs, "a.com"));

        assert!(!needs.add(&host("a.com"), now), "it has lingered");
        assert!(!needs.expire(now + LINGER * 2) && needed(&needs, "a.com"));

        needs.leave(&host("a.com"), now);
        assert!(needs.expire(now + LINGER) && !needed(&needs, "a.com"));
        assert!(needs.needed.is_empty() && needs.by_end.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_come_and_go_take_no_room_without_bound() {
        let (mut needs, now) = (Needs::default(), Instant::now());
        for n in 0..2 * MOST_IDLE {
            let wanted = host(&format!("{n}.com"));
            needs.add(&wanted, now);
            needs.leave(&wanted, now + Duration::from_nanos(n as u64));
            needs.expire(now);
        }
        assert_eq!((needs.needed.len(), needs.interest.hosts.len()), (MOST_IDLE, MOST_IDLE));
        assert!(!needed(&needs, "0.com") && needed(&needs, &format!("{}.com", 2 * MOST_IDLE - 1)));
    }
}
