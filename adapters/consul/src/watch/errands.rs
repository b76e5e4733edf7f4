//! Queries that do not wait: fetching a service, looking at its index,
//! confirming that it is gone. A few at a time, one per service.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use mainstem_registry::Backoff;

use crate::api::{Answer, Api, ApiError, Ask, RawInstance};
use crate::index::CatalogIndex;

/// What is to be found out about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// Its instances.
    Fetch,
    /// Whether its index is still that of the last answer; if not, its instances.
    Look,
    /// Whether it is gone, by the leader's word.
    Confirm,
}

/// What was found out.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its instances.
    Instances(Answer<Vec<RawInstance>>),
    /// Nothing changed.
    Unchanged,
    /// It has no instances.
    Gone,
    /// No answer to be believed; the errand is run again by itself.
    Failed(ApiError),
}

/// An errand that is done.
#[derive(Debug)]
pub(super) struct Done {
    pub service: Arc<str>,
    pub purpose: Purpose,
    pub outcome: Outcome,
}

/// Errands in the order of their coming.
#[derive(Debug)]
pub(super) struct Errands {
    api: Arc<Api>,
    at_once: usize,
    queue: VecDeque<(Arc<str>, Purpose)>,
    queued: BTreeSet<(Arc<str>, Purpose)>,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    busy: BTreeSet<Arc<str>>,
    resting: FuturesUnordered<BoxFuture<'static, (Arc<str>, Purpose)>>,
    backoffs: BTreeMap<Arc<str>, Backoff>,
}

impl Errands {
    /// None; at most `at_once` run at a time.
    pub(super) fn new(api: Arc<Api>, at_once: usize) -> Self {
        Self {
            api,
            at_once,
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
            running: FuturesUnordered::new(),
            busy: BTreeSet::new(),
            resting: FuturesUnordered::new(),
            backoffs: BTreeMap::new(),
        }
    }

    /// Adds an errand, unless the same one is waiting; whether it was added.
    pub(super) fn add(&mut self, service: Arc<str>, purpose: Purpose) -> bool {
        let new = self.queued.insert((service.clone(), purpose));
        if new {
            match purpose {
                // Nobody is known to have changed: the others come first.
                Purpose::Look => self.queue.push_back((service, purpose)),
                _ => self.queue.push_front((service, purpose)),
            }
        }
        new
    }

    /// Adds an errand that runs after a while, longer each time until the service
    /// has an errand that succeeds.
    pub(super) fn add_later(&mut self, service: Arc<str>, purpose: Purpose) {
        let wait = self.backoffs.entry(service.clone()).or_default().advance();
        self.resting.push(Box::pin(async move {
            tokio::time::sleep(wait).await;
            (service, purpose)
        }));
    }

    /// Runs errands until one is done; waits for ever while there is none. Safe to cancel.
    pub(super) async fn next(&mut self, index: impl Fn(&str) -> CatalogIndex) -> Done {
        loop {
            self.start(&index);
            tokio::select! {
                Some(done) = self.running.next() => {
                    self.finish(&done);
                    return done;
                }
                Some((service, purpose)) = self.resting.next() => {
                    self.add(service, purpose);
                }
                else => std::future::pending().await,
            }
        }
    }

    fn start(&mut self, index: impl Fn(&str) -> CatalogIndex) {
        while self.running.len() < self.at_once {
            // Two answers on one service could come in the wrong order.
            let free = self.queue.iter().position(|(service, _)| !self.busy.contains(service));
            let Some(errand) = free.and_then(|at| self.queue.remove(at)) else { return };
            self.queued.remove(&errand);
            let (service, purpose) = errand;
            self.busy.insert(service.clone());
            let known = index(&service);
            self.running.push(Box::pin(run(self.api.clone(), service, purpose, known)));
        }
    }

    fn finish(&mut self, done: &Done) {
        self.busy.remove(&done.service);
        match (&done.outcome, done.purpose) {
            (Outcome::Failed(_), purpose) => self.add_later(done.service.clone(), purpose.again()),
            // Whoever waits for its end asks again.
            (Outcome::Instances(_), Purpose::Confirm) => {}
            _ => drop(self.backoffs.remove(&done.service)),
        }
    }
}

impl Purpose {
    /// What to run after a failure: whether something changed is then unknown.
    fn again(self) -> Self {
        match self {
            Self::Look | Self::Fetch => Self::Fetch,
            Self::Confirm => Self::Confirm,
        }
    }
}

async fn run(api: Arc<Api>, service: Arc<str>, purpose: Purpose, known: CatalogIndex) -> Done {
    let outcome = match purpose {
        Purpose::Fetch => fetch(&api, &service, known).await,
        Purpose::Look => look(&api, &service, known).await,
        Purpose::Confirm => confirm(&api, &service).await,
    };
    Done { service, purpose, outcome: outcome.unwrap_or_else(Outcome::Failed) }
}

async fn look(api: &Api, service: &str, known: CatalogIndex) -> Result<Outcome, ApiError> {
    match api.instances_index(service).await? {
        index if index == known => Ok(Outcome::Unchanged),
        _ => fetch(api, service, known).await,
    }
}

async fn fetch(api: &Api, service: &str, known: CatalogIndex) -> Result<Outcome, ApiError> {
    let answer = api.instances(service, CatalogIndex::START, Ask::Any).await?;
    if answer.index >= known {
        return Ok(Outcome::Instances(answer));
    }
    // A server that lags behind: what it lacks may well be there.
    let answer = api.instances(service, CatalogIndex::START, Ask::Leader).await?;
    Ok(Outcome::Instances(answer))
}

async fn confirm(api: &Api, service: &str) -> Result<Outcome, ApiError> {
    let answer = api.instances(service, CatalogIndex::START, Ask::Leader).await?;
    match answer.value.is_empty() {
        true => Ok(Outcome::Gone),
        false => Ok(Outcome::Instances(answer)),
    }
}
