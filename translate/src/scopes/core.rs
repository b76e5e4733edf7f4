//! Groups and proxies, and how they follow the snapshot. Behind one lock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstem_model::{ChangeSet, NamespaceName, Proxy, Snapshot};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::members::Members;
use super::placement::{NeedCounts, Placement, Relevance, placement};
use super::pool::{Pool, ScopeId};
use super::recipe::{Changes, Context, Shared};
use super::seers::Seers;
use super::view::{Moment, View};
use super::{Attached, Counts, Group, GroupId, ProxyId};
use crate::endpoint::Gateways;
use crate::{Kind, Settings};

/// Proxies with the same placement.
struct GroupSlot {
    group: Arc<Group>,
    placement: Placement,
    scopes: Vec<(Kind, ScopeId)>,
    members: BTreeSet<ProxyId>,
}

pub(super) struct Core {
    settings: Settings,
    snapshot: Arc<Snapshot>,
    gateways: Gateways,
    needs: NeedCounts,
    seers: Seers,
    shared: Shared,
    pool: Pool,
    groups: FxHashMap<GroupId, GroupSlot>,
    by_placement: FxHashMap<Placement, GroupId>,
    members: Members,
}

impl Core {
    pub(super) fn new(settings: Settings, snapshot: Arc<Snapshot>) -> Self {
        Self {
            settings,
            gateways: Gateways::of(&snapshot),
            needs: NeedCounts::of(&snapshot),
            seers: Seers::of(&snapshot),
            snapshot,
            shared: Shared::default(),
            pool: Pool::default(),
            groups: FxHashMap::default(),
            by_placement: FxHashMap::default(),
            members: Members::default(),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            proxies: self.members.len(),
            groups: self.groups.len(),
            scopes: self.pool.len(),
            resources: self.shared.interner.alive(),
        }
    }

    pub(super) fn attach(
        &mut self,
        proxy: Proxy,
        make: impl FnOnce(ProxyId, Arc<Proxy>, Arc<Group>) -> Arc<Attached>,
    ) -> Arc<Attached> {
        let id = number();
        let proxy = Arc::new(proxy);
        let placement = self.placement(&proxy);
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
        let changes = set.as_ref().map(|set| Changes::new(&before, snapshot, set));
        let turned = self.absorb(changes.as_ref());
        let mut changed = self.rebuild(changes.as_ref());
        let movable = match &changes {
            Some(changes) if self.relevance() == relevance && !changes.set.mesh => {
                let mut movable = self.members.affected(changes, snapshot);
                movable.extend(self.members.claiming(&turned));
                movable
            }
            _ => self.members.ids(),
        };
        let before = changed.len();
        changed.extend(movable.into_iter().filter(|id| self.place_again(*id)));
        if changed.len() > before {
            changed.sort_unstable();
            changed.dedup();
        }
        let attached =
            changed.into_iter().filter_map(|id| self.members.get(id)?.attached.upgrade());
        attached.collect()
    }

    /// Brings what all scopes read up to the new snapshot. Without changes
    /// anything may differ. Returns the namespaces that see services by other eyes now.
    fn absorb(&mut self, changes: Option<&Changes<'_>>) -> BTreeSet<NamespaceName> {
        let mut turned = BTreeSet::new();
        match changes {
            Some(changes) => {
                turned = self.seers.update(changes.before, &self.snapshot, changes.set);
                self.needs = self.needs.after(changes.before, &self.snapshot, changes.set);
                self.shared.memo.forget(changes.set);
                self.shared.forget_visible(changes);
            }
            None => {
                self.needs = NeedCounts::of(&self.snapshot);
                self.seers = Seers::of(&self.snapshot);
                self.shared.visible.clear();
            }
        }
        if changes.is_none_or(rebuilds_everything) {
            self.gateways = Gateways::of(&self.snapshot);
            self.shared.memo.clear();
        }
        turned
    }

