//! A random state-of-the-world client.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use mainstem_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use mainstem_proto::google::rpc::Status;
use proptest::prelude::*;

use super::order::{Accepted, Order, Told};
use super::{NAMES, Step, TYPES, World, budget, is_bad, limits, steps};
use crate::protocol::Verdict;
use crate::protocol::harness::Sotw;
use crate::protocol::order::complete_in_sotw;

/// What the client knows of one type.
#[derive(Debug, Default)]
struct OfType {
    asked: bool,
    wildcard: bool,
    names: BTreeSet<&'static str>,
    held: BTreeMap<String, String>,
    unread: VecDeque<DiscoveryResponse>,
    nonce: String,
    version: String,
    old_nonce: String,
    /// Asked for more while a response was unread, which the server does not heed.
    unheard: bool,
}

struct ModelClient {
    world: World,
    stream: Sotw,
    types: Vec<OfType>,
    /// Checked of a stream that lets changes wait as long as it takes.
    order: Option<Order>,
}

impl OfType {
    fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn request(&self, of: usize) -> DiscoveryRequest {
        let star = self.wildcard.then_some("*");
        DiscoveryRequest {
            type_url: TYPES[of].to_string(),
            resource_names: self.names.iter().copied().chain(star).map(Into::into).collect(),
            response_nonce: self.nonce.clone(),
            version_info: self.version.clone(),
            ..Default::default()
        }
    }

    fn told(&self, of: usize, response: &DiscoveryResponse) -> Told {
        let bodies = response.resources.iter().map(|any| String::from_utf8(any.value.to_vec()));
        let named = bodies.map(|body| {
            let body = body.unwrap();
            (body.split(':').next().unwrap().to_owned(), body)
        });
        let resources: BTreeMap<String, String> = named.collect();
        let gone = |name: &&String| !resources.contains_key(*name) && self.covers(name);
        let removed = match complete_in_sotw(&TYPES[of]) {
            true => self.held.keys().filter(gone).cloned().collect(),
            false => BTreeSet::new(),
        };
        Told { resources, removed }
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
            stream: Sotw::with(&world.source, &[], limits(patient)),
            types: TYPES.iter().map(|_| OfType::default()).collect(),
            order: patient.then(Order::default),
        }
    }

    fn send(&mut self, request: DiscoveryRequest) {
        self.stream.try_send(request).unwrap();
        self.turn();
    }

    fn asks(&mut self, of: usize, name: Option<usize>) {
        self.order.iter_mut().for_each(|order| order.asks(of, name));
    }

    fn check_order(&mut self, of: usize, response: &DiscoveryResponse) {
        let types = &self.types;
        let held = std::array::from_fn(|of| types[of].held.clone());
        let covers = |of: usize, name: &str| types[of].covers(name);
        let client = Accepted { held, covers: &covers, hears_of_removals: false };
        let told = types[of].told(of, response);
        if let Some(order) = &mut self.order {
            order.told(&self.world, of, &told, &client);
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
        state.asked = true;
        state.unheard |= !state.unread.is_empty();
        // What was accepted no longer stands for all that is asked for.
        state.version.clear();
        match name {
            Some(name) => {
                state.names.insert(NAMES[name]);
            }
            None => state.wildcard = true,
        }
        let request = state.request(of);
        self.send(request);
    }

    fn unsubscribe(&mut self, of: usize, name: Option<usize>) {
        let state = &mut self.types[of];
        // With a response unread the request would be stale and unheard; were
        // the name asked for again before the answer, the server could not
        // know that it was dropped. No client of this protocol may do that.
        if !state.asked || !state.unread.is_empty() {
            return;
        }
        state.version.clear();
        match name {
            Some(name) => {
                state.names.remove(NAMES[name]);
            }
            None => state.wildcard = false,
        }
        state.forget_uncovered();
        let request = state.request(of);
        self.send(request);
    }

    fn read(&mut self, of: usize, names_culprits: bool) -> bool {
        let state = &mut self.types[of];
        let Some(response) = state.unread.pop_front() else { return false };
        let told = state.told(of, &response);
        assert_eq!(told.resources.len(), response.resources.len(), "twice in a response");
        state.old_nonce = std::mem::replace(&mut state.nonce, response.nonce.clone());
        let bad = told.resources.iter().filter(|(_, body)| is_bad(body));
        let culprits: Vec<&str> = bad.map(|(name, _)| name.as_str()).collect();
        let mut error_detail = None;
        if culprits.is_empty() {
            state.version.clone_from(&response.version_info);
            if complete_in_sotw(&TYPES[of]) {
                state.held.clear();
            }
            state.held.extend(told.resources.clone());
            state.forget_uncovered();
            self.order.iter_mut().for_each(|order| order.accepts(&self.world, of, &told));
        } else {
            let message =
                if names_culprits { format!("bad: {}", culprits.join(", ")) } else { "no".into() };
            error_detail = Some(Status { code: 3, message, details: vec![] });
        }
        let request = DiscoveryRequest { error_detail, ..self.types[of].request(of) };
        let verdict = self.stream.try_send(request).unwrap();
        if let (Verdict::Nack(_, rejection), Some(order)) = (verdict, &mut self.order) {
            order.refuses(&self.world, of, &told, &rejection.culprits);
        }
        if std::mem::take(&mut self.types[of].unheard) {
            self.asks(of, None);
        }
        self.turn();
        true
    }

    fn stale(&mut self, of: usize) {
        let state = &self.types[of];
        if !state.old_nonce.is_empty() && state.unread.is_empty() {
            let request =
                DiscoveryRequest { response_nonce: state.old_nonce.clone(), ..state.request(of) };
            self.send(request);
        }
    }

    fn reconnect(&mut self) {
        let limits = limits(self.order.is_some());
        self.order.iter_mut().for_each(Order::reconnects);
        self.stream = Sotw::with(&self.world.source, &[], limits);
        for of in 0..TYPES.len() {
            let state = &mut self.types[of];
            state.unread.clear();
            state.nonce.clear();
            state.old_nonce.clear();
            if !state.asked || (!state.wildcard && state.names.is_empty()) {
                // Asking for nothing would be asking for everything.
                state.asked = false;
                continue;
            }
            let request = state.request(of);
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

proptest! {
    #![proptest_config(budget())]

    #[test]
    fn any_sotw_client_ends_with_what_the_source_has(steps in steps(), patient: bool) {
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
            let state = &client.types[of];
            world.check(type_url, |name| state.covers(name), &state.held, complete_in_sotw(type_url));
        }
        prop_assert!(client.stream.state.settled());
    }
}
