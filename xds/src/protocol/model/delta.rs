//! A random delta client.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use mainstem_proto::google::rpc::Status;
use proptest::prelude::*;

use super::order::{Accepted, Order, Told};
use super::{NAMES, Step, TYPES, World, budget, is_bad, limits, steps};
use crate::names::TypeUrl;
use crate::protocol::Verdict;
use crate::protocol::harness::{Delta, ask};

/// What the client knows of one type.
#[derive(Debug, Default)]
struct OfType {
    asked: bool,
    wildcard: bool,
    names: BTreeSet<&'static str>,
    /// Name to version and body.
    held: BTreeMap<String, (String, String)>,
    unread: VecDeque<DeltaDiscoveryResponse>,
    last_nonce: String,
}

struct ModelClient {
    world: World,
    stream: Delta,
    types: Vec<OfType>,
    /// Checked of a stream that lets changes wait as long as it takes.
    order: Option<Order>,
}

impl OfType {
    fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn forget_uncovered(&mut self) {
        let (wildcard, names) = (self.wildcard, &self.names);
        self.held.retain(|name, _| wildcard || names.contains(name.as_str()));
    }
}

impl ModelClient {
    fn new(world: &World, patient: bool) -> ModelClient {
        ModelClient {
            world: world.clone(),
            stream: Delta::with(&world.source, &[], limits(patient)),
            types: TYPES.iter().map(|_| OfType::default()).collect(),
            order: patient.then(Order::default),
        }
    }

    fn send(&mut self, request: DeltaDiscoveryRequest) {
        self.stream.try_send(request).unwrap();
        self.turn();
    }

    fn asks(&mut self, of: usize, name: Option<usize>) {
        self.order.iter_mut().for_each(|order| order.asks(of, name));
    }

    fn check_order(&mut self, of: usize, response: &DeltaDiscoveryResponse) {
        let types = &self.types;
        let held = std::array::from_fn(|of| {
            let held = types[of].held.iter();
            held.map(|(name, (_, body))| (name.clone(), body.clone())).collect()
        });
        let covers = |of: usize, name: &str| types[of].covers(name);
        let client = Accepted { held, covers: &covers, hears_of_removals: true };
        if let Some(order) = &mut self.order {
            order.told(&self.world, of, &told(response), &client);
        }
    }

    /// Lets the server send what it may.
    fn turn(&mut self) {
        self.stream.poll();
        for response in std::mem::take(&mut self.stream.responses) {
            let at = TYPES.iter().position(|of| **of == response.type_url).unwrap();
            self.check_order(at, &response);
            self.types[at].unread.push_back(response);
            assert_eq!(self.types[at].unread.len(), 1, "more than one response without an answer");
        }
    }

    fn subscribe(&mut self, of: usize, name: Option<usize>) {
        self.asks(of, name);
        let state = &mut self.types[of];
        let first = !std::mem::replace(&mut state.asked, true);
        let request = match name {
            Some(name) => {
                state.names.insert(NAMES[name]);
                ask(&TYPES[of], &[NAMES[name]])
            }
            None => {
                state.wildcard = true;
                ask(&TYPES[of], if first { &[] } else { &["*"] })
            }
        };
        self.send(request);
    }

    fn unsubscribe(&mut self, of: usize, name: Option<usize>) {
        let state = &mut self.types[of];
        if !state.asked {
            return;
        }
        // Beside a wildcard, unsubscribing asks whether the name exists.
        if let (Some(name), true, Some(order)) = (name, state.wildcard, &mut self.order) {
            order.asks(of, Some(name));
        }
        let name = match name {
            Some(name) => {
                state.names.remove(NAMES[name]);
                NAMES[name]
            }
            None => {
                state.wildcard = false;
                "*"
            }
        };
        state.forget_uncovered();
        self.send(ask(&TYPES[of], &[&format!("-{name}")]));
    }