    /// Rebuilds scopes, and gives each group whose scopes changed its new
    /// moment; returns the members of those.
    fn rebuild(&mut self, changes: Option<&Changes<'_>>) -> Vec<ProxyId> {
        let incremental = changes.filter(|changes| !rebuilds_everything(changes));
        let mut context = Context {
            snapshot: &self.snapshot,
            gateways: &self.gateways,
            shared: &mut self.shared,
        };
        context.update_catalogs(incremental);
        let rebuilt = self.pool.rebuild(&mut context, incremental);
        let mut changed = Vec::new();
        for id in &rebuilt.groups {
            let Some(slot) = self.groups.get(id) else { continue };
            slot.group.set_moment(match rebuilt.defined.contains(id) {
                true => self.moment(&slot.scopes),
                false => self.moment_after(&slot.group.moment(), &slot.scopes),
            });
            changed.extend(&slot.members);
        }
        changed
    }

    /// Puts a proxy into the scopes where it belongs now; returns whether it moved.
    fn place_again(&mut self, id: ProxyId) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let (before, proxy, attached) =
            (member.placement.clone(), member.proxy.clone(), member.attached.upgrade());
        let now = self.placement(&proxy);
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

    fn placement(&self, proxy: &Proxy) -> Placement {
        let seer = self.seers.of_client(&proxy.namespace);
        placement(proxy, &seer, &self.snapshot, self.relevance(), &self.settings)
    }

    fn relevance(&self) -> Relevance {
        self.needs.relevance(!self.gateways.is_empty())
    }

    fn join(&mut self, placement: &Placement, member: ProxyId) -> Arc<Group> {
        if let Some(id) = self.by_placement.get(placement) {
            let slot = self.groups.get_mut(id).expect("every placement has its group");
            slot.members.insert(member);
            return slot.group.clone();
        }
        let id = number();
        let mut context = Context {
            snapshot: &self.snapshot,
            gateways: &self.gateways,
            shared: &mut self.shared,
        };
        let scopes: Vec<_> = placement
            .iter()
            .map(|key| (key.kind(), self.pool.join(key, id, &mut context)))
            .collect();
        let group = Arc::new(Group { id, moment: RwLock::new(self.moment(&scopes)) });
        let slot = GroupSlot {
            group: group.clone(),
            placement: placement.clone(),
            scopes,
            members: [member].into(),
        };
        self.groups.insert(id, slot);
        self.by_placement.insert(placement.clone(), id);
        group
    }

    fn leave(&mut self, placement: &Placement, member: ProxyId) {
        let Some(id) = self.by_placement.get(placement).copied() else { return };
        let Some(slot) = self.groups.get_mut(&id) else { return };
        slot.members.remove(&member);
        if !slot.members.is_empty() {
            return;
        }
        if let Some(slot) = self.groups.remove(&id) {
            self.by_placement.remove(&slot.placement);
            slot.scopes.iter().for_each(|(_, scope)| self.pool.leave(*scope, id));
        }
    }

    fn moment(&self, scopes: &[(Kind, ScopeId)]) -> Arc<Moment> {
        let mut views: [View; Kind::ALL.len()] = Default::default();
        for (kind, scope) in scopes {
            views[*kind as usize].add(self.pool.state(*scope).clone());
        }
        Arc::new(Moment::new(self.snapshot.generation(), views))
    }

    /// The moment after one from which only load assignments differ.
    fn moment_after(&self, before: &Moment, scopes: &[(Kind, ScopeId)]) -> Arc<Moment> {
        let mut assignments = View::default();
        for (_, scope) in scopes.iter().filter(|(kind, _)| *kind == Kind::LoadAssignment) {
            assignments.add(self.pool.state(*scope).clone());
        }
        Arc::new(before.with_assignments(self.snapshot.generation(), assignments))
    }
}

/// A number that nothing else in this process has, of whatever [`Scopes`](super::Scopes).
pub(super) fn number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Settings reach every resource, and gateways nearly every load assignment.
fn rebuilds_everything(changes: &Changes<'_>) -> bool {
    changes.set.mesh || changes.set.gateways
}
