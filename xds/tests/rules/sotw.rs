//! State of the world.

use std::time::Duration;

use mainstem_proto::envoy::service::discovery::v3::{DiscoveryRequest, Resource as Wrapped};
use mainstem_xds::{Resource, StaticSource, TypeUrl};
use pretty_assertions::assert_eq;
use prost::Message;

use crate::client::{CDS, EDS, LDS, RDS, Sotw, change, node, serve};
use crate::common::Running;

#[tokio::test]
async fn rule_01_the_node_of_the_first_request_is_remembered() {
    let running = serve(&CDS, &["a=1"]).await;
    let mut client = Sotw::open(&running).await;
    client.settle(&CDS, &[]).await;
    client.ask(&EDS, &["x"]);
    client.node = Some(node(&[]));
    client.ask(&LDS, &[]);
    assert_eq!(client.next().await, "LDS");
    assert_eq!(running.clients().of_node("n").len(), 1);
}

#[tokio::test]
async fn rule_05_the_server_names_itself_once() {
    let running = serve(&CDS, &["a=1"]).await;
    let mut client = Sotw::open(&running).await;
    client.settle(&CDS, &[]).await;
    assert_eq!(client.latest[&*CDS].control_plane.as_ref().unwrap().identifier, "mainstem");
    change(&running.source, &CDS, &["a=2"]);
    client.next().await;
    assert_eq!(client.latest[&*CDS].control_plane, None);
}

#[tokio::test]
async fn rule_06_a_version_is_of_the_content_on_every_stream_and_replica() {
    let (one, two) = (serve(&CDS, &["a=1", "b=1"]).await, serve(&CDS, &["b=0"]).await);
    change(&two.source, &CDS, &["b=1"]);
    change(&two.source, &CDS, &["a=1"]);
    let mut versions = Vec::new();
    for running in [&one, &one, &two] {
        let mut client = Sotw::open(running).await;
        client.settle(&CDS, &[]).await;
        versions.push(client.latest[&*CDS].version_info.clone());
        change(&running.source, &CDS, &["a=2"]);
        client.next().await;
        assert_ne!(client.latest[&*CDS].version_info, versions[0]);
        change(&running.source, &CDS, &["a=1"]);
    }
    assert_eq!(versions, vec![versions[0].clone(); 3]);
}

#[tokio::test]
async fn rule_07_what_is_refused_is_not_sent_again_and_the_rest_is() {
    let running = serve(&CDS, &["a=old", "b=1"]).await;
    let mut client = Sotw::open(&running).await;
    assert_eq!(client.settle(&CDS, &[]).await, "CDS old 1");
    change(&running.source, &CDS, &["a=bad", "b=2"]);
    assert_eq!(client.next().await, "CDS bad 2");
    client.nack(&CDS, &[], "a: bad");
    assert_eq!(client.next().await, "CDS old 2");
    client.ask(&CDS, &[]);
    client.silent().await;
    change(&running.source, &CDS, &["c=1"]);
    assert_eq!(client.next().await, "CDS old 2 1");
    let status = running.clients().list().remove(0);
    assert_eq!(status.types[0].nacked.as_ref().unwrap().rejection.message, "a: bad");
}

#[tokio::test]
async fn rule_08_neither_a_stale_nonce_nor_an_unchanged_ack_is_answered() {
    let running = serve(&EDS, &["a=1", "b=1"]).await;
    let mut client = Sotw::open(&running).await;
    assert_eq!(client.settle(&EDS, &["a"]).await, "EDS 1");
    client.silent().await;
    let stale = client.want(&EDS, &["a", "b"]);
    change(&running.source, &EDS, &["a=2"]);
    assert_eq!(client.next().await, "EDS 2");
    client.send(stale);
    client.silent().await;
    client.ask(&EDS, &["a", "b"]);
    assert_eq!(client.next().await, "EDS 1");
}

#[tokio::test]
async fn rule_09_a_new_name_is_sent_even_if_it_was_sent_before() {
    let running = serve(&EDS, &["a=1", "b=1"]).await;
    let mut client = Sotw::open(&running).await;
    client.settle(&EDS, &["a", "b"]).await;
    client.ask(&EDS, &["a"]);
    client.ask(&EDS, &["a", "b"]);
    assert_eq!(client.next().await, "EDS 1");
    assert_eq!(client.latest[&*EDS].resources.len(), 1);
}

