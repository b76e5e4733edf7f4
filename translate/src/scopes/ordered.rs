//! A sorted map that is cheap to copy and cheap to change.

use std::iter::Peekable;
use std::sync::Arc;

use crate::Resource;

/// Most entries of a leaf. A change copies one leaf and the list of leaves:
/// both stay short up to hundreds of thousands of entries.
const LEAF: usize = 128;

type Leaf = Arc<Vec<Arc<Resource>>>;

/// Resources in order of their names. A clone copies a pointer, and shares all
/// leaves that neither side changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ordered {
    leaves: Arc<Vec<Leaf>>,
    len: usize,
}

impl Ordered {
    /// The resource of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        let leaf = self.leaves.get(self.leaf_of(name))?;
        let at = position(leaf, name).ok()?;
        Some(&leaf[at])
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All, in order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.leaves.iter().flat_map(|leaf| leaf.iter())
    }

    /// Puts a resource under its name; returns the one before.
    pub(crate) fn insert(&mut self, resource: Arc<Resource>) -> Option<Arc<Resource>> {
        let index = self.leaf_of(&resource.name);
        let leaves = Arc::make_mut(&mut self.leaves);
        if leaves.is_empty() {
            leaves.push(Leaf::default());
        }
        let leaf = Arc::make_mut(&mut leaves[index]);
        match position(leaf, &resource.name) {
            Ok(at) => return Some(std::mem::replace(&mut leaf[at], resource)),
            Err(at) => leaf.insert(at, resource),
        }
        self.len += 1;
        if leaf.len() > LEAF {
            let upper = leaf.split_off(leaf.len() / 2);
            leaves.insert(index + 1, Arc::new(upper));
        }
        None
    }

    /// Removes the resource of this name, and returns it.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Arc<Resource>> {
        let index = self.leaf_of(name);
        let at = position(self.leaves.get(index)?, name).ok()?;
        let leaves = Arc::make_mut(&mut self.leaves);
        let removed = Arc::make_mut(&mut leaves[index]).remove(at);
        self.len -= 1;
        let rest = leaves[index].len();
        let neighbour = leaves.get(index + 1).map(|next| next.len());
        if rest == 0 {
            leaves.remove(index);
        } else if neighbour.is_some_and(|next| rest + next <= LEAF / 2) {
            let next = leaves.remove(index + 1);
            Arc::make_mut(&mut leaves[index]).extend(next.iter().cloned());
        }
        Some(removed)
    }

    /// The names whose resources differ, in order. Leaves that both share cost
    /// one comparison.
    pub(crate) fn differences(&self, other: &Self) -> Vec<Arc<str>> {
        let (mut ours, mut theirs) = (Walk::of(self), Walk::of(other));
        let mut names = Vec::new();
        loop {
            if ours.skip_shared(&mut theirs) {
                continue;
            }
            match (ours.peek(), theirs.peek()) {
                (None, None) => return names,
                (Some(a), Some(b)) if a.name == b.name => {
                    if a.version != b.version {
                        names.push(a.name.clone());
                    }
                    ours.next();
                    theirs.next();
                }
                (Some(a), b) if b.is_none_or(|b| a.name < b.name) => {
                    names.push(a.name.clone());
                    ours.next();
                }
                (_, Some(b)) => {
                    names.push(b.name.clone());
                    theirs.next();
                }
                (Some(_), None) => unreachable!("the arm before takes what has no counterpart"),
            }
        }
    }

    fn leaf_of(&self, name: &str) -> usize {
        self.leaves.partition_point(|leaf| *leaf[0].name <= *name).saturating_sub(1)
    }
}

/// Of several resources with one name the last stays.
impl FromIterator<Arc<Resource>> for Ordered {
    fn from_iter<I: IntoIterator<Item = Arc<Resource>>>(resources: I) -> Self {
        let mut all: Vec<Arc<Resource>> = resources.into_iter().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|later, kept| {
            let same = later.name == kept.name;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        // Leaves with room: the next insertion need not split.
        let leaves = all.chunks(LEAF * 3 / 4).map(|chunk| Arc::new(chunk.to_vec()));
        Self { leaves: Arc::new(leaves.collect()), len: all.len() }
    }
}

fn position(leaf: &[Arc<Resource>], name: &str) -> Result<usize, usize> {
    leaf.binary_search_by(|resource| (*resource.name).cmp(name))
}

/// A walk over all entries that can skip a whole leaf.
struct Walk<'a> {
    leaves: Peekable<std::slice::Iter<'a, Leaf>>,
    at: usize,
}

impl<'a> Walk<'a> {
    fn of(map: &'a Ordered) -> Self {
        Self { leaves: map.leaves.iter().peekable(), at: 0 }
    }

    fn peek(&mut self) -> Option<&'a Arc<Resource>> {
        self.leaves.peek().map(|leaf| &leaf[self.at])
    }

    fn next(&mut self) {
        self.at += 1;
        if self.leaves.peek().is_some_and(|leaf| self.at == leaf.len()) {
            self.leaves.next();
            self.at = 0;
        }
    }

    /// Skips the leaf that both are about to begin, if it is the same.
    fn skip_shared(&mut self, other: &mut Self) -> bool {
        let (Some(ours), Some(theirs)) = (self.leaves.peek(), other.leaves.peek()) else {
            return false;
        };
        let shared = self.at == 0 && other.at == 0 && Arc::ptr_eq(ours, theirs);
        if shared {
            self.leaves.next();
            other.leaves.next();
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn resource(name: u16, content: u8) -> Arc<Resource> {
        Arc::new(Resource::new(Kind::Cluster, name.to_string(), vec![content]))
    }

    fn contents(map: &Ordered) -> Vec<(String, u8)> {
        map.iter().map(|r| (r.name.to_string(), r.body.to_bytes()[0])).collect()
    }

    proptest! {
        #[test]
        fn an_ordered_map_behaves_as_a_map_and_copies_do_not_change(
            start in prop::collection::btree_map(0u16..600, 0u8..3, 0..600),
            changes in prop::collection::vec((0u16..600, prop::option::of(0u8..3)), 0..600),
        ) {
            let mut model: BTreeMap<String, u8> =
                start.iter().map(|(k, v)| (k.to_string(), *v)).collect();
            let mut map: Ordered = start.iter().map(|(k, v)| resource(*k, *v)).collect();
            let (first_model, first) = (model.clone(), map.clone());
            for (name, content) in changes {
                let key = name.to_string();
                let (ours, theirs) = match content {
                    Some(content) => (map.insert(resource(name, content)), model.insert(key, content)),
                    None => (map.remove(&key), model.remove(&key)),
                };
                prop_assert_eq!(ours.map(|r| r.body.to_bytes()[0]), theirs);
                prop_assert_eq!(map.len(), model.len());
            }
            prop_assert_eq!(contents(&map), model.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(contents(&first), first_model.clone().into_iter().collect::<Vec<_>>());
            for name in 0u16..600 {
                let name = name.to_string();
                prop_assert_eq!(map.get(&name).map(|r| r.body.to_bytes()[0]), model.get(&name).copied());
            }
            let keys: std::collections::BTreeSet<_> = first_model.keys().chain(model.keys()).collect();
            let differing: Vec<_> =
                keys.into_iter().filter(|k| first_model.get(*k) != model.get(*k)).cloned().collect();
            let found: Vec<_> = map.differences(&first).iter().map(ToString::to_string).collect();
            prop_assert_eq!(found, differing);
        }
    }
}
