//! Where registrations are while adapters come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use mainstem_model::RegistryId;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{Deregistration, Heartbeat, Registered};
use crate::book::{Book, Kept, Listed, Owner, Refused};
use crate::config::MemoryConfig;

/// The stores of all memory registries of a process.
#[derive(Clone, Debug, Default)]
pub struct Stores(Arc<Mutex<BTreeMap<RegistryId, Arc<Store>>>>);

impl Stores {
    /// The store of the registry, made when it is first asked for.
    pub fn open(&self, registry: &RegistryId) -> Arc<Store> {
        let mut all = self.0.lock();
        all.entry(registry.clone()).or_insert_with(|| Arc::new(Store::new(registry))).clone()
    }
}

/// Both are the stores of one process.
impl PartialEq for Stores {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The registrations of one registry.
#[derive(Debug)]
pub struct Store {
    book: Mutex<Book>,
    /// Something is to be said, or due earlier than before.
    changed: watch::Sender<()>,
}

impl Store {
    fn new(registry: &RegistryId) -> Self {
        let config = MemoryConfig::new(registry.cluster());
        let around = config.around(registry);
        Self { book: Mutex::new(Book::new(config, around)), changed: watch::Sender::new(()) }
    }

    /// Registers what `body`, a [`Registration`](crate::Registration) as JSON, says, or
    /// replaces what was registered under its name. Proxies hear of it soon after.
    ///
    /// # Errors
    ///
    /// Why nothing is registered by it.
    pub fn register(&self, body: &str, by: &Owner) -> Result<Registered, Refused> {
        let (owner, registered) = (by.name().clone(), SystemTime::now());
        let kept = Kept { owner, registered, body: body.into() };
        self.change(|book, now| book.register(now, kept, by))
    }

    /// Notes that a registration is still there, and how it is.
    ///
    /// # Errors
    ///
    /// Why it is not noted; of what is not registered, it is to be registered again.
    pub fn heartbeat(&self, asked: &Heartbeat, by: &Owner) -> Result<Registered, Refused> {
        self.change(|book, now| book.heartbeat(now, asked, by))
    }

    /// Removes a registration.
    ///
    /// # Errors
    ///
    /// Why it is not removed.
    pub fn deregister(&self, asked: &Deregistration, by: &Owner) -> Result<(), Refused> {
        self.change(|book, _| book.deregister(asked, by))
    }

    /// All registrations, by name.
    pub fn list(&self) -> Vec<Listed> {
        self.book.lock().list(Instant::now())
    }

    /// Changes the book, and wakes who follows it.
    fn change<T>(&self, change: impl FnOnce(&mut Book, Instant) -> T) -> T {
        let result = change(&mut self.book.lock(), Instant::now());
        self.changed.send_replace(());
        result
    }

    /// The book, to look at or to change unseen.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }

    /// Hears of changes.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
