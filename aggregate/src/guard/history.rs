//! What a registry lost within the window, and what is to be held of it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mainstem_model::{Endpoint, Service, ServiceKey};
use rustc_hash::FxHashMap;

use super::moves::{Moves, NewDemand};
use super::settings::{Guard, GuardMode};
use crate::control::{Cause, EndpointId};

/// What one batch did to one service.
#[derive(Debug)]
pub(crate) struct Situation {
    pub(crate) service: ServiceKey,
    /// As the registry defined it before the batch.
    pub(crate) definition: Option<Arc<Service>>,
    pub(crate) moves: Moves,
    /// What is held of it already.
    pub(crate) held: BTreeSet<EndpointId>,
}

/// What is to be held of one service.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) service: ServiceKey,
    pub(crate) cause: Cause,
    pub(crate) definition: Option<Arc<Service>>,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
}

/// One registry's losses and gains within the window.
#[derive(Debug, Default)]
pub(crate) struct History {
    services: FxHashMap<ServiceKey, Recent>,
    /// The services in there, each once, by the time of its oldest event.
    ageing: BTreeSet<(SystemTime, ServiceKey)>,
    /// How many endpoints serve.
    serving: usize,
    /// How many in `services` are lost, and how many of them against the rules.
    lost: usize,
    guarded: usize,
}

/// One service's losses and gains.
#[derive(Debug, Default)]
struct Recent {
    /// Its place in the order of ageing.
    oldest: Option<SystemTime>,
    definition: Option<Arc<Service>>,
    lost: Vec<Loss>,
    /// What came newly, in that order, and has replaced nothing yet.
    gained: VecDeque<(SystemTime, EndpointId)>,
    /// How many of it are held, and how many serve.
    held: usize,
    serving: usize,
}

#[derive(Clone, Debug)]
struct Loss {
    endpoint: Arc<Endpoint>,
    at: SystemTime,
    /// It counts by itself, and not only when all are lost.
    guarded: bool,
}

/// How a batch is to be judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) guard: Guard,
    pub(crate) mode: GuardMode,
    /// The batch was a complete list.
    pub(crate) complete: bool,
    pub(crate) now: SystemTime,
}

impl History {
    /// Takes note of a state that nothing came before: losing begins after it.
    pub(crate) fn begin(&mut self, serving: usize) {
        self.serving += serving;
    }

    /// Judges what a batch did. `held` is how many endpoints of the registry are
    /// held already. What is to be held leaves the history.
    pub(crate) fn judge(
        &mut self,
        situations: Vec<Situation>,
        held: usize,
        rules: Rules,
    ) -> Vec<Verdict> {
        self.forget(rules.now, rules.guard.window.duration());
        let mut verdicts = Vec::new();
        for situation in situations {
            verdicts.extend(self.judge_service(situation, rules));
        }
        let held = held + verdicts.iter().map(|verdict| verdict.endpoints.len()).sum::<usize>();
        if self.lost_too_much(held, rules) {
            verdicts.extend(self.take_all());
        }
        verdicts
    }

    /// Adds what happened to a service; its verdict if it lost too much by itself.
    fn judge_service(&mut self, situation: Situation, rules: Rules) -> Option<Verdict> {
        let Situation { service, definition, moves, held } = situation;
        self.serving = (self.serving + moves.after).saturating_sub(moves.before);
        let guarded = rules.mode == GuardMode::All || rules.complete;
        let recent = self.services.entry(service.clone()).or_default();
        let before = recent.counts();
        recent.serving = moves.after;
        recent.held = held.len();
        recent.definition = definition.or(recent.definition.take());
        if moves.demand == Some(NewDemand::Unloaded) {
            (recent.lost, recent.gained) = Default::default();
        }
        if moves.demand.is_none() {
            recent.gain(&moves.gained, &held, rules.now);
        }
        let replaced = recent.lose(&moves.lost, &held, guarded, rules.now);
        let verdict = recent.too_much(&rules.guard).then(|| {
            let mut endpoints: Vec<_> =
                std::mem::take(&mut recent.lost).into_iter().map(|loss| loss.endpoint).collect();
            endpoints.extend(replaced);
            let definition = recent.definition.clone();
            Verdict { service: service.clone(), cause: Cause::Service, definition, endpoints }
        });
        let after = recent.counts();
        self.recount(before, after);
        self.age(&service);
        verdict
    }

    /// Gives a service its place in the order of ageing, or lets it go.
    fn age(&mut self, service: &ServiceKey) {
        let Some(recent) = self.services.get_mut(service) else { return };
        let oldest = recent.oldest();
        if oldest != recent.oldest {
            if let Some(before) = recent.oldest {
                self.ageing.remove(&(before, service.clone()));
            }
            self.ageing.extend(oldest.map(|at| (at, service.clone())));
            recent.oldest = oldest;
        }
        if oldest.is_none() {
            self.services.remove(service);
        }
    }