    fn read(&mut self, of: usize, names_culprits: bool) -> bool {
        let state = &mut self.types[of];
        let Some(response) = state.unread.pop_front() else { return false };
        let told = told(&response);
        assert_eq!(told.resources.len(), response.resources.len(), "twice in a response");
        let bad = told.resources.iter().filter(|(_, body)| is_bad(body));
        let culprits: Vec<&str> = bad.map(|(name, _)| name.as_str()).collect();
        state.last_nonce.clone_from(&response.nonce);
        let mut answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        if culprits.is_empty() {
            for resource in &response.resources {
                let held = (resource.version.clone(), told.resources[&resource.name].clone());
                state.held.insert(resource.name.clone(), held);
            }
            // The subscription may have changed while the response was on its way.
            state.forget_uncovered();
            for name in &response.removed_resources {
                state.held.remove(name);
            }
            self.order.iter_mut().for_each(|order| order.accepts(&self.world, of, &told));
        } else {
            let message =
                if names_culprits { format!("bad: {}", culprits.join(", ")) } else { "no".into() };
            answer.error_detail = Some(Status { code: 3, message, details: vec![] });
        }
        let verdict = self.stream.try_send(answer).unwrap();
        if let (Verdict::Nack(_, rejection), Some(order)) = (verdict, &mut self.order) {
            order.refuses(&self.world, of, &told, &rejection.culprits);
        }
        self.turn();
        true
    }

    fn stale(&mut self, of: usize) {
        let nonce = self.types[of].last_nonce.clone();
        if !nonce.is_empty() && self.types[of].unread.is_empty() {
            let request = DeltaDiscoveryRequest { response_nonce: nonce, ..ask(&TYPES[of], &[]) };
            self.send(request);
        }
    }

    fn reconnect(&mut self) {
        let limits = limits(self.order.is_some());
        self.order.iter_mut().for_each(Order::reconnects);
        self.stream = Delta::with(&self.world.source, &[], limits);
        for (of, type_url) in TYPES.iter().enumerate() {
            let state = &mut self.types[of];
            state.unread.clear();
            state.last_nonce.clear();
            if !state.asked {
                continue;
            }
            if !state.wildcard && state.names.is_empty() {
                // Asking for nothing would be asking for everything.
                state.asked = false;
                continue;
            }
            let mut names: Vec<&str> = state.names.iter().copied().collect();
            if state.wildcard {
                names.push("*");
            }
            let versions = state
                .held
                .iter()
                .map(|(name, (version, _))| (name.clone(), version.clone()))
                .collect();
            let request = DeltaDiscoveryRequest {
                initial_resource_versions: versions,
                ..ask(type_url, &names)
            };
            self.send(request);
        }
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            let read = (0..TYPES.len()).any(|of| self.read(of, false));
            if !read {
                self.stream.now += Duration::from_secs(10);
                self.turn();
                if self.types.iter().all(|of_type| of_type.unread.is_empty()) {
                    return;
                }
            }
        }
        panic!("the stream does not come to rest");
    }
}

fn told(response: &DeltaDiscoveryResponse) -> Told {
    let resources = response.resources.iter().map(|resource| {
        let body = resource.resource.as_ref().unwrap().value.to_vec();
        (resource.name.clone(), String::from_utf8(body).unwrap())
    });
    Told {
        resources: resources.collect(),
        removed: response.removed_resources.iter().cloned().collect(),
    }
}

fn check(world: &World, client: &ModelClient, of: usize, type_url: &TypeUrl) {
    let state = &client.types[of];
    let held = state.held.iter().map(|(name, (_, body))| (name.clone(), body.clone())).collect();
    world.check(type_url, |name| state.covers(name), &held, true);
}

proptest! {
    #![proptest_config(budget())]

    #[test]
    fn any_delta_client_ends_with_what_the_source_has(steps in steps(), patient: bool) {
        let world = World::new();
        let mut client = ModelClient::new(&world, patient);
        for step in steps {
            match step {
                Step::Change { of, name, content } => {
                    world.change(of, name, content);
                    client.order.iter_mut().for_each(|order| order.changes(&world));
                }
                Step::Subscribe { of, name } => client.subscribe(of, name),
                Step::Unsubscribe { of, name } => client.unsubscribe(of, name),
                Step::Read { of, names_culprits } => { client.read(of, names_culprits); }
                Step::Stale { of } => client.stale(of),
                Step::Reconnect => client.reconnect(),
                Step::Turn => client.turn(),
                Step::Wait => client.stream.now += Duration::from_secs(1),
            }
        }
        client.settle();
        for (of, type_url) in TYPES.iter().enumerate() {
            check(&world, &client, of, type_url);
        }
        prop_assert!(client.stream.state.settled());
    }
}
