//! What one proxy is told at one moment, for whoever sends it.

use std::sync::Arc;

use mainstem_model::Generation;

use super::state::State;
use crate::{Kind, Resource};

/// All resources of a proxy, of all types, out of one snapshot.
#[derive(Clone, Debug)]
pub struct Moment {
    generation: Generation,
    /// Apart from load assignments, which change often and alone.
    views: Arc<Views>,
    assignments: View,
}

pub(super) type Views = [View; Kind::ALL.len()];

impl Moment {
    pub(super) fn new(generation: Generation, mut views: Views) -> Self {
        let assignments = std::mem::take(&mut views[Kind::LoadAssignment as usize]);
        Self { generation, views: Arc::new(views), assignments }
    }

    /// The same with other load assignments.
    pub(super) fn with_assignments(&self, generation: Generation, assignments: View) -> Self {
        Self { generation, views: self.views.clone(), assignments }
    }

    /// The snapshot's generation: that of the last one that changed anything here.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The resources of one type.
    pub fn view(&self, kind: Kind) -> &View {
        match kind {
            Kind::LoadAssignment => &self.assignments,
            _ => &self.views[kind as usize],
        }
    }

    /// The names that differ from an earlier moment of the same proxy, per type.
    pub fn changes_since(&self, earlier: &Self) -> impl Iterator<Item = (Kind, Arc<[Arc<str>]>)> {
        let defined = Arc::ptr_eq(&self.views, &earlier.views);
        Kind::ALL.into_iter().filter_map(move |kind| {
            if defined && kind != Kind::LoadAssignment {
                return None;
            }
            let names = self.view(kind).changes_since(earlier.view(kind));
            (!names.is_empty()).then_some((kind, names))
        })
    }
}

/// All resources of one type. A clone copies two pointers. Holding one keeps
/// its resources, and of its scopes' structure only what changed since.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Of at most two scopes with no name in common.
    states: [Option<Arc<State>>; 2],
}

impl View {
    /// Adds what a scope has; a third one is none of a proxy's.
    pub(super) fn add(&mut self, state: Arc<State>) {
        if let Some(free) = self.states.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(state);
        }
    }

    fn states(&self) -> impl Iterator<Item = &Arc<State>> {
        self.states.iter().flatten()
    }

    /// The resource of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        let latest = self.states().find_map(|state| state.latest(name));
        latest.or_else(|| self.states().find_map(|state| state.get(name)))
    }

    /// All, in order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let [mut a, mut b] =
            self.states.each_ref().map(|of| of.iter().flat_map(|state| state.iter()).peekable());
        std::iter::from_fn(move || match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if y.name < x.name => b.next(),
            (Some(_), _) => a.next(),
            (None, _) => b.next(),
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.states().map(|state| state.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The version of all of them: the wrapping sum of [`Resource::weight`].
    /// Depends on content alone, and is kept, not computed.
    pub fn version(&self) -> u128 {
        self.states().fold(0u128, |sum, state| sum.wrapping_add(state.version()))
    }

    /// The names that differ from an `earlier` view, in order.
    pub fn changes_since(&self, earlier: &Self) -> Arc<[Arc<str>]> {
        let [a, b] =
            [0, 1].map(|n| changes_of(self.states[n].as_ref(), earlier.states[n].as_ref()));
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (one, other) => return one.or(other).unwrap_or_default(),
        };
        let mut names: Vec<Arc<str>> = a.iter().chain(&*b).cloned().collect();
        names.sort();
        names.dedup();
        // What went from one scope to the other may be the same.
        let version = |view: &Self, name: &str| view.get(name).map(|r| r.version);
        names.retain(|name| version(self, name) != version(earlier, name));
        names.into()
    }

    /// Whether nothing was even touched since `earlier`; a false answer may
    /// still mean that all content is equal.
    pub fn is_same(&self, earlier: &Self) -> bool {
        let of = |view: &Self| view.states.each_ref().map(|state| state.as_ref().map(Arc::as_ptr));
        of(self) == of(earlier)
    }
}

/// The names that differ between two states of a scope; none if it is the same one.
fn changes_of(now: Option<&Arc<State>>, then: Option<&Arc<State>>) -> Option<Arc<[Arc<str>]>> {
    match (now, then) {
        (None, None) => None,
        (Some(now), Some(then)) => (!Arc::ptr_eq(now, then)).then(|| now.changes_since(then)),
        (Some(now), None) => Some(now.changes_since(&State::default())),
        (None, Some(then)) => Some(State::default().changes_since(then)),
    }
}
