//! What a client may rely on while changes are on their way.
//!
//! - A listener or route that nobody asked for comes after the ACK of the
//!   clusters that it refers to, unless these are refused.
//! - A cluster goes after the ACK of what referred to it.
//! - What was refused does not come again before it changes, unless it is asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::{NAMES, TYPES, World, is_bad};
use crate::names::TypeUrl;

/// A type and a name.
type Key = (usize, String);

/// What the client did that concerns the order.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Names that it asked for and has accepted nothing about since.
    asked: BTreeSet<Key>,
    /// Those of them that were answered since, be it not accepted yet.
    answered: BTreeSet<Key>,
    /// Types of which it asked for everything and has not accepted all since.
    all: BTreeSet<usize>,
    /// By type, those of them that were asked for when the latest response told all
    /// that there is: who has accepted that waits for no other name.
    whole: BTreeMap<usize, BTreeSet<String>>,
    /// What it was sent last: the search for a culprit sends it again.
    sent: BTreeMap<Key, String>,
    /// What it refused, while that is what there is.
    refused: BTreeMap<Key, String>,
    /// Names of which it refused something since it last accepted one.
    spoiled: BTreeSet<Key>,
    /// Whether it has accepted clusters on this stream: until then nobody knows
    /// which it has.
    known: bool,
}

/// One response as a client sees it: names with their bodies, and those that go.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) resources: BTreeMap<String, String>,
    pub(super) removed: BTreeSet<String>,
}

/// What a client of all types has accepted, and asks for.
pub(super) struct Accepted<'a> {
    pub(super) held: [BTreeMap<String, String>; TYPES.len()],
    pub(super) covers: &'a dyn Fn(usize, &str) -> bool,
    /// Whether it hears of routes that are gone.
    pub(super) hears_of_removals: bool,
}

pub(super) fn refers(type_url: &TypeUrl) -> bool {
    matches!(*type_url, TypeUrl::LISTENER | TypeUrl::ROUTE_CONFIGURATION)
}

pub(super) fn references(body: &str) -> BTreeSet<&str> {
    body.split('>').skip(1).collect()
}

const CLUSTERS: usize = 0;

impl Order {
    /// The client asks for a name, or for everything.
    pub(super) fn asks(&mut self, of: usize, name: Option<usize>) {
        if name.is_none() {
            self.all.insert(of);
            self.whole.remove(&of);
        }
        let names = name.map_or(&NAMES[..], |name| &NAMES[name..=name]);
        for name in names {
            self.asked.insert((of, name.to_string()));
            self.answered.remove(&(of, name.to_string()));
            self.whole.entry(of).and_modify(|asked| drop(asked.take(*name)));
            self.refused.remove(&(of, name.to_string()));
        }
    }

    /// The client connects anew, and asks for all that it asked for.
    pub(super) fn reconnects(&mut self) {
        self.known = false;
        (0..TYPES.len()).for_each(|of| self.asks(of, None));
    }

    /// The source has something else, or the same again.
    pub(super) fn changes(&mut self, world: &World) {
        self.refused.retain(|(of, name), body| {
            world.content(&TYPES[*of], name).is_some_and(|is| is == *body)
        });
    }

    /// Checks a response against what came before it.
    pub(super) fn told(&mut self, world: &World, of: usize, told: &Told, client: &Accepted<'_>) {
        for (name, body) in &told.resources {
            let key = (of, name.clone());
            assert_ne!(self.refused.get(&key), Some(body), "{:?}: refused before", TYPES[of]);
            // Of a complete set, what the client has comes along.
            let sent = self.sent.insert(key.clone(), body.clone());
            let news = client.held[of].get(name) != Some(body) && sent.as_ref() != Some(body);
            if refers(&TYPES[of]) && news && !self.waits_for(&key) {
                self.check_references(world, of, body, client);
            }
        }
        if of == CLUSTERS {
            told.removed.iter().for_each(|name| self.check_removal(world, name, client));
        }
        let names = told.resources.keys().chain(&told.removed);
        self.answered.extend(names.map(|name| (of, name.clone())));
        self.note_whole(world, of, told);
    }

    /// Notes whether this is all that there is, and not a part of the search for a
    /// culprit.
    fn note_whole(&mut self, world: &World, of: usize, told: &Told) {
        let searching = self.spoiled.iter().any(|(spoiled, _)| *spoiled == of);
        let is_there = |name: &&&str| world.content(&TYPES[of], name).is_some();
        let mut there = NAMES.iter().filter(is_there);
        self.whole.remove(&of);
        if !searching && there.all(|name| told.resources.contains_key(*name)) {
            let asked = self.asked.iter().filter(|(asked, _)| *asked == of);
            self.whole.insert(of, asked.map(|(_, name)| name.clone()).collect());
        }
    }

    fn waits_for(&self, key: &Key) -> bool {
        self.all.contains(&key.0) || self.asked.contains(key)
    }

    fn check_references(&self, world: &World, of: usize, body: &str, client: &Accepted<'_>) {
        for cluster in references(body) {
            let wanted = (client.covers)(CLUSTERS, cluster);
            let bad = world.content(&TYPES[CLUSTERS], cluster).is_none_or(|is| is_bad(&is));
            let refused = bad || self.spoiled.contains(&(CLUSTERS, cluster.to_owned()));
            let accepted = client.held[CLUSTERS].contains_key(cluster);
            assert!(accepted || refused || !wanted, "{:?} {body} before {cluster}", TYPES[of]);
        }
    }

    fn check_removal(&self, world: &World, cluster: &str, client: &Accepted<'_>) {
        if !self.known || self.waits_for(&(CLUSTERS, cluster.to_owned())) {
            return;
        }
        for (of, held) in client.held.iter().enumerate() {
            for (name, body) in held.iter().filter(|(_, body)| references(body).contains(cluster)) {
                let unheard =
                    !client.hears_of_removals && world.content(&TYPES[of], name).is_none();
                let spoiled = self.spoiled.contains(&(of, name.clone()));
                assert!(unheard || spoiled, "{cluster} goes before {:?} {body}", TYPES[of]);
            }
        }
    }

    /// The client accepts a response.
    pub(super) fn accepts(&mut self, world: &World, of: usize, told: &Told) {
        self.known |= of == CLUSTERS;
        if let Some(asked) = self.whole.remove(&of) {
            self.all.remove(&of);
            self.asked.retain(|(asking, name)| *asking != of || !asked.contains(name));
        }
        for name in told.resources.keys().chain(&told.removed) {
            let key = (of, name.clone());
            if self.answered.remove(&key) {
                self.asked.remove(&key);
            }
            // Of a complete set, what stands in for something refused comes along.
            if world.content(&TYPES[of], name).as_ref() == told.resources.get(name) {
                self.spoiled.remove(&key);
            }
        }
    }

    /// The client refuses a response, in which `culprits` were found guilty.
    pub(super) fn refuses(
        &mut self,
        world: &World,
        of: usize,
        told: &Told,
        culprits: &[crate::Name],
    ) {
        self.whole.remove(&of);
        for name in told.resources.keys() {
            self.spoiled.insert((of, name.clone()));
        }
        for name in culprits {
            if self.answered.remove(&(of, name.to_string())) {
                self.asked.remove(&(of, name.to_string()));
            }
            if let Some(body) = told.resources.get(&**name) {
                self.refused.insert((of, name.to_string()), body.clone());
            }
        }
        self.changes(world);
    }
}
