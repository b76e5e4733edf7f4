//! All scopes, groups and proxies, behind one lock.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_model::{ChangeSet, Proxy, Snapshot};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::members::Members;
use super::placement::{NeedCounts, Placement, Relevance, ScopeKey, placement};
use super::recipe::{Changes, Context, Recipe, Shared};
use super::state::State;
use super::view::{Moment, View, nothing};
use super::{Attached, Counts, Group, ProxyId};
use crate::endpoint::Gateways;
use crate::{Kind, Settings};

struct Scope {
    recipe: Box<dyn Recipe>,
    state: Arc<State>,
    /// How many groups read it.
    users: usize,
}

struct GroupSlot {
    group: Arc<Group>,
    members: BTreeSet<ProxyId>,
}

pub(super) struct Core {
    settings: Settings,
    snapshot: Arc<Snapshot>,
    gateways: Gateways,
    needs: NeedCounts,
    shared: Shared,
    scopes: FxHashMap<ScopeKey, Scope>,
    groups: FxHashMap<Placement, GroupSlot>,
    members: Members,
    next_id: u64,
}

impl Core {
    pub(super) fn new(settings: Settings, snapshot: Arc<Snapshot>) -> Self {
        Self {
            settings,
            gateways: Gateways::of(&snapshot),
            needs: NeedCounts::of(&snapshot),
            snapshot,
            shared: Shared::default(),
            scopes: FxHashMap::default(),
            groups: FxHashMap::default(),
            members: Members::default(),
            next_id: 0,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            proxies: self.members.len(),
            groups: self.groups.len(),
            scopes: self.scopes.len(),
            resources: self.shared.interner.alive(),
        }
    }

    pub(super) fn attach(
        &mut self,
        proxy: Proxy,
        make: impl FnOnce(ProxyId, Arc<Proxy>, Arc<Group>) -> Arc<Attached>,
    ) -> Arc<Attached> {
        let id = self.number();
        let proxy = Arc::new(proxy);
        let placement = placement(&proxy, &self.snapshot, self.relevance(), &self.settings);
        let group = self.join(&placement, id);
        let attached = make(id, proxy.clone(), group);
        let weak = Arc::downgrade(&attached);
        self.members.insert(id, proxy, weak, placement, &self.snapshot);
        attached
    }

    pub(super) fn detach(&mut self, id: ProxyId) {
        if let Some(member) = self.members.remove(id) {
            self.leave(&member.placement, id);
        }
    }

    /// Moves on to `snapshot`; returns who is told something else than before.
    pub(super) fn update(&mut self, snapshot: &Arc<Snapshot>) -> Vec<Arc<Attached>> {
        if snapshot.generation() <= self.snapshot.generation() {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.snapshot, snapshot.clone());
        let set = snapshot.changes_since(before.generation());
        if set.as_ref().is_some_and(ChangeSet::is_empty) {
            return Vec::new();
        }
        let relevance = self.relevance();
        self.absorb(&before, set.as_ref());
        let changes = set.as_ref().map(|set| Changes::new(&before, snapshot, set));
        self.rebuild_scopes(changes.as_ref());
        let mut changed = self.publish();
        let movable = match &changes {
            Some(changes) if self.relevance() == relevance => {
                self.members.affected(changes, snapshot)
            }
            _ => self.members.ids(),
        };
        changed.extend(movable.into_iter().filter(|id| self.place_again(*id)));
        let attached =
            changed.into_iter().filter_map(|id| self.members.get(id)?.attached.upgrade());
        attached.collect()
    }

    /// Brings what all scopes read up to the new snapshot. Without a change set
    /// anything may have changed.
    fn absorb(&mut self, before: &Snapshot, set: Option<&ChangeSet>) {
        match set {
            Some(set) => {
                self.needs = self.needs.after(before, &self.snapshot, set);
                self.shared.memo.forget(set);
                if !set.services.is_empty() {
                    self.shared.visible.clear();
                }
            }
            None => {
                self.needs = NeedCounts::of(&self.snapshot);
                self.shared.visible.clear();
            }
        }
        if set.is_none_or(rebuilds_everything) {
            self.gateways = Gateways::of(&self.snapshot);
            self.shared.memo.clear();
        }
    }