    /// How many losses it remembers.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        assert_eq!(self.services.len(), self.ageing.len(), "each service ages once");
        let lost: usize = self.services.values().map(|recent| recent.lost.len()).sum();
        assert_eq!(lost, self.lost, "losses are counted");
        lost
    }

    fn recount(&mut self, before: (usize, usize), after: (usize, usize)) {
        self.lost = self.lost + after.0 - before.0;
        self.guarded = self.guarded + after.1 - before.1;
    }

    fn lost_too_much(&self, held: usize, rules: Rules) -> bool {
        let guard = &rules.guard;
        let floor =
            |lost: usize| lost >= usize::try_from(guard.registry_floor).unwrap_or(usize::MAX);
        let net = self.guarded + held;
        let some =
            self.guarded > 0 && floor(net) && reaches(net, self.serving, guard.registry_share);
        let all = self.serving == 0 && self.lost > 0 && floor(self.lost + held);
        rules.mode != GuardMode::Off && (some || all)
    }

    /// Everything that is lost, to be held.
    fn take_all(&mut self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (service, recent) in &mut self.services {
            // What is left of it ages away.
            let lost = std::mem::take(&mut recent.lost);
            if !lost.is_empty() {
                verdicts.push(Verdict {
                    service: service.clone(),
                    cause: Cause::Registry,
                    definition: recent.definition.clone(),
                    endpoints: lost.into_iter().map(|loss| loss.endpoint).collect(),
                });
            }
        }
        (self.lost, self.guarded) = (0, 0);
        verdicts.sort_by(|a, b| a.service.cmp(&b.service));
        verdicts
    }

    /// Forgets what is older than the window.
    fn forget(&mut self, now: SystemTime, window: Duration) {
        let Some(oldest) = now.checked_sub(window) else { return };
        while let Some((at, service)) = self.ageing.first().cloned() {
            if at > oldest {
                return;
            }
            let Some(recent) = self.services.get_mut(&service) else {
                self.ageing.pop_first();
                continue;
            };
            let before = recent.counts();
            recent.lost.retain(|loss| loss.at > oldest);
            recent.gained.retain(|(at, _)| *at > oldest);
            let after = recent.counts();
            self.recount(before, after);
            self.age(&service);
        }
    }
}

impl Recent {
    /// How many are lost, and how many of them count by themselves.
    fn counts(&self) -> (usize, usize) {
        (self.lost.len(), self.lost.iter().filter(|loss| loss.guarded).count())
    }

    fn oldest(&self) -> Option<SystemTime> {
        let lost = self.lost.iter().map(|loss| loss.at);
        lost.chain(self.gained.iter().map(|(at, _)| *at)).min()
    }

    /// What returns is no longer lost; what is new replaces what was lost first.
    fn gain(&mut self, gained: &[Arc<Endpoint>], held: &BTreeSet<EndpointId>, now: SystemTime) {
        if gained.is_empty() {
            return;
        }
        let mut new: BTreeSet<_> = gained.iter().map(|endpoint| EndpointId::of(endpoint)).collect();
        self.lost.retain(|loss| !new.remove(&EndpointId::of(&loss.endpoint)));
        new.retain(|id| !held.contains(id));
        let replacing = new.len().min(self.lost.len());
        self.lost.drain(..replacing);
        self.gained.extend(new.into_iter().skip(replacing).map(|id| (now, id)));
    }

    /// Notes losses; returns those that something new had replaced already.
    fn lose(
        &mut self,
        lost: &[Arc<Endpoint>],
        held: &BTreeSet<EndpointId>,
        guarded: bool,
        now: SystemTime,
    ) -> Vec<Arc<Endpoint>> {
        let mut replaced = Vec::new();
        for endpoint in lost.iter().filter(|endpoint| !held.contains(&EndpointId::of(endpoint))) {
            if self.take_gain(&EndpointId::of(endpoint)) {
                replaced.push(endpoint.clone());
            } else {
                self.lost.push(Loss { endpoint: endpoint.clone(), at: now, guarded });
            }
        }
        replaced
    }

    /// Whether something that came newly makes up for a loss: the lost one itself, which
    /// came and went, else the oldest.
    fn take_gain(&mut self, lost: &EndpointId) -> bool {
        let own = self.gained.iter().position(|(_, id)| id == lost);
        self.gained.remove(own.unwrap_or_default()).is_some()
    }

    fn too_much(&self, guard: &Guard) -> bool {
        let (_, lost) = self.counts();
        let net = lost + self.held;
        let floor = usize::try_from(guard.floor).unwrap_or(usize::MAX);
        lost > 0 && net >= floor && reaches(net, self.serving, guard.share)
    }
}

/// Whether a net loss is at least this share of what there was.
fn reaches(net: usize, serving: usize, percent: u8) -> bool {
    net.saturating_mul(100) >= usize::from(percent).saturating_mul(net.saturating_add(serving))
}
