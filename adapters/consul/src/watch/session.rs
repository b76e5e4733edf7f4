//! One run of queries with one client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mainstem_model::RegistryUpdate;
use mainstem_registry::UpdateSender;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::allowance::Allowance;
use super::checks::{Concern, TroubledChecks};
use super::errands::{Done, Errands, Outcome, Purpose};
use super::exports::exports;
use super::feeds::{ChecksFeed, Line, NodesFeed, RegistrationsFeed, ServiceFeed};
use super::follow::follow;
use super::list::list;
use super::listing::Listing;
use super::needed::Needed;
use super::probe::probe;
use super::roster::{Roster, Swap};
use super::sweep::Sweep;
use crate::api::{Answer, Api, ApiError, Check, RawInstance, ServiceList};
use crate::catalog::{Catalog, Query};
use crate::config::ConsulConfig;
use crate::credentials::Credentials;
use crate::index::CatalogIndex;

/// Queries beside those of services: the list, checks, nodes, and the probe.
const OWN_QUERIES: usize = 4;

/// Why a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody answers any more.
    Lost(ApiError),
    /// Token or certificates changed.
    Renewed,
    /// The servers' state was replaced by an earlier one.
    WentBack,
}

/// What a query reports.
#[derive(Debug)]
pub(super) enum Event {
    /// The probe was answered.
    Present,
    /// It was not, or wrongly.
    Absent(ApiError),
    /// Token or certificates changed.
    Renewed,
    /// The servers' state was replaced by an earlier one. The agent's own views,
    /// which answer hot services, tell only when their wait is over.
    WentBack,
    /// Some registration changed, by the index of the service list.
    Registered(Result<CatalogIndex, ApiError>),
    /// The service list.
    List(Result<Answer<ServiceList>, ApiError>),
    /// What the peer exports, when that changed.
    Exports(Result<BTreeSet<String>, ApiError>),
    /// A hot service's instances.
    Service(Arc<str>, Result<Answer<Vec<RawInstance>>, ApiError>),
    /// The checks that do not pass.
    Checks(Result<Answer<Vec<Check>>, ApiError>),
    /// Some node changed.
    Nodes(Result<Answer<()>, ApiError>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session<'a> {
    config: &'a Arc<ConsulConfig>,
    catalog: &'a mut Catalog,
    updates: &'a UpdateSender,
    roster: Roster,
    errands: Errands,
    sweep: Sweep,
    swaps: Allowance,
    checks: TroubledChecks,
    detectors: Detectors,
    listing: Listing,
    /// What anybody needs, where no more is loaded.
    demand: Option<Needed>,
    list_hash: Option<u64>,
    tasks: JoinSet<()>,
    watchers: BTreeMap<Arc<str>, AbortHandle>,
    line: Line,
    events: mpsc::Receiver<Event>,
}

/// The queries that tell of changes to cold services, and whether each has told
/// where it starts: only then is a cold service fetched, so that no change can
/// fall between.
#[derive(Debug, Default)]
struct Detectors {
    started: bool,
    checks: bool,
    nodes: bool,
}

impl Detectors {
    /// For a peer's services, of which neither checks nor nodes are listed: sweeps alone
    /// find what changed.
    const NONE: Self = Self { started: true, checks: true, nodes: true };

