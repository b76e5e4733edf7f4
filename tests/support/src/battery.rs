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
//! ```ignore
//! mainstem_test_support::adapter_battery!(ConsulFixture::start().await);
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mainstem_model::{
    Condition, Health, Key, ObjectRef, RegistryId, Rejected, Service, ServiceKey, Value,
};
use mainstem_registry::{Adapter, Batch, UpdateReceiver, channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::TIMEOUT;

/// How soon a cancelled adapter must be gone.
const PROMPTLY: Duration = Duration::from_secs(2);

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

    fn serving(&self) -> Vec<(IpAddr, u16)> {
        let mut all: Vec<_> =
            self.ready.iter().map(|ip| (IpAddr::from(*ip), self.target)).collect();
        all.sort();
        all
    }
}

/// What the adapter has said, applied as the aggregate applies it.
#[derive(Clone, Debug)]
pub struct View {
    /// Every value.
    pub values: BTreeMap<Key, Value>,
    /// Every object that could not be understood.
    pub rejected: BTreeMap<ObjectRef, Rejected>,
    /// The registry's condition.
    pub condition: Condition,
}

impl Default for View {
    fn default() -> Self {
        Self { values: BTreeMap::new(), rejected: BTreeMap::new(), condition: Condition::Syncing }
    }
}

impl View {
    /// Applies what was said since the last read.
    pub fn apply(&mut self, batch: Batch) {
        if batch.removed {
            *self = Self::default();
        }
        if let Some((values, rejected)) = batch.replace {
            let held = std::mem::replace(&mut self.values, values);
            let spared = held
                .into_iter()
                .filter(|(_, value)| value.objects().iter().any(|o| rejected.contains_key(*o)));
            for (key, value) in spared {
                self.values.entry(key).or_insert(value);
            }
            self.rejected = rejected;
        }
        merge(&mut self.values, batch.values);
        merge(&mut self.rejected, batch.rejected);
        self.condition = batch.condition.unwrap_or(self.condition.clone());
    }

    /// The service of this key.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        match self.values.get(&Key::Service(key.clone())) {
            Some(Value::Service(service)) => Some(service),
            _ => None,
        }
    }

    /// Address and target port of the service's healthy endpoints, in order.
    pub fn serving(&self, key: &ServiceKey) -> Vec<(IpAddr, u16)> {
        let Some(Value::Endpoints(set)) = self.values.get(&Key::Endpoints(key.clone())) else {
            return Vec::new();
        };
        let healthy = set.endpoints().iter().filter(|e| e.health == Health::Healthy);
        let mut all: Vec<_> =
            healthy.filter_map(|e| Some((e.address.ip()?, e.target_port))).collect();
        all.sort();
        all
    }

    /// Whether the service stands here as it was put.
    pub fn shows(&self, key: &ServiceKey, service: &TestService) -> Result<(), String> {
        let ports: Vec<u16> =
            self.service(key).iter().flat_map(|s| &s.ports).map(|port| port.number).collect();
        let is = (ports, self.serving(key));
        let expected = (vec![service.port], service.serving());
        if is == expected { Ok(()) } else { Err(format!("{key} is {is:?}, not {expected:?}")) }
    }

    /// Whether nothing of the service is left.
    pub fn lacks(&self, key: &ServiceKey) -> Result<(), String> {
        let (service, serving) = (self.service(key), self.serving(key));
        if service.is_none() && serving.is_empty() {
            return Ok(());
        }
        Err(format!("{key} is still there: {service:?}, {serving:?}"))
    }

    /// Whether the registry is complete and followed.
    pub fn live(&self) -> Result<(), String> {
        self.check(self.condition == Condition::Live, "is not live")
    }

    /// Whether the registry is said to have failed.
    pub fn failed(&self) -> Result<(), String> {
        self.check(matches!(self.condition, Condition::Failed(_)), "has not failed")
    }

    /// Whether the object is rejected, with a reason.
    pub fn rejects(&self, object: &ObjectRef) -> Result<(), String> {
        let reason = self.rejected.get(object).map(|rejected| &rejected.reason);
        self.check(reason.is_some_and(|reason| !reason.is_empty()), &format!("accepts {object}"))
    }

    /// Whether the object is not rejected.
    pub fn accepts(&self, object: &ObjectRef) -> Result<(), String> {
        self.check(!self.rejected.contains_key(object), &format!("rejects {object}"))
    }

    fn check(&self, fact: bool, otherwise: &str) -> Result<(), String> {
        if fact {
            return Ok(());
        }
        let rejected: Vec<_> = self.rejected.values().collect();
        Err(format!("the registry {otherwise}: {:?}, rejected {rejected:?}", self.condition))
    }
}