    fn rebuild_scopes(&mut self, changes: Option<&Changes<'_>>) {
        let generation = self.snapshot.generation();
        let incremental = changes.filter(|changes| !rebuilds_everything(changes.set));
        let mut context = Context {
            snapshot: &self.snapshot,
            gateways: &self.gateways,
            shared: &mut self.shared,
        };
        context.update_catalogs(incremental);
        for scope in self.scopes.values_mut() {
            let next = match incremental {
                Some(changes) => {
                    let edits = scope.recipe.rebuild(&mut context, changes);
                    if edits.is_empty() {
                        continue;
                    }
                    scope.state.edited(generation, edits)
                }
                None => scope.state.replaced(generation, scope.recipe.build(&mut context)),
            };
            if let Some(next) = next {
                scope.state = Arc::new(next);
            }
        }
    }

    /// Gives every group the moment that its scopes make now; returns the
    /// members of those for which it differs.
    fn publish(&mut self) -> BTreeSet<ProxyId> {
        let mut changed = BTreeSet::new();
        for (placement, slot) in &self.groups {
            let moment = self.moment(placement);
            let now = slot.group.moment();
            let same = Kind::ALL.into_iter().all(|kind| moment.view(kind).is_same(now.view(kind)));
            if !same {
                slot.group.set_moment(Arc::new(moment));
                changed.extend(&slot.members);
            }
        }
        changed
    }

    /// Puts a proxy into the scopes where it belongs now; returns whether it moved.
    fn place_again(&mut self, id: ProxyId) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let (before, proxy, attached) =
            (member.placement.clone(), member.proxy.clone(), member.attached.upgrade());
        let now = placement(&proxy, &self.snapshot, self.relevance(), &self.settings);
        let moves = now != before;
        if moves {
            let group = self.join(&now, id);
            if let Some(attached) = attached {
                attached.set_group(group);
            }
            self.leave(&before, id);
        }
        // Also where it stays: its workload may be in another namespace now.
        self.members.moved(id, if moves { now } else { before }, &self.snapshot);
        moves
    }

    fn relevance(&self) -> Relevance {
        self.needs.relevance(!self.gateways.is_empty())
    }

    fn number(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn join(&mut self, placement: &Placement, id: ProxyId) -> Arc<Group> {
        if let Some(slot) = self.groups.get_mut(placement) {
            slot.members.insert(id);
            return slot.group.clone();
        }
        for key in placement.iter() {
            self.open(key);
        }
        let number = self.number();
        let group =
            Arc::new(Group { id: number, moment: RwLock::new(Arc::new(self.moment(placement))) });
        let slot = GroupSlot { group: group.clone(), members: [id].into() };
        self.groups.insert(placement.clone(), slot);
        group
    }

    fn leave(&mut self, placement: &Placement, id: ProxyId) {
        let Some(slot) = self.groups.get_mut(placement) else { return };
        slot.members.remove(&id);
        if !slot.members.is_empty() {
            return;
        }
        self.groups.remove(placement);
        for key in placement.iter() {
            if let Some(scope) = self.scopes.get_mut(key) {
                scope.users -= 1;
                if scope.users == 0 {
                    self.scopes.remove(key);
                }
            }
        }
    }

    /// One more user for a scope, which is built if it is the first.
    fn open(&mut self, key: &ScopeKey) {
        if let Some(scope) = self.scopes.get_mut(key) {
            scope.users += 1;
            return;
        }
        let number = self.number();
        let mut context = Context {
            snapshot: &self.snapshot,
            gateways: &self.gateways,
            shared: &mut self.shared,
        };
        let mut recipe = key.recipe(&mut context);
        let all = recipe.build(&mut context);
        let state = Arc::new(State::new(number, self.snapshot.generation(), all));
        self.scopes.insert(key.clone(), Scope { recipe, state, users: 1 });
    }

    fn moment(&self, placement: &Placement) -> Moment {
        let views = Kind::ALL.map(|kind| {
            let mut states = [nothing(), nothing()];
            let of_kind = placement.iter().filter(|key| key.kind() == kind);
            for (state, key) in states.iter_mut().zip(of_kind) {
                *state = self.scopes[key].state.clone();
            }
            View::new(states)
        });
        Moment::new(self.snapshot.generation(), views)
    }
}

/// Settings reach every resource, and gateways nearly every load assignment.
fn rebuilds_everything(set: &ChangeSet) -> bool {
    set.mesh || set.gateways
}
