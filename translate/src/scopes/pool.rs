//! The scopes in use.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_model::NamespaceName;
use rustc_hash::{FxHashMap, FxHashSet};

use super::GroupId;
use super::placement::{Concern, ScopeKey};
use super::recipe::{Changes, Context, Recipe};
use super::state::State;
use crate::Kind;

/// A number for a scope, never used again.
pub(super) type ScopeId = u64;

struct Scope {
    key: ScopeKey,
    recipe: Box<dyn Recipe>,
    state: Arc<State>,
    /// Who reads it.
    groups: BTreeSet<GroupId>,
}

/// The groups whose scopes have something else than before.
#[derive(Debug, Default)]
pub(super) struct Rebuilt {
    pub(super) groups: BTreeSet<GroupId>,
    /// Those of them of which not only load assignments differ.
    pub(super) defined: FxHashSet<GroupId>,
}

type ByNamespace = FxHashMap<NamespaceName, BTreeSet<ScopeId>>;

/// All scopes, by what they depend on, and by the namespace whose changes reach them.
#[derive(Default)]
pub(super) struct Pool {
    scopes: FxHashMap<ScopeId, Scope>,
    ids: FxHashMap<ScopeKey, ScopeId>,
    by_namespace: ByNamespace,
    /// Likewise, where it must be a definition that changed.
    by_definitions: ByNamespace,
    /// Those that every service concerns.
    of_all: BTreeSet<ScopeId>,
}

impl Pool {
    pub(super) fn len(&self) -> usize {
        self.scopes.len()
    }

    /// The resources of a scope.
    pub(super) fn state(&self, id: ScopeId) -> &Arc<State> {
        &self.scopes[&id].state
    }

    /// Makes a group a reader of the scope, which is built if it is the first.
    pub(super) fn join(
        &mut self,
        key: &ScopeKey,
        group: GroupId,
        context: &mut Context<'_>,
    ) -> ScopeId {
        if let Some(id) = self.ids.get(key) {
            let scope = self.scopes.get_mut(id).expect("every id has its scope");
            scope.groups.insert(group);
            return *id;
        }
        let id = super::core::number();
        let mut recipe = key.recipe(context);
        let all = recipe.build(context);
        let state = Arc::new(State::new(id, context.snapshot.generation(), all));
        match key.concern() {
            Concern::None => {}
            Concern::Seen(by) => list(&mut self.by_namespace, by, id),
            Concern::Defined(by) => list(&mut self.by_definitions, by, id),
            Concern::All => {
                self.of_all.insert(id);
            }
        }
        self.ids.insert(key.clone(), id);
        let scope = Scope { key: key.clone(), recipe, state, groups: [group].into() };
        self.scopes.insert(id, scope);
        id
    }

    /// A group reads the scope no longer; without readers it is gone.
    pub(super) fn leave(&mut self, id: ScopeId, group: GroupId) {
        let Some(scope) = self.scopes.get_mut(&id) else { return };
        scope.groups.remove(&group);
        if !scope.groups.is_empty() {
            return;
        }
        let Some(scope) = self.scopes.remove(&id) else { return };
        self.ids.remove(&scope.key);
        self.of_all.remove(&id);
        match scope.key.concern() {
            Concern::Seen(by) => unlist(&mut self.by_namespace, by, id),
            Concern::Defined(by) => unlist(&mut self.by_definitions, by, id),
            Concern::None | Concern::All => {}
        }
    }

    /// Brings all scopes up to the snapshot; without `changes` from scratch.
    pub(super) fn rebuild(
        &mut self,
        context: &mut Context<'_>,
        changes: Option<&Changes<'_>>,
    ) -> Rebuilt {
        let generation = context.snapshot.generation();
        let mut rebuilt = Rebuilt::default();
        for id in self.reached(changes) {
            let Some(scope) = self.scopes.get_mut(&id) else { continue };
            let next = match changes {
                Some(changes) => {
                    let edits = scope.recipe.rebuild(context, changes);
                    if edits.is_empty() {
                        continue;
                    }
                    scope.state.edited(generation, edits)
                }
                None => scope.state.replaced(generation, scope.recipe.build(context)),
            };
            if let Some(next) = next {
                scope.state = Arc::new(next);
                rebuilt.groups.extend(&scope.groups);
                if scope.key.kind() != Kind::LoadAssignment {
                    rebuilt.defined.extend(&scope.groups);
                }
            }
        }
        rebuilt
    }

    /// The scopes that changes may reach.
    fn reached(&self, changes: Option<&Changes<'_>>) -> Vec<ScopeId> {
        let Some(changes) = changes else { return self.scopes.keys().copied().collect() };
        let mut reached: Vec<ScopeId> = self.of_all.iter().copied().collect();
        let mut reach = |scopes: &ByNamespace| match &changes.namespaces {
            None => reached.extend(scopes.values().flatten()),
            Some(names) => {
                reached.extend(names.iter().filter_map(|name| scopes.get(name)).flatten());
            }
        };
        reach(&self.by_namespace);
        if !changes.defined.is_empty() {
            reach(&self.by_definitions);
        }
        reached
    }
}

fn list(scopes: &mut ByNamespace, by: &NamespaceName, id: ScopeId) {
    scopes.entry(by.clone()).or_default().insert(id);
}

fn unlist(scopes: &mut ByNamespace, by: &NamespaceName, id: ScopeId) {
    if let Some(ids) = scopes.get_mut(by) {
        ids.remove(&id);
        if ids.is_empty() {
            scopes.remove(by);
        }
    }
}
