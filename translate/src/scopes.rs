//! Scopes: who is told what, built once for all who are told the same.
//!
//! ```text
//!  proxy ─ placement ─▶ its scopes, one or two per type of resource
//!                          outbound clusters   namespace (one for all that see the same), network
//!                          inbound clusters    the ports of its workload
//!                          endpoints           the same; near ones also locality, node
//!                          …
//!  proxies in the same scopes ─▶ a group: one Moment for all of them
//!
//!  snapshot ─ update ─▶ each scope rebuilds what the changes touch ─▶ State′ (shares the rest)
//!                       each group whose scopes changed            ─▶ Moment′
//!                       proxies whose own workload changed         ─▶ another group
//! ```
//!
//! Invariants:
//! - A [`Moment`] is out of one snapshot, for all types.
//! - Equal resources are one value, in whatever scopes they are.
//! - A scope lives while a proxy is in it.
//! - After any sequence of updates every scope equals one built from scratch.

mod catalog;
mod catalogs;
mod clusters;
mod configs;
mod core;
mod domain;
mod endpoints;
mod entries;
mod grpc;
mod inbound;
mod listeners;
mod members;
mod memo;
mod ordered;
mod placement;
mod pool;
mod recipe;
mod routes;
mod seers;
mod state;
mod view;

use std::fmt;
use std::sync::{Arc, Weak};

use mainstem_model::{Conflict, Proxy, Snapshot};
use parking_lot::{Mutex, RwLock};

use self::catalog::Catalog;
use self::core::Core;
use self::placement::catalog_of;
pub use view::{Moment, View};

use crate::{Settings, visible};

type ProxyId = u64;
type GroupId = u64;

/// The scopes of all connected proxies, at the latest snapshot.
pub struct Scopes {
    inner: Arc<Inner>,
}

struct Inner {
    core: Mutex<Core>,
    /// Proxies that left while the lock was taken.
    gone: Mutex<Vec<ProxyId>>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Connected proxies.
    pub proxies: usize,
    /// Groups of proxies that are told the same.
    pub groups: usize,
    /// Scopes.
    pub scopes: usize,
    /// Distinct resources.
    pub resources: usize,
}

impl Scopes {
    /// No scopes yet, at `snapshot`.
    pub fn new(settings: Settings, snapshot: Arc<Snapshot>) -> Self {
        let core = Mutex::new(Core::new(settings, snapshot));
        Self { inner: Arc::new(Inner { core, gone: Mutex::default() }) }
    }

    /// A proxy connects. It is told things until the handle is dropped.
    pub fn attach(&self, proxy: Proxy) -> Arc<Attached> {
        let mut core = self.inner.core.lock();
        self.inner.bury(&mut core);
        core.attach(proxy, |id, proxy, group| {
            let inner = Arc::downgrade(&self.inner);
            Arc::new(Attached { id, proxy, group: RwLock::new(group), inner })
        })
    }

    /// Moves on to a newer snapshot. Returns the proxies that are told
    /// something else than before; an older snapshot changes nothing.
    pub fn update(&self, snapshot: &Arc<Snapshot>) -> Vec<Arc<Attached>> {
        let mut core = self.inner.core.lock();
        self.inner.bury(&mut core);
        core.update(snapshot)
    }

    /// The snapshot that everybody is told of.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.core.lock().snapshot().clone()
    }

    /// What services do not get from the proxy's point of view, since another one
    /// has it, in order. Looks at all that the proxy sees.
    pub fn clashes(&self, proxy: &Proxy) -> Vec<Conflict> {
        let (settings, snapshot) = {
            let core = self.inner.core.lock();
            (core.settings().clone(), core.snapshot().clone())
        };
        let Some(key) = catalog_of(proxy, &settings) else { return Vec::new() };
        let visible: Vec<_> =
            visible::all(&snapshot, &proxy.namespace).into_iter().cloned().collect();
        Catalog::new(key, &visible).clashes()
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        let mut core = self.inner.core.lock();
        self.inner.bury(&mut core);
        core.counts()
    }
}

impl Inner {
    fn bury(&self, core: &mut Core) {
        let gone = std::mem::take(&mut *self.gone.lock());
        for id in gone {
            core.detach(id);
        }
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scopes").finish_non_exhaustive()
    }
}

/// Proxies in the same scopes.
#[derive(Debug)]
struct Group {
    id: GroupId,
    moment: RwLock<Arc<Moment>>,
}

impl Group {
    fn moment(&self) -> Arc<Moment> {
        self.moment.read().clone()
    }

    fn set_moment(&self, moment: Arc<Moment>) {
        *self.moment.write() = moment;
    }
}

/// A connected proxy.
pub struct Attached {
    id: ProxyId,
    proxy: Arc<Proxy>,
    group: RwLock<Arc<Group>>,
    inner: Weak<Inner>,
}

impl Attached {
    /// A number that no other connection of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The proxy.
    pub fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// What the proxy is told now.
    pub fn moment(&self) -> Arc<Moment> {
        self.group.read().moment()
    }

    /// Proxies with the same number are told the same.
    pub fn group(&self) -> u64 {
        self.group.read().id
    }

    fn set_group(&self, group: Arc<Group>) {
        *self.group.write() = group;
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let Some(inner) = self.inner.upgrade() else { return };
        inner.gone.lock().push(self.id);
        // Whoever holds the lock may be the one who drops this; it is buried
        // next time then.
        if let Some(mut core) = inner.core.try_lock() {
            inner.bury(&mut core);
        }
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").field("id", &self.id).field("proxy", &self.proxy.id).finish()
    }
}
