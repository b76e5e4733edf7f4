//! Random clients against a model of what they should end up with.
//!
//! Whatever a client does on the way, when both sides are quiet it holds what
//! the source has of its subscription, but for what it refuses. On the way
//! nothing breaks that was made, see [`order`].
#![allow(clippy::unwrap_used)]

mod delta;
mod garbage;
mod order;
mod sotw;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use crate::limits::Limits;

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

/// What happens to a client that has, to begin with, nothing or some of everything.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let begun = (0..TYPES.len()).flat_map(|of| {
        let content = Step::Change { of, name: of, content: Some(0) };
        [content, Step::Subscribe { of, name: None }, Step::Read { of, names_culprits: true }]
    });
    let begun = proptest::sample::select(vec![Vec::new(), begun.collect()]);
    let steps = proptest::collection::vec(step(), 0..120);
    (begun, steps).prop_map(|(begun, steps)| [begun, steps].concat())
}

/// Bounds that let changes wait as long as it takes, or not.
fn limits(patient: bool) -> Limits {
    let hold_back = if patient { Duration::MAX / 4 } else { Duration::from_secs(2) };
    Limits { hold_back, ..Limits::default() }
}

/// The source, and what the client must agree with.
///
/// Listeners and routes refer to some of the clusters that there are, and no
/// longer to one that goes: `name:good4>a>c`.
#[derive(Clone)]
struct World {
    source: StaticSource,
    content: Rc<RefCell<BTreeMap<(TypeUrl, &'static str), String>>>,
}

impl World {
    fn new() -> World {
        World { source: StaticSource::new(), content: Rc::default() }
    }

    fn content(&self, type_url: &TypeUrl, name: &str) -> Option<String> {
        let content = self.content.borrow();
        let found = content.iter().find(|((of, held), _)| of == type_url && *held == name);
        found.map(|(_, body)| body.clone())
    }

    fn change(&self, of: usize, name: usize, content: Option<u8>) {
        let (type_url, name) = (TYPES[of].clone(), NAMES[name]);
        let mut changes = Vec::new();
        match content {
            Some(content) => {
                let good = if content % 4 == 1 { "bad" } else { "good" };
                let references = self.some_clusters(&type_url, usize::from(content));
                changes.push((type_url, name, Some(format!("{name}:{good}{content}{references}"))));
            }
            None => {
                changes.extend(self.without_references(&type_url, name));
                changes.push((type_url, name, None));
            }
        }
        self.source.update(|batch| {
            for (type_url, name, body) in changes {
                let key = (type_url.clone(), name);
                match body {
                    Some(body) => {
                        batch.set(Resource::new(&type_url, name, body.clone()));
                        self.content.borrow_mut().insert(key, body);
                    }
                    None => {
                        batch.remove(&type_url, name);
                        self.content.borrow_mut().remove(&key);
                    }
                }
            }
        });
    }

    /// References from a listener or route to every other cluster.
    fn some_clusters(&self, type_url: &TypeUrl, content: usize) -> String {
        if !order::refers(type_url) {
            return String::new();
        }
        let chosen = NAMES.iter().enumerate().filter(|(at, _)| !(at + content).is_multiple_of(3));
        let there = chosen.filter(|(_, name)| self.content(&TypeUrl::CLUSTER, name).is_some());
        there.map(|(_, name)| format!(">{name}")).collect()
    }

    /// What refers to a cluster, as it is without the reference.
    fn without_references(
        &self,
        type_url: &TypeUrl,
        name: &str,
    ) -> Vec<(TypeUrl, &'static str, Option<String>)> {
        if *type_url != TypeUrl::CLUSTER {
            return Vec::new();
        }
        let content = self.content.borrow();
        let referring = content
            .iter()
            .filter(|((of, _), body)| order::refers(of) && order::references(body).contains(name));
        let reference = format!(">{name}");
        referring
            .map(|((of, name), body)| (of.clone(), *name, Some(body.replace(&reference, ""))))
            .collect()
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
        for name in NAMES.into_iter().filter(|name| covers(name)) {
            match self.content(type_url, name) {
                Some(body) if is_bad(&body) => {
                    assert_ne!(
                        held.get(name),
                        Some(&body),
                        "{type_url:?}: refused content is held"
                    );
                }
                Some(body) => assert_eq!(held.get(name), Some(&body), "{type_url:?}: {name}"),
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