fn merge<K: Ord, V>(all: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, change) in changes {
        match change {
            Some(value) => drop(all.insert(key, value)),
            None => drop(all.remove(&key)),
        }
    }
}

/// A running adapter and what it has said so far.
#[derive(Debug)]
pub struct Watch {
    /// What it has said.
    pub view: View,
    receiver: UpdateReceiver,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Starts an adapter on a channel of its own.
    pub fn start(registry: RegistryId, adapter: Box<dyn Adapter>) -> Self {
        let (updates, receiver) = channel();
        let task = tokio::spawn(adapter.run(updates.sender(registry)));
        Self { view: View::default(), receiver, task }
    }

    /// Reads on until `check` holds.
    ///
    /// # Panics
    ///
    /// If it does not within [`TIMEOUT`], or if the adapter ends.
    pub async fn until(&mut self, what: &str, check: impl Fn(&View) -> Result<(), String>) {
        self.until_while(what, check, |_| Ok(())).await;
    }

    /// Reads on until `check` holds; `always` must hold at every moment until then.
    ///
    /// # Panics
    ///
    /// If `check` does not hold within [`TIMEOUT`], `always` once does not, or
    /// the adapter ends.
    pub async fn until_while(
        &mut self,
        what: &str,
        check: impl Fn(&View) -> Result<(), String>,
        always: impl Fn(&View) -> Result<(), String>,
    ) {
        let end = Instant::now() + TIMEOUT;
        loop {
            if let Err(broken) = always(&self.view) {
                panic!("{what}: meanwhile {broken}");
            }
            let Err(missing) = check(&self.view) else { return };
            tokio::select! {
                batches = timeout_at(end, self.receiver.recv()) => match batches {
                    Ok(batches) => batches.into_iter().for_each(|(_, b)| self.view.apply(b)),
                    Err(_) => panic!("{what}: not within {TIMEOUT:?}: {missing}"),
                },
                ended = &mut self.task => panic!("{what}: the adapter ended: {ended:?}"),
            }
        }
    }

    /// Cancels the adapter and waits until it is gone; what it said until then
    /// is read.
    ///
    /// # Panics
    ///
    /// If it is not gone promptly.
    pub async fn cancel(&mut self) {
        self.task.abort();
        let ended = timeout(PROMPTLY, &mut self.task).await;
        let ended = ended.unwrap_or_else(|_| panic!("the adapter goes on {PROMPTLY:?} later"));
        assert!(ended.is_err_and(|error| error.is_cancelled()), "the adapter ended by itself");
        self.read();
    }

    /// Reads what waits; whether there was anything.
    pub fn read(&mut self) -> bool {
        let batches = self.receiver.try_recv();
        let any = !batches.is_empty();
        batches.into_iter().for_each(|(_, batch)| self.view.apply(batch));
        any
    }
}

/// A registry with two services and an adapter that has seen them.
struct Stage<F> {
    fixture: F,
    watch: Watch,
    alpha: TestService,
    beta: TestService,
}

impl<F: Fixture> Stage<F> {
    async fn set(mut fixture: F) -> Self {
        let alpha = TestService::new("alpha", &[[10, 9, 0, 1], [10, 9, 0, 2]]);
        let beta = TestService::new("beta", &[[10, 9, 1, 1]]);
        fixture.put(&alpha).await;
        fixture.put(&beta).await;
        let watch = watch(&fixture);
        let mut stage = Self { fixture, watch, alpha, beta };
        let (a, b) = (stage.key("alpha"), stage.key("beta"));
        let (alpha, beta) = (stage.alpha.clone(), stage.beta.clone());
        let complete = |view: &View| {
            view.live()?;
            view.shows(&a, &alpha)?;
            view.shows(&b, &beta)
        };
        stage.watch.until("the first sync", complete).await;
        stage
    }