#[tokio::test]
async fn rule_10_everything_is_a_star_or_nothing_at_first_and_nothing_later() {
    let running = serve(&CDS, &["a=1", "b=2"]).await;
    for names in [&[][..], &["*"]] {
        let mut client = Sotw::open(&running).await;
        assert_eq!(client.settle(&CDS, names).await, "CDS 1 2");
    }
    let mut client = Sotw::open(&running).await;
    assert_eq!(client.settle(&CDS, &["*", "a"]).await, "CDS 1 2");
    client.ask(&CDS, &["a"]);
    client.silent().await;
    // After a name, no name is nothing at all.
    client.ask(&CDS, &[]);
    client.silent().await;
    change(&running.source, &CDS, &["a=3", "b=3"]);
    client.silent().await;
}

#[tokio::test]
async fn rule_11_listeners_and_clusters_are_complete_and_others_partial() {
    let running = serve(&LDS, &["a=1", "b=1"]).await;
    change(&running.source, &RDS, &["a=1", "b=1"]);
    let mut client = Sotw::open(&running).await;
    client.settle(&LDS, &[]).await;
    client.settle(&RDS, &["a", "b"]).await;
    change(&running.source, &RDS, &["b=2", "-a"]);
    assert_eq!(client.next().await, "RDS 2");
    client.ask(&RDS, &["a", "b"]);
    change(&running.source, &LDS, &["b=2"]);
    assert_eq!(client.next().await, "LDS 1 2");
    client.ask(&LDS, &[]);
    change(&running.source, &LDS, &["-a", "-b"]);
    assert_eq!(client.next().await, "LDS");
}

#[tokio::test]
async fn rule_12_an_absent_name_is_sent_when_it_comes_to_exist() {
    let running = serve(&EDS, &[]).await;
    let mut client = Sotw::open(&running).await;
    client.ask(&EDS, &["a"]);
    client.silent().await;
    change(&running.source, &EDS, &["a=1"]);
    assert_eq!(client.next().await, "EDS 1");
}

#[tokio::test]
async fn rule_13_a_reconnection_spares_only_a_pure_wildcard_the_answer() {
    let replicas = [serve(&CDS, &["a=1"]).await, serve(&CDS, &["a=1"]).await];
    let mut first = Sotw::open(&replicas[0]).await;
    first.settle(&CDS, &[]).await;
    let version_info = first.latest[&*CDS].version_info.clone();
    for (names, answered) in [(&[][..], false), (&["*"], false), (&["a"], true)] {
        let mut client = Sotw::open(&replicas[1]).await;
        let request = client.want(&CDS, names);
        client.send(DiscoveryRequest { version_info: version_info.clone(), ..request });
        if answered {
            assert_eq!(client.next().await, "CDS 1");
        } else {
            client.silent().await;
            change(&replicas[1].source, &CDS, &["b=1"]);
            assert_eq!(client.next().await, "CDS 1 1");
            change(&replicas[1].source, &CDS, &["-b"]);
        }
    }
}

#[tokio::test]
async fn rule_14_no_name_comes_twice_in_a_response() {
    let running = serve(&CDS, &["a=1"]).await;
    change(&running.source, &EDS, &["a=1"]);
    let mut client = Sotw::open(&running).await;
    assert_eq!(client.settle(&CDS, &["*", "a", "a"]).await, "CDS 1");
    assert_eq!(client.settle(&EDS, &["a", "a"]).await, "EDS 1");
}

#[tokio::test]
async fn rule_25_a_time_to_live_is_wrapped_for_clients_that_know_it() {
    const FEATURES: [&str; 2] =
        ["xds.config.supports-resource-ttl", "xds.config.supports-resource-in-sotw"];
    let source = StaticSource::new();
    let ttl = Duration::from_millis(300);
    source.set(Resource::new(&EDS, "a", "1".to_owned()).with_ttl(ttl));
    let running = Running::start(source).await;
    let mut client = Sotw::open(&running).await;
    client.node = Some(node(&FEATURES));
    client.settle(&EDS, &["a"]).await;
    let wrapped = |client: &Sotw| {
        let any = &client.latest[&*EDS].resources[0];
        assert!(TypeUrl::from(any.type_url.as_str()).ends_with("discovery.v3.Resource"));
        Wrapped::decode(any.value.clone()).unwrap()
    };
    let sent = wrapped(&client);
    assert_eq!((sent.name.as_str(), sent.resource.is_some()), ("a", true));
    client.next().await;
    let beat = wrapped(&client);
    assert_eq!((beat.name.as_str(), beat.resource.is_some()), ("a", false));
    assert_eq!((beat.ttl, beat.version), (sent.ttl, sent.version));
}