    fn ready(&self) -> bool {
        self.checks && self.nodes
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(
        config: &'a Arc<ConsulConfig>,
        api: Api,
        credentials: Credentials,
        catalog: &'a mut Catalog,
        updates: &'a UpdateSender,
    ) -> Self {
        let queries = config.queries(api.multiplexes());
        let errands = config.errands(api.multiplexes());
        let (sender, events) = mpsc::channel(256);
        let line = Line { api: Arc::new(api), events: sender, churn: updates.churn().clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(probe(config.clone(), line.clone(), credentials));
        match &config.peer {
            Some(_) => tasks.spawn(exports(config.clone(), line.clone())),
            None => {
                let wait = config.wait.duration();
                tasks.spawn(follow(RegistrationsFeed(line.clone()), CatalogIndex::START, wait))
            }
        };
        Self {
            config,
            catalog,
            updates,
            roster: Roster::new(queries - OWN_QUERIES - errands),
            errands: Errands::new(line.api.clone(), errands),
            sweep: Sweep::new(Instant::now()),
            // An agent may keep the connection of an abandoned query until its
            // wait is over: swaps must not add up to its limit.
            swaps: Allowance::new(queries / 4, config.wait.duration(), Instant::now()),
            checks: TroubledChecks::default(),
            detectors: config.peer.as_ref().map_or_else(Detectors::default, |_| Detectors::NONE),
            listing: if config.on_demand { Listing::of_the_needed() } else { Listing::default() },
            demand: config.on_demand.then(|| Needed::new(updates.demand())),
            list_hash: None,
            tasks,
            watchers: BTreeMap::new(),
            line,
            events,
        }
    }

    pub(super) async fn run(mut self) -> End {
        // What no detector could tell is found within this time.
        let rotation = self.config.wait.duration().max(Duration::from_secs(1));
        let mut rotation = interval_at(Instant::now() + rotation, rotation);
        rotation.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (sweep, list) = (self.sweep.due(), self.listing.due());
            tokio::select! {
                Some(event) = self.events.recv() => {
                    if let Some(end) = self.on_event(event) {
                        return end;
                    }
                }
                done = self.errands.next(|name| self.roster.index(name)) => self.on_done(done),
                () = until(sweep) => self.start_sweep(),
                () = until(list) => self.start_list(),
                () = changed(&mut self.demand) => self.on_demand(),
                _ = rotation.tick() => self.look_at_everything(),
                Some(ended) = self.tasks.join_next() => propagate_panic(ended),
            }
        }
    }

    fn look_at_everything(&mut self) {
        self.want_sweep();
        if self.config.peer.is_none() {
            self.listing.want(Instant::now());
        }
    }

    fn on_event(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Renewed => return Some(End::Renewed),
            Event::WentBack => return Some(End::WentBack),
            Event::Absent(error) if error.is_silence() => return Some(End::Lost(error)),
            Event::Absent(error) => self.fail(Query::Probe, &error),
            Event::Present => self.recover(&Query::Probe),
            Event::Registered(Ok(index)) => self.on_registered(index),
            Event::Registered(Err(error)) => self.fail(Query::Registrations, &error),
            Event::List(Ok(answer)) => self.on_list(&answer),
            Event::Exports(Ok(names)) => self.on_names(names.iter().map(String::as_str)),
            Event::List(Err(error)) | Event::Exports(Err(error)) => self.fail(Query::List, &error),
            Event::Service(name, answer) => self.on_service(&name, answer),
            Event::Checks(Ok(answer)) => self.on_checks(answer.value),
            Event::Checks(Err(error)) => self.fail(Query::Checks, &error),
            Event::Nodes(Ok(_)) => self.on_nodes(),
            Event::Nodes(Err(error)) => self.fail(Query::Nodes, &error),
        }
        None
    }

    fn on_registered(&mut self, index: CatalogIndex) {
        self.recover(&Query::Registrations);
        self.listing.moved(index, Instant::now());
        self.want_sweep();
    }

    fn start_list(&mut self) {
        let index = self.listing.ask(Instant::now());
        self.tasks.spawn(list(self.line.clone(), index));
    }

    fn on_list(&mut self, answer: &Answer<ServiceList>) {
        self.listing.came();
        if self.list_hash.replace(answer.hash) == Some(answer.hash) {
            return self.recover(&Query::List);
        }
        self.on_names(answer.value.keys().map(String::as_str));
    }

    fn on_names<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        let (listed, updates) = match &mut self.demand {
            Some(demand) => demand.listed(self.catalog, names),
            None => self.catalog.listed(names, |_| true),
        };
        self.updates.send_all(updates);
        for name in self.roster.names().difference(&listed.follow) {
            self.unfollow(name);
        }
        for name in &listed.follow {
            if !self.roster.contains(name) {
                self.follow(name.clone());
            }
        }
        for name in listed.confirm {
            self.errands.add(name, Purpose::Confirm);
        }
    }

    fn on_demand(&mut self) {
        let Some(demand) = &mut self.demand else { return };
        let (turn, updates) = demand.turn(self.catalog);
        self.updates.send_all(updates);
        turn.leave.iter().for_each(|name| self.unfollow(name));
        turn.follow.into_iter().for_each(|name| self.follow(name));
    }

    fn follow(&mut self, name: Arc<str>) {
        if self.roster.insert(name.clone()) {
            return self.watch(name, CatalogIndex::START);
        }
        if self.detectors.ready() {
            self.errands.add(name, Purpose::Fetch);
        } else if !self.detectors.started {
            self.detectors.started = true;
            let (start, wait) = (CatalogIndex::START, self.config.wait.duration());
            self.tasks.spawn(follow(ChecksFeed(self.line.clone()), start, wait));
            self.tasks.spawn(follow(NodesFeed(self.line.clone()), start, wait));
        }
    }

    fn unfollow(&mut self, name: &Arc<str>) {
        if let Some(watcher) = self.watchers.remove(name) {
            watcher.abort();
        }
        if let Some(swap) = self.roster.remove(name) {
            self.swap(swap);
        }
    }

    fn watch(&mut self, name: Arc<str>, from: CatalogIndex) {
        let feed = ServiceFeed(self.line.clone(), name.clone());
        let wait = self.config.wait.duration();
        self.watchers.insert(name, self.tasks.spawn(follow(feed, from, wait)));
    }

    fn swap(&mut self, swap: Swap) {
        if let Some(watcher) = swap.demote.and_then(|name| self.watchers.remove(&name)) {
            watcher.abort();
        }
        let (name, from) = swap.promote;
        self.watch(name, from);
    }

