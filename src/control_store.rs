//! Stores of the control state that several replicas share: ConfigMaps and Consul's
//! key-value store, as the aggregate wants them.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use mainstem_aggregate::{
    Answer, ControlStore, EntryName, FileStore, StoreError, Stored, StoredEntry, Write,
};
use mainstem_consul::kv::{self, Kv};
use mainstem_kubernetes::entries::{self, Entries};

use crate::config::{Config, StoreKind};

/// How many entries are written at the same time.
const AT_ONCE: usize = 16;

/// The store that a configuration names; none where control state ends with the process.
pub fn of(config: &Config) -> Option<Arc<dyn ControlStore>> {
    match config.control.store {
        StoreKind::File => {
            let directory = config.state.directory.as_ref()?;
            Some(Arc::new(FileStore::new(directory)))
        }
        StoreKind::Kubernetes => Some(Arc::new(ConfigMaps::new(config))),
        StoreKind::Consul => Some(Arc::new(Keys::new(config))),
    }
}

/// An entry's name, text and revision.
type Found = (String, String, String);

fn stored(found: impl IntoIterator<Item = Found>) -> Stored {
    let entries = found.into_iter().map(|(name, text, revision)| {
        let entry = StoredEntry { text: text.into(), revision: revision.into() };
        (EntryName::new(&name), entry)
    });
    Stored { entries: entries.collect::<BTreeMap<_, _>>() }
}

fn unreachable(
    attempt: &'static str,
    place: &str,
    source: impl Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Unreachable { attempt, place: place.to_owned(), source: source.into() }
}

/// Writes each by `one`, which says whether it stood as expected.
async fn each<F: Future<Output = Result<bool, StoreError>>>(
    writes: Vec<Write>,
    one: impl Fn(Write) -> F,
) -> Result<(), StoreError> {
    let written = writes.into_iter().map(|write| {
        let (name, written) = (write.name.clone(), one(write));
        async move { if written.await? { Ok(()) } else { Err(StoreError::Conflict(name)) } }
    });
    stream::iter(written).buffer_unordered(AT_ONCE).try_collect().await
}

/// One ConfigMap per entry.
struct ConfigMaps {
    entries: Entries,
    place: Arc<str>,
}

impl ConfigMaps {
    fn new(config: &Config) -> Self {
        let own = config.control.kubernetes.entries(&config.cluster);
        let namespace = own.namespace.as_deref().unwrap_or("the own namespace");
        let place = format!("ConfigMaps {}-… in {namespace}", own.name).into();
        Self { entries: Entries::new(own), place }
    }
}

impl ControlStore for ConfigMaps {
    fn place(&self) -> Arc<str> {
        self.place.clone()
    }

    fn most(&self) -> usize {
        entries::MOST
    }

    fn load(&self) -> Answer<'_, Stored> {
        Box::pin(async {
            let found = self.entries.load().await;
            let found = found.map_err(|error| unreachable("reading", &self.place, error))?;
            Ok(stored(found.into_iter().map(|one| (one.name, one.text, one.revision))))
        })
    }

    fn changed<'a>(&'a self, known: &'a Stored) -> Answer<'a, ()> {
        Box::pin(async move {
            let same = |name: &str, revision: Option<&str>| {
                let there = known.entries.get(&EntryName::new(name));
                there.map(|entry| &*entry.revision) == revision
            };
            let changed = self.entries.changed(same).await;
            changed.map_err(|error| unreachable("watching", &self.place, error))
        })
    }

    fn write(&self, writes: Vec<Write>) -> Answer<'_, ()> {
        Box::pin(each(writes, async |write| {
            let Write { name, text, expected } = write;
            let written = self.entries.write(name.as_str(), text, expected.as_deref()).await;
            written.map_err(|error| unreachable("writing", &self.place, error))
        }))
    }
}

/// One key per entry.
struct Keys {
    kv: Kv,
    place: Arc<str>,
}

impl Keys {
    fn new(config: &Config) -> Self {
        let own = &config.control.consul;
        let place = format!("keys below {} of Consul at {}", own.prefix, own.address).into();
        Self { kv: Kv::new(own.server(), &own.prefix), place }
    }
}

impl ControlStore for Keys {
    fn place(&self) -> Arc<str> {
        self.place.clone()
    }

    fn most(&self) -> usize {
        kv::MOST
    }

    fn load(&self) -> Answer<'_, Stored> {
        Box::pin(async {
            let found = self.kv.load().await;
            let found = found.map_err(|error| unreachable("reading", &self.place, error))?;
            Ok(stored(found.into_iter().map(|one| (one.name, one.text, one.revision))))
        })
    }

    fn changed<'a>(&'a self, known: &'a Stored) -> Answer<'a, ()> {
        Box::pin(async move {
            let same = |found: &[kv::Entry]| {
                found.len() == known.entries.len()
                    && found.iter().all(|one| {
                        let there = known.entries.get(&EntryName::new(&one.name));
                        there.is_some_and(|entry| *entry.revision == *one.revision)
                    })
            };
            let changed = self.kv.changed(same).await;
            changed.map_err(|error| unreachable("watching", &self.place, error))
        })
    }

    fn write(&self, writes: Vec<Write>) -> Answer<'_, ()> {
        Box::pin(each(writes, async |write| {
            let Write { name, text, expected } = write;
            let written = self.kv.write(name.as_str(), text, expected.as_deref()).await;
            written.map_err(|error| unreachable("writing", &self.place, error))
        }))
    }
}
