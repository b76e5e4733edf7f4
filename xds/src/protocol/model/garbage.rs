//! Requests that no client in its right mind sends: nothing may panic, hang or grow.

use mainstem_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mainstem_proto::google::rpc::Status;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{TYPES, World, budget};
use crate::limits::Limits;
use crate::protocol::State;
use crate::protocol::harness::{Delta, Driven, Driver, Sotw};

const LIMITS: Limits = Limits {
    types: 6,
    names: 20,
    name_bytes: 200,
    request_bytes: 1 << 20,
    node_bytes: 1 << 20,
    response_bytes: 100,
    hold_back: std::time::Duration::from_secs(2),
};

fn type_url() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..TYPES.len()).prop_map(|of| TYPES[of].to_string()),
        1 => "[a-c]{0,2}",
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-e]",
        1 => Just("*".to_owned()),
        1 => "xdstp://x/t/[ab]?(/[a*])?(\\?[ab]=1(&[ab]=2)?)?",
        1 => "\\PC{0,4}",
    ]
}

/// A nonce that may be the latest one.
fn nonce() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 3 => (1u8..20).prop_map(|number| format!("7-{number:x}")), 1 => "\\PC{0,3}"]
}

fn error() -> impl Strategy<Value = Option<Status>> {
    option::weighted(
        0.3,
        "[a-e ]{0,4}".prop_map(|message| Status { code: 1, message, details: vec![] }),
    )
}

prop_compose! {
    fn delta_request()(
        type_url in type_url(),
        resource_names_subscribe in vec(name(), 0..4),
        resource_names_unsubscribe in vec(name(), 0..4),
        versions in vec((name(), "[0-9a-f]{0,3}"), 0..3),
        response_nonce in nonce(),
        error_detail in error(),
    ) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url,
            resource_names_subscribe,
            resource_names_unsubscribe,
            initial_resource_versions: versions.into_iter().collect(),
            response_nonce,
            error_detail,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn sotw_request()(
        type_url in type_url(),
        resource_names in vec(name(), 0..5),
        version_info in "[0-9a-f]{0,3}",
        response_nonce in nonce(),
        error_detail in error(),
    ) -> DiscoveryRequest {
        DiscoveryRequest { type_url, resource_names, version_info, response_nonce, error_detail, ..Default::default() }
    }
}

/// Encodings that were damaged: bytes changed, left out and put in.
fn damaged<R: prost::Message>(request: impl Strategy<Value = R>) -> impl Strategy<Value = Vec<u8>> {
    let damage = vec((any::<prop::sample::Index>(), 0..3u8, any::<u8>()), 0..4);
    (request, damage).prop_map(|(request, damage)| {
        let mut bytes = request.encode_to_vec();
        for (at, how, byte) in damage {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
            }
        }
        bytes
    })
}

/// Reads the bytes as a client's requests, as long as they can be read and are taken.
fn feed<R: Driven>(requests: Vec<Vec<u8>>)
where
    R::State: State<Request = R>,
{
    let world = World::new();
    world.change(0, 0, Some(2));
    let mut stream: Driver<R> = Driver::with(&world.source, &[], LIMITS);
    for bytes in requests {
        let Ok(request) = R::decode(&*bytes) else { return };
        if stream.try_send(request).is_err() {
            return;
        }
        assert!(stream.poll().len() <= LIMITS.types);
    }
}

fn changes() -> impl Strategy<Value = Vec<(usize, usize, Option<u8>)>> {
    vec((0..TYPES.len(), 0..5usize, option::of(0u8..4)), 0..3)
}

proptest! {
    #![proptest_config(budget())]

    #[test]
    fn no_delta_request_breaks_a_stream(requests in vec((delta_request(), changes()), 0..60)) {
        let world = World::new();
        let mut stream: Delta = Driver::with(&world.source, &[], LIMITS);
        for (request, changes) in requests {
            for (of, name, content) in changes {
                world.change(of, name, content);
            }
            if stream.try_send(request).is_err() {
                return Ok(());
            }
            prop_assert!(stream.poll().len() <= LIMITS.types);
            for type_url in &TYPES {
                prop_assert!(stream.state.pending(type_url) <= 64);
            }
        }
    }

    #[test]
    fn no_bytes_break_a_delta_stream(requests in vec(damaged(delta_request()), 0..10)) {
        feed::<DeltaDiscoveryRequest>(requests);
    }

    #[test]
    fn no_bytes_break_a_sotw_stream(requests in vec(damaged(sotw_request()), 0..10)) {
        feed::<DiscoveryRequest>(requests);
    }

    #[test]
    fn no_sotw_request_breaks_a_stream(requests in vec((sotw_request(), changes()), 0..60)) {
        let world = World::new();
        let mut stream: Sotw = Driver::with(&world.source, &[], LIMITS);
        for (request, changes) in requests {
            for (of, name, content) in changes {
                world.change(of, name, content);
            }
            if stream.try_send(request).is_err() {
                return Ok(());
            }
            prop_assert!(stream.poll().len() <= LIMITS.types);
        }
    }
}