    fn on_service(&mut self, name: &Arc<str>, answer: Result<Answer<Vec<RawInstance>>, ApiError>) {
        // Late words of a watcher that is no more.
        if !self.roster.contains(name) {
            return;
        }
        match answer {
            Ok(answer) => {
                self.touch(name);
                // The servers' own answer tells lost rights from a lost instance.
                if answer.by_agent && self.catalog.would_lose(name, &answer.value) {
                    self.errands.add(name.clone(), Purpose::Confirm);
                } else {
                    self.take(name, &answer);
                }
                // One without instances may be gone from the list.
                if !answer.value.is_empty() {
                    self.listing.answered(answer.index, Instant::now());
                }
            }
            Err(error) => self.fail_service(name, &error),
        }
    }

    fn on_done(&mut self, done: Done) {
        let Done { service: name, purpose, outcome } = done;
        if purpose == Purpose::Look {
            self.sweep.looked(Instant::now());
        }
        let followed = self.roster.contains(&name);
        match outcome {
            Outcome::Unchanged => {}
            // The list will say so, too, unless it is one of exports.
            Outcome::Gone if followed => self.say(|catalog| catalog.answered(&name, &[])),
            Outcome::Gone => self.say(|catalog| catalog.gone(&name)),
            Outcome::Instances(answer) => {
                let first = !self.roster.index(&name).waits();
                self.take(&name, &answer);
                if followed && !first {
                    self.touch(&name);
                }
                if !followed && purpose == Purpose::Confirm {
                    self.errands.add_later(name, Purpose::Confirm);
                }
            }
            Outcome::Failed(error) => self.fail_service(&name, &error),
        }
    }

    fn take(&mut self, name: &Arc<str>, answer: &Answer<Vec<RawInstance>>) {
        let nodes = answer.value.iter().filter_map(|i| i.as_ref().ok()).map(|i| &i.node.node);
        self.roster.answered(name, answer.index, nodes);
        self.say(|catalog| catalog.answered(name, &answer.value));
    }

    /// A service changed, and will sooner change again than others.
    fn touch(&mut self, name: &Arc<str>) {
        if self.roster.is_cold(name) && !self.swaps.take(Instant::now()) {
            return;
        }
        if let Some(swap) = self.roster.changed(name) {
            self.swap(swap);
        }
    }

    fn on_checks(&mut self, checks: Vec<Check>) {
        self.recover(&Query::Checks);
        let concerns = self.checks.replace(checks);
        if !std::mem::replace(&mut self.detectors.checks, true) {
            return self.fetch_cold_once_ready();
        }
        for concern in concerns {
            let names = match concern {
                Concern::Service(name) => vec![Arc::from(name)],
                Concern::Node(node) => self.roster.cold_on(&node),
            };
            for name in names.into_iter().filter(|name: &Arc<str>| self.roster.is_cold(name)) {
                self.errands.add(name, Purpose::Fetch);
            }
        }
    }

    fn on_nodes(&mut self) {
        self.recover(&Query::Nodes);
        if std::mem::replace(&mut self.detectors.nodes, true) {
            self.want_sweep();
        } else {
            self.fetch_cold_once_ready();
        }
    }

    fn fetch_cold_once_ready(&mut self) {
        if self.detectors.ready() {
            for (name, _) in self.roster.cold() {
                self.errands.add(name.clone(), Purpose::Fetch);
            }
        }
    }

    fn want_sweep(&mut self) {
        if self.roster.any_cold() && self.detectors.ready() {
            self.sweep.want();
        }
    }

    fn start_sweep(&mut self) {
        let known = self.roster.cold().filter(|(_, index)| index.waits());
        let looks = known
            .map(|(name, _)| self.errands.add(name.clone(), Purpose::Look))
            .filter(|added| *added)
            .count();
        self.sweep.start(Instant::now(), looks);
    }

    fn fail_service(&mut self, name: &Arc<str>, error: &ApiError) {
        let reason = error.full();
        if error.is_about_the_answer() {
            self.say(|catalog| catalog.misunderstood(name, reason));
        } else {
            self.say(|catalog| catalog.failed(Query::Service(name.clone()), reason));
        }
    }

    fn fail(&mut self, query: Query, error: &ApiError) {
        self.say(|catalog| catalog.failed(query, error.full()));
    }

    fn recover(&mut self, query: &Query) {
        self.say(|catalog| catalog.recovered(query));
    }

    fn say(&mut self, what: impl FnOnce(&mut Catalog) -> Vec<RegistryUpdate>) {
        let updates = what(self.catalog);
        if !updates.is_empty() {
            self.updates.send_all(updates);
        }
    }
}

async fn changed(demand: &mut Option<Needed>) {
    match demand {
        Some(demand) => demand.changed().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A watcher that panicked takes the adapter with it, which its manager restarts.
fn propagate_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}
