//! Random clients against a model of what they should end up with.
//!
//! Whatever a client does on the way, when both sides are quiet it holds what
//! the source has of its subscription, but for what it refuses.
#![allow(clippy::unwrap_used)]

mod delta;
mod garbage;
mod sotw;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::names::TypeUrl;
use crate::resource::Resource;
use crate::static_source::StaticSource;

const TYPES: [TypeUrl; 4] = [
    TypeUrl::CLUSTER,
    TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
    TypeUrl::LISTENER,
    TypeUrl::ROUTE_CONFIGURATION,
];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// The source gets other content; `None` removes, an odd number is bad.
    Change {
        of: usize,
        name: usize,
        content: Option<u8>,
    },
    /// The client changes what it asks for.
    Subscribe {
        of: usize,
        name: Option<usize>,
    },
    Unsubscribe {
        of: usize,
        name: Option<usize>,
    },
    /// The client reads and answers one response, if there is any.
    Read {
        of: usize,
        names_culprits: bool,
    },
    /// The client repeats an old answer.
    Stale {
        of: usize,
    },
    /// The client connects anew, with what it holds.
    Reconnect,
    /// The server gets a turn.
    Turn,
    /// Time passes.
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let of = 0..TYPES.len();
    let name = 0..NAMES.len();
    let maybe_name = proptest::option::weighted(0.8, 0..NAMES.len());
    prop_oneof![
        6 => (of.clone(), name, proptest::option::weighted(0.8, 0u8..12))
            .prop_map(|(of, name, content)| Step::Change { of, name, content }),
        3 => (of.clone(), maybe_name.clone()).prop_map(|(of, name)| Step::Subscribe { of, name }),
        2 => (of.clone(), maybe_name).prop_map(|(of, name)| Step::Unsubscribe { of, name }),
        8 => (of.clone(), any::<bool>()).prop_map(|(of, names_culprits)| Step::Read { of, names_culprits }),
        1 => of.prop_map(|of| Step::Stale { of }),
        1 => Just(Step::Reconnect),
        8 => Just(Step::Turn),
        1 => Just(Step::Wait),
    ]
}

/// 512 cases, or as many times that as `MAINSTEM_FUZZ` says.
pub(crate) fn budget() -> ProptestConfig {
    let times = std::env::var("MAINSTEM_FUZZ").ok().and_then(|text| text.parse::<u32>().ok());
    let cases = times.unwrap_or(1).saturating_mul(512);
    ProptestConfig { cases, ..ProptestConfig::default() }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 0..120)
}

/// The source, and what the client must agree with.
struct World {
    source: StaticSource,
    content: BTreeMap<(TypeUrl, &'static str), String>,
}

impl World {
    fn new() -> World {
        World { source: StaticSource::new(), content: BTreeMap::new() }
    }

    fn change(&mut self, of: usize, name: usize, content: Option<u8>) {
        let (type_url, name) = (TYPES[of].clone(), NAMES[name]);
        match content {
            Some(content) => {
                let good = if content % 4 == 1 { "bad" } else { "good" };
                let body = format!("{name}:{good}{content}");
                self.source.set(Resource::new(&type_url, name, body.clone()));
                self.content.insert((type_url, name), body);
            }
            None => {
                self.source.remove(&type_url, name);
                self.content.remove(&(type_url, name));
            }
        }
    }

    /// What a client of that subscription must hold, and what it must not:
    /// bad content is left to it.
    fn check(
        &self,
        type_url: &TypeUrl,
        covers: impl Fn(&str) -> bool,
        held: &BTreeMap<String, String>,
        deletes: bool,
    ) {
        let current =
            |name: &str| self.content.iter().find(|((of, n), _)| of == type_url && *n == name);
        for name in NAMES.into_iter().filter(|name| covers(name)) {
            match current(name) {
                Some((_, body)) if is_bad(body) => {
                    assert_ne!(held.get(name), Some(body), "{type_url:?}: refused content is held");
                }
                Some((_, body)) => assert_eq!(held.get(name), Some(body), "{type_url:?}: {name}"),
                None if deletes => {
                    assert_eq!(held.get(name), None, "{type_url:?}: {name} does not exist")
                }
                None => {}
            }
        }
        let strange: BTreeSet<_> = held.keys().filter(|name| !covers(name)).collect();
        assert_eq!(strange, BTreeSet::new(), "{type_url:?}: held without a subscription");
    }
}

fn is_bad(body: &str) -> bool {
    body.contains(":bad")
}
