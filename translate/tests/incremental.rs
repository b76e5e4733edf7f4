//! What is built change by change equals what is built from scratch.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::random::{Change, after, change, mesh, proxies};
use common::{Told, grpc, told};
use mainstem_model::{MeshSettings, Snapshot};
use mainstem_proto::envoy::config::route::v3::RouteConfiguration;
use mainstem_translate::{Attached, Kind, Moment, Scopes, Settings};
use proptest::prelude::*;
use prost::Message;

/// A client that holds what it was told, and learns only of what is reported.
struct Client {
    attached: Arc<Attached>,
    read: Arc<Moment>,
    holds: Told,
}

impl Client {
    fn new(attached: Arc<Attached>) -> Self {
        Self { read: attached.moment(), holds: told(&attached), attached }
    }

    fn follow(&mut self) {
        let now = self.attached.moment();
        for (kind, names) in now.changes_since(&self.read) {
            for name in &*names {
                let key = (kind, name.to_string());
                match now.view(kind).get(name) {
                    Some(resource) => {
                        let before = self.holds.insert(key, resource.body.to_bytes().to_vec());
                        assert_ne!(
                            before.as_deref(),
                            Some(&*resource.body.to_bytes()),
                            "{name} differs"
                        );
                    }
                    None => assert!(self.holds.remove(&key).is_some(), "{name} was held"),
                }
            }
        }
        self.read = now;
    }
}

fn versions(attached: &Attached) -> BTreeMap<Kind, u128> {
    let moment = attached.moment();
    Kind::ALL.into_iter().map(|kind| (kind, moment.view(kind).version())).collect()
}

fn assert_domains_are_unique(told: &Told) {
    for ((kind, name), body) in told {
        if *kind == Kind::Route {
            let routes = RouteConfiguration::decode(&body[..]).unwrap();
            let mut seen = BTreeSet::new();
            for virtual_host in &routes.virtual_hosts {
                assert!(!virtual_host.domains.is_empty(), "{name}: {}", virtual_host.name);
                for domain in &virtual_host.domains {
                    assert!(seen.insert(domain), "{name} has {domain} twice");
                }
            }
        }
    }
}

/// Bodies of two builds, as text where they differ.
fn assert_same(incremental: &Told, fresh: &Told) {
    for key in incremental.keys().chain(fresh.keys()) {
        let text = |told: &Told| {
            told.get(key).map(|body| {
                let message = key.0.type_url().rsplit('/').next().unwrap();
                mainstem_proto::reflect::encoded_to_json(message, body).unwrap()
            })
        };
        if incremental.get(key) != fresh.get(key) {
            panic!("{key:?}\nincremental: {:#?}\nfresh: {:#?}", text(incremental), text(fresh));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn after_any_changes_all_is_as_if_built_from_scratch(
        start in mesh(),
        steps in prop::collection::vec(
            (prop::collection::vec(change(), 1..4), prop::bool::weighted(0.8), 0_usize..16), 1..10,
        ),
    ) {
        let first = after(&Snapshot::new(MeshSettings::default()), start);
        let scopes = Scopes::new(Settings::default(), Arc::new(first.clone()));
        let mut clients: Vec<Client> =
            proxies().into_iter().map(|proxy| Client::new(scopes.attach(proxy))).collect();
        let mut snapshot = first;
        for (changes, seen, reconnects) in steps {
            snapshot = after(&snapshot, changes);
            if !seen {
                // Published and replaced before anybody looked.
                continue;
            }
            let current = Arc::new(snapshot.clone());
            let changed: BTreeSet<u64> =
                scopes.update(&current).iter().map(|attached| attached.id()).collect();
            for client in clients.iter_mut().filter(|c| changed.contains(&c.attached.id())) {
                client.follow();
            }
            if let Some(client) = clients.get_mut(reconnects) {
                *client = Client::new(scopes.attach((**client.attached.proxy()).clone()));
            }
            let scratch = Scopes::new(Settings::default(), current);
            for client in &clients {
                let fresh = scratch.attach((**client.attached.proxy()).clone());
                let expected = told(&fresh);
                assert_same(&client.holds, &expected);
                assert_same(&told(&client.attached), &expected);
                prop_assert_eq!(versions(&client.attached), versions(&fresh));
                assert_domains_are_unique(&expected);
                if client.attached.proxy().is_grpc() {
                    grpc::assert_accepted(&expected);
                }
            }
            prop_assert_eq!(scopes.counts().scopes, {
                let all: Vec<_> =
                    clients.iter().map(|c| scratch.attach((**c.attached.proxy()).clone())).collect();
                let scopes = scratch.counts().scopes;
                drop(all);
                scopes
            });
        }
        drop(clients);
        let counts = scopes.counts();
        prop_assert_eq!((counts.proxies, counts.groups, counts.scopes, counts.resources), (0, 0, 0, 0));
    }
}

#[test]
fn an_older_snapshot_changes_nothing() {
    let old = Arc::new(Snapshot::new(MeshSettings::default()));
    let new = Arc::new(after(&old, Vec::<Change>::new()));
    let scopes = Scopes::new(Settings::default(), new);
    assert!(scopes.update(&old).is_empty());
}