    fn key(&self, name: &str) -> ServiceKey {
        self.fixture.key(name)
    }

    /// Puts the service and waits until it has arrived.
    async fn put(&mut self, what: &str, service: &TestService) {
        self.fixture.put(service).await;
        self.arrives(what, service).await;
    }

    async fn arrives(&mut self, what: &str, service: &TestService) {
        let key = self.key(&service.name);
        self.watch.until(what, |view| view.shows(&key, service)).await;
    }

    /// Reads until `check` holds, while alpha stays as it is.
    async fn keeping_alpha(&mut self, what: &str, check: impl Fn(&View) -> Result<(), String>) {
        let key = self.key("alpha");
        let alpha = &self.alpha;
        self.watch.until_while(what, check, |view| view.shows(&key, alpha)).await;
    }
}

fn watch<F: Fixture>(fixture: &F) -> Watch {
    Watch::start(fixture.registry(), fixture.adapter())
}

/// The first sync brings everything that is there, at once and as live: never a
/// live registry with a part of it.
pub async fn first_sync<F: Fixture>(mut fixture: F) {
    let alpha = TestService::new("alpha", &[[10, 9, 0, 1], [10, 9, 0, 2]]);
    let beta = TestService::new("beta", &[[10, 9, 1, 1]]);
    fixture.put(&alpha).await;
    fixture.put(&beta).await;
    let (a, b) = (fixture.key("alpha"), fixture.key("beta"));

    let mut watch = watch(&fixture);

    let whole = |view: &View| view.shows(&a, &alpha).and(view.shows(&b, &beta));
    let never_in_part = |view: &View| match view.live() {
        Ok(()) => whole(view),
        Err(_) => Ok(()),
    };
    watch.until_while("the first sync", |view| view.live(), never_in_part).await;
    assert!(
        watch.view.service(&a).is_some_and(|s| s.origins[0].origin.registry == fixture.registry())
    );
}

/// A service that is added arrives, and its neighbours stay.
pub async fn add<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let gamma = TestService::new("gamma", &[[10, 9, 2, 1]]);
    let key = stage.key("gamma");

    stage.fixture.put(&gamma).await;

    stage.keeping_alpha("the added service", |view| view.shows(&key, &gamma)).await;
}

/// Endpoints that are added, removed and change health arrive, and so does a
/// changed port; the neighbours stay.
pub async fn update<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let mut beta = stage.beta.clone();

    beta.ready.push([10, 9, 1, 2].into());
    stage.put("an endpoint more", &beta).await;

    beta.unready = vec![beta.ready.remove(0)];
    stage.put("an endpoint that turned unhealthy", &beta).await;

    beta.ready.append(&mut beta.unready);
    stage.put("an endpoint that recovered", &beta).await;

    beta.ready.remove(0);
    stage.put("an endpoint less", &beta).await;

    beta.port = 81;
    beta.target = 8081;
    stage.put("another port", &beta).await;

    let alpha = stage.alpha.clone();
    stage.arrives("the neighbour, untouched", &alpha).await;
}

/// A service that is deleted goes, and its neighbours stay.
pub async fn delete<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let key = stage.key("beta");

    stage.fixture.remove("beta").await;

    stage.keeping_alpha("the deleted service is gone", |view| view.lacks(&key)).await;
}

/// After a gap in which changes were missed, a complete list brings all of them,
/// removals included; what did not change never goes.
pub async fn relist_after_a_gap<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let removed = TestService::new("gamma", &[[10, 9, 2, 1]]);
    stage.put("a service to be removed", &removed).await;
    let added = TestService::new("delta", &[[10, 9, 3, 1]]);
    let changed = TestService::new("beta", &[[10, 9, 1, 7]]);

    stage.fixture.begin_gap().await;
    stage.fixture.put(&added).await;
    stage.fixture.put(&changed).await;
    stage.fixture.remove("gamma").await;
    stage.fixture.end_gap().await;

    let (b, c, d) = (stage.key("beta"), stage.key("gamma"), stage.key("delta"));
    let caught_up = |view: &View| {
        view.live()?;
        view.shows(&b, &changed)?;
        view.shows(&d, &added)?;
        view.lacks(&c)
    };
    stage.keeping_alpha("what happened in the gap", caught_up).await;
}

