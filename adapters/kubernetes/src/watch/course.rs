//! How far the registry is: what is complete, what is in trouble, what to say of it.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_model::Condition;

use crate::api::Kind;

/// The state of the followers and the probe, as they told it.
#[derive(Debug)]
pub(super) struct Course {
    required: BTreeSet<Kind>,
    /// Kinds that have neither listed nor been refused yet.
    unsettled: BTreeSet<Kind>,
    listed: BTreeSet<Kind>,
    /// The first replacement was said.
    synced: bool,
    /// A kind listed anew.
    relisted: bool,
    /// What keeps required kinds from being followed.
    troubles: BTreeMap<Kind, String>,
    /// What the probe found wrong.
    silence: Option<String>,
    generation: u64,
    /// Required kinds whose watches are not open again since the present
    /// generation began, and why it began.
    reopening: BTreeSet<Kind>,
    lost: String,
    /// What was last said.
    said: Condition,
}

impl Course {
    pub(super) fn new(required: &[Kind]) -> Self {
        Self {
            required: required.iter().copied().collect(),
            unsettled: Kind::ALL.into(),
            listed: BTreeSet::new(),
            synced: false,
            relisted: false,
            troubles: BTreeMap::new(),
            silence: None,
            generation: 0,
            reopening: BTreeSet::new(),
            lost: String::new(),
            said: Condition::Syncing,
        }
    }

    pub(super) fn requires(&self, kind: Kind) -> bool {
        self.required.contains(&kind)
    }

    pub(super) fn listed(&mut self, kind: Kind) {
        self.unsettled.remove(&kind);
        self.relisted |= !self.listed.insert(kind);
    }

    pub(super) fn following(&mut self, kind: Kind, generation: u64) {
        self.troubles.remove(&kind);
        if generation == self.generation {
            self.reopening.remove(&kind);
        }
    }

    pub(super) fn absent(&mut self, kind: Kind) {
        self.unsettled.remove(&kind);
        self.listed.remove(&kind);
    }

    /// A kind that is not required does without its objects once the API server
    /// has refused them, so that one missing right holds up nothing else.
    pub(super) fn troubled(&mut self, kind: Kind, reason: String, reached: bool) {
        if self.requires(kind) {
            self.troubles.insert(kind, reason);
        } else if reached {
            self.unsettled.remove(&kind);
        }
    }

    /// After a silence every watch is opened anew, as it may hang for good.
    pub(super) fn probed(&mut self, answer: Result<(), String>) {
        match answer {
            Err(reason) => self.silence = Some(reason),
            Ok(()) => {
                self.lost = self.silence.take().unwrap_or_default();
                self.generation += 1;
                self.reopening = self.required.clone();
            }
        }
    }

    /// The number that rises whenever watches have to be opened anew.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }

    /// Whether everything has to be said now: for the first time, or after a list
    /// that replaces an earlier one. True once.
    pub(super) fn replaces(&mut self) -> bool {
        if !self.unsettled.is_empty() {
            return false;
        }
        let first = !std::mem::replace(&mut self.synced, true);
        std::mem::take(&mut self.relisted) || first
    }

    /// The condition, if it is another than was last said.
    pub(super) fn condition(&mut self) -> Option<Condition> {
        let lost = (!self.reopening.is_empty()).then_some(&self.lost);
        let trouble = self.silence.as_ref().or(self.troubles.values().next()).or(lost);
        let condition = match trouble {
            Some(reason) => Condition::Failed(reason.as_str().into()),
            None if self.synced => Condition::Live,
            None => Condition::Syncing,
        };
        (condition != self.said).then(|| {
            self.said = condition.clone();
            condition
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: [Kind; 3] = [Kind::Service, Kind::EndpointSlice, Kind::Pod];

    fn failed(reason: &str) -> Option<Condition> {
        Some(Condition::Failed(reason.into()))
    }

    fn synced() -> Course {
        let mut course = Course::new(&REQUIRED);
        Kind::ALL.into_iter().for_each(|kind| course.listed(kind));
        REQUIRED.into_iter().for_each(|kind| course.following(kind, 0));
        assert!(course.replaces());
        assert_eq!(course.condition(), Some(Condition::Live));
        course
    }

    #[test]
    fn the_first_sync_waits_for_every_kind_that_is_not_refused() {
        let mut course = Course::new(&REQUIRED);
        REQUIRED.into_iter().for_each(|kind| course.listed(kind));
        course.listed(Kind::Namespace);
        course.absent(Kind::ServiceEntry);
        course.absent(Kind::WorkloadEntry);
        assert!(!course.replaces());

        course.troubled(Kind::Node, "connection refused".to_owned(), false);
        assert!(!course.replaces(), "a registry that is not reached refuses nothing");

        course.troubled(Kind::Node, "forbidden".to_owned(), true);
        assert!(course.replaces() && !course.replaces(), "once");
        assert_eq!(course.condition(), Some(Condition::Live));
    }

    #[test]
    fn a_required_kind_that_is_refused_fails_the_registry_until_it_is_followed() {
        let mut course = synced();
        course.troubled(Kind::Pod, "forbidden".to_owned(), true);
        assert_eq!((course.condition(), course.condition()), (failed("forbidden"), None));
        course.following(Kind::Pod, 0);
        assert_eq!(course.condition(), Some(Condition::Live));
    }

    #[test]
    fn after_a_silence_every_required_watch_must_be_open_again() {
        let mut course = synced();
        course.probed(Err("no answer".to_owned()));
        assert_eq!(course.condition(), failed("no answer"));
        course.probed(Ok(()));
        assert_eq!((course.generation(), course.condition()), (1, None));
        course.following(Kind::Pod, 0);
        for kind in REQUIRED {
            assert_eq!(course.condition(), None);
            course.following(kind, 1);
        }
        assert_eq!(course.condition(), Some(Condition::Live));
    }

    #[test]
    fn only_a_list_in_place_of_another_replaces_everything_again() {
        let mut course = synced();
        course.listed(Kind::Pod);
        assert!(course.replaces());
        course.absent(Kind::ServiceEntry);
        course.listed(Kind::ServiceEntry);
        assert!(!course.replaces(), "a kind that appeared is no gap");
    }
}
