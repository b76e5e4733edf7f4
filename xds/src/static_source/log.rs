//! Which names changed since a reader last looked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::names::{Name, TypeUrl};
use crate::source::Changes;

/// Entries beyond which neighbours are merged, so that a reader which never
/// looks costs at most every name once.
const MERGE_AT: usize = 256;

/// Changes of the last generations, as far back as the slowest reader is.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    generation: u64,
    entries: VecDeque<Entry>,
    /// Where each reader is.
    readers: BTreeMap<u64, u64>,
    next_reader: u64,
}

/// Everything that changed after the previous entry, through `generation`.
#[derive(Debug, Clone)]
struct Entry {
    generation: u64,
    at: Instant,
    names: BTreeMap<TypeUrl, Arc<[Name]>>,
}

/// One who reads the log.
#[derive(Debug)]
pub(super) struct Reader(u64);

impl ChangeLog {
    /// Notes a change; returns its generation.
    pub(super) fn push(&mut self, names: BTreeMap<TypeUrl, Vec<Name>>, at: Instant) -> u64 {
        self.generation += 1;
        let sorted =
            |names: Vec<Name>| names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let names = names.into_iter().map(|(type_url, names)| (type_url, sorted(names))).collect();
        self.prune();
        self.entries.push_back(Entry { generation: self.generation, at, names });
        if self.entries.len() > MERGE_AT {
            self.merge();
        }
        self.generation
    }

    pub(super) fn join(&mut self) -> Reader {
        let reader = Reader(self.next_reader);
        self.next_reader += 1;
        self.readers.insert(reader.0, self.generation);
        reader
    }

    pub(super) fn leave(&mut self, reader: &Reader) {
        self.readers.remove(&reader.0);
        self.prune();
    }

    /// What changed since the reader's last call.
    pub(super) fn read(&mut self, reader: &Reader) -> Changes {
        let since = self.readers.insert(reader.0, self.generation).unwrap_or(self.generation);
        let first = self.entries.partition_point(|entry| entry.generation <= since);
        let new = self.entries.range(first..);
        let since = new.clone().next().map(|entry| entry.at);
        Changes { names: merged(new).into_iter().collect(), since }
    }

    fn prune(&mut self) {
        let slowest = self.readers.values().copied().min().unwrap_or(self.generation);
        while self.entries.front().is_some_and(|entry| entry.generation <= slowest) {
            self.entries.pop_front();
        }
    }

    /// Merges the older half into one entry: a reader somewhere within it is
    /// told more names than differ, and none too few.
    fn merge(&mut self) {
        let newer = self.entries.split_off(self.entries.len() / 2);
        if let (Some(first), Some(last)) = (self.entries.front(), self.entries.back()) {
            let entry = Entry {
                generation: last.generation,
                at: first.at,
                names: merged(self.entries.iter()),
            };
            self.entries = VecDeque::from([entry]);
        }
        self.entries.extend(newer);
    }
}

fn merged<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeMap<TypeUrl, Arc<[Name]>> {
    let mut all: BTreeMap<TypeUrl, Vec<&Arc<[Name]>>> = BTreeMap::new();
    for entry in entries {
        for (type_url, names) in &entry.names {
            all.entry(type_url.clone()).or_default().push(names);
        }
    }
    let union = |lists: Vec<&Arc<[Name]>>| match lists.as_slice() {
        [one] => (*one).clone(),
        many => {
            let names: BTreeSet<&Name> = many.iter().flat_map(|list| list.iter()).collect();
            names.into_iter().cloned().collect()
        }
    };
    all.into_iter().map(|(type_url, lists)| (type_url, union(lists))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_never_looks_costs_each_name_once() {
        let mut log = ChangeLog::default();
        let slow = log.join();
        for n in 0..10_000 {
            let names =
                BTreeMap::from([(TypeUrl::CLUSTER, vec![Name::from(format!("{}", n % 7))])]);
            log.push(names, Instant::now());
        }
        assert!(log.entries.len() <= MERGE_AT);
        let changes = log.read(&slow);
        assert_eq!(changes.names[0].1.len(), 7);
        log.push(BTreeMap::new(), Instant::now());
        assert_eq!(log.entries.len(), 1);
    }
}