/// A malformed object rejects itself and nobody else: its last good version
/// stays, its neighbours go on changing, it is named, and comes back when it is
/// good again.
pub async fn malformed_item_among_good_ones<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let object = stage.fixture.malformed("alpha");

    stage.fixture.malform("alpha").await;
    stage.keeping_alpha("the rejection", |view| view.rejects(&object)).await;

    let (beta, b) = (TestService::new("beta", &[[10, 9, 1, 8]]), stage.key("beta"));
    stage.fixture.put(&beta).await;
    stage.keeping_alpha("the neighbour's change", |view| view.shows(&b, &beta)).await;
    stage.watch.view.live().expect("one bad object is no failure of the registry");

    let alpha = TestService::new("alpha", &[[10, 9, 0, 9]]);
    stage.put("the object that is good again", &alpha).await;
    stage.watch.until("the rejection's end", |view| view.accepts(&object)).await;
}

/// An object that is malformed from the start is named, and the others sync.
pub async fn malformed_item_at_the_first_sync<F: Fixture>(mut fixture: F) {
    let alpha = TestService::new("alpha", &[[10, 9, 0, 1]]);
    let beta = TestService::new("beta", &[[10, 9, 1, 1]]);
    fixture.put(&alpha).await;
    fixture.put(&beta).await;
    fixture.malform("alpha").await;
    let (a, b) = (fixture.key("alpha"), fixture.key("beta"));
    let object = fixture.malformed("alpha");

    let mut watch = watch(&fixture);
    let synced = |view: &View| {
        view.live()?;
        view.rejects(&object)?;
        view.shows(&b, &beta)
    };
    watch.until("the first sync of the others", synced).await;

    fixture.put(&alpha).await;
    let mended = |view: &View| view.accepts(&object).and(view.shows(&a, &alpha));
    watch.until("the object that is good now", mended).await;
}

/// A lost connection is a failed condition that changes no value; when it is
/// back, the registry is live and what happened meanwhile arrives.
pub async fn lost_connection<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let b = stage.key("beta");

    stage.fixture.cut().await;
    let beta = stage.beta.clone();
    let (a, alpha) = (stage.key("alpha"), stage.alpha.clone());
    let all_stay = |view: &View| view.shows(&a, &alpha).and(view.shows(&b, &beta));
    stage.watch.until_while("the loss of the registry", View::failed, all_stay).await;

    let meanwhile = TestService::new("beta", &[[10, 9, 1, 4]]);
    stage.fixture.put(&meanwhile).await;
    stage.fixture.restore().await;
    let back = |view: &View| view.live().and(view.shows(&b, &meanwhile));
    stage.keeping_alpha("the registry's return", back).await;

    let after = TestService::new("beta", &[[10, 9, 1, 5]]);
    stage.put("a change after the return", &after).await;
}

/// A slow answer removes nothing, and what it says arrives.
pub async fn slow_answer<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let beta = TestService::new("beta", &[[10, 9, 1, 6]]);
    let b = stage.key("beta");

    stage.fixture.slow(Duration::from_secs(1)).await;
    stage.fixture.put(&beta).await;

    stage.keeping_alpha("what the slow answer says", |view| view.shows(&b, &beta)).await;
    stage.fixture.restore().await;
    stage.watch.until("the registry is live", View::live).await;
}

/// An adapter that is cancelled in the middle of a request ends promptly and
/// says nothing afterwards.
pub async fn shutdown_in_the_middle_of_a_request<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let (b, beta) = (stage.key("beta"), TestService::new("beta", &[[10, 9, 1, 3]]));

    stage.fixture.hang().await;
    stage.fixture.hanging().await;
    stage.watch.cancel().await;

    stage.fixture.restore().await;
    stage.fixture.put(&beta).await;
    // The successor's sight of the change proves that there was something to say.
    let mut successor = watch(&stage.fixture);
    successor.until("the successor's sync", |view| view.shows(&b, &beta)).await;
    assert!(!stage.watch.read(), "the cancelled adapter still speaks: {:?}", stage.watch.view);
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
