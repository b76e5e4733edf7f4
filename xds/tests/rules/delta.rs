//! Incremental streams.

use std::task::{Context, Poll};
use std::time::Duration;

use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mainstem_xds::{
    Changes, Client as Connected, Lookup, Refusal, Resource, ResourceFailure, ResourceSource,
    ResourceView, Server, ServerConfig, StaticSource, TypeUrl,
};
use pretty_assertions::assert_eq;

use crate::client::{CDS, Delta, EDS, VHDS, change, node, request, serve};
use crate::common::Running;

#[tokio::test]
async fn rule_03_types_are_independent_and_changes_without_an_ack_merge() {
    let running = serve(&CDS, &["a=1"]).await;
    change(&running.source, &EDS, &["e=1"]);
    let mut client = Delta::open(&running).await;
    client.ask(&CDS, &[]);
    assert_eq!(client.next().await, "CDS a=1");
    // Not accepted yet; other types flow all the same, this one's changes gather.
    assert_eq!(client.settle(&EDS, &["e"]).await, "EDS e=1");
    for body in ["2", "3", "4"] {
        change(&running.source, &CDS, &[&format!("a={body}"), &format!("b={body}")]);
    }
    change(&running.source, &EDS, &["e=2"]);
    assert_eq!(client.next().await, "EDS e=2");
    client.ack(&CDS);
    assert_eq!(client.next().await, "CDS a=4 b=4");
}

#[tokio::test]
async fn rule_04_every_response_has_a_nonce_of_its_own() {
    let running = serve(&CDS, &["a=0"]).await;
    let mut nonces = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let mut client = Delta::open(&running).await;
        client.settle(&CDS, &[]).await;
        nonces.insert(client.latest[&*CDS].nonce.clone());
        client.settle(&EDS, &["none"]).await;
        nonces.insert(client.latest[&*EDS].nonce.clone());
    }
    assert!(nonces.len() == 4 && !nonces.contains(""), "{nonces:?}");
}

#[tokio::test]
async fn rule_07_what_is_refused_is_not_sent_again_and_the_rest_is() {
    let running = serve(&CDS, &["a=1", "bad=1", "c=1"]).await;
    let mut client = Delta::open(&running).await;
    client.ask(&CDS, &[]);
    assert_eq!(client.next().await, "CDS a=1 bad=1 c=1");
    client.nack(&CDS, "bad: no such thing");
    assert_eq!(client.next().await, "CDS a=1 c=1");
    client.ack(&CDS);
    client.silent().await;
    change(&running.source, &CDS, &["d=1"]);
    assert_eq!(client.next().await, "CDS d=1");
    client.ack(&CDS);
    change(&running.source, &CDS, &["bad=2"]);
    assert_eq!(client.next().await, "CDS bad=2");
}

#[tokio::test]
async fn rule_15_subscriptions_add_up_and_the_first_without_any_is_for_everything() {
    let running = serve(&CDS, &["a=1", "b=1"]).await;
    let mut client = Delta::open(&running).await;
    assert_eq!(client.settle(&CDS, &[]).await, "CDS a=1 b=1");
    assert_eq!(client.settle(&CDS, &["a"]).await, "CDS a=1");
    change(&running.source, &CDS, &["c=1"]);
    assert_eq!(client.next().await, "CDS c=1");
    client.ack(&CDS);
    client.ask(&CDS, &["-*"]);
    client.silent().await;
    change(&running.source, &CDS, &["a=2", "c=2"]);
    assert_eq!(client.next().await, "CDS a=2");
}

#[tokio::test]
async fn rule_16_a_subscription_with_a_stale_nonce_or_without_one_counts() {
    let running = serve(&EDS, &["a=1", "b=1", "c=1"]).await;
    let mut client = Delta::open(&running).await;
    client.settle(&EDS, &["a"]).await;
    let stale = client.latest[&*EDS].nonce.clone();
    change(&running.source, &EDS, &["a=2"]);
    assert_eq!(client.next().await, "EDS a=2");
    client.send(DeltaDiscoveryRequest { response_nonce: stale, ..request(&EDS, &["b"]) });
    client.ask(&EDS, &["c"]);
    // One response at a time: the next goes out with the ACK of this one.
    client.ack(&EDS);
    assert_eq!(client.next().await, "EDS b=1 c=1");
}

#[tokio::test]
async fn rule_17_what_is_subscribed_is_sent_again_and_phantoms_are_ignored() {
    let running = serve(&EDS, &["a=1"]).await;
    let mut client = Delta::open(&running).await;
    assert_eq!(client.settle(&EDS, &["a"]).await, "EDS a=1");
    assert_eq!(client.settle(&EDS, &["a"]).await, "EDS a=1");
    client.ask(&EDS, &["-never"]);
    client.silent().await;
}

#[tokio::test]
async fn rule_18_an_absent_name_is_removed_and_watched() {
    let running = serve(&EDS, &[]).await;
    let mut client = Delta::open(&running).await;
    assert_eq!(client.settle(&EDS, &["a"]).await, "EDS -a");
    change(&running.source, &EDS, &["a=1"]);
    assert_eq!(client.next().await, "EDS a=1");
}

#[tokio::test]
async fn rule_19_unsubscribing_is_answered_only_beside_a_wildcard() {
    let running = serve(&CDS, &["a=1"]).await;
    change(&running.source, &EDS, &["a=1"]);
    let mut client = Delta::open(&running).await;
    client.settle(&EDS, &["a"]).await;
    client.ask(&EDS, &["-a"]);
    client.silent().await;
    client.settle(&CDS, &["*"]).await;
    client.settle(&CDS, &["a", "none"]).await;
    assert_eq!(client.settle(&CDS, &["-a"]).await, "CDS a=1");
    assert_eq!(client.settle(&CDS, &["-none"]).await, "CDS -none");
}

#[tokio::test]
async fn rule_20_after_a_reconnection_only_differences_are_sent() {
    let (one, two) = (serve(&CDS, &["a=1", "b=1", "c=1"]).await, serve(&CDS, &["a=1"]).await);
    change(&two.source, &CDS, &["b=2"]);
    let mut client = Delta::open(&one).await;
    client.settle(&CDS, &[]).await;
    let held = client.latest[&*CDS].resources.iter();
    let held = held.map(|one| (one.name.clone(), one.version.clone())).collect();
    let mut client = Delta::open(&two).await;
    client.send(DeltaDiscoveryRequest { initial_resource_versions: held, ..request(&CDS, &[]) });
    assert_eq!(client.next().await, "CDS b=2 -c");
}

#[tokio::test]
async fn rule_21_an_alias_is_answered_by_the_canonical_name() {
    let running = serve(&CDS, &[]).await;
    let host = Resource::new(&VHDS, "rc/host", "1".to_owned());
    running.source.set(host.with_aliases(["rc/alias".into()]));
    let mut client = Delta::open(&running).await;
    assert_eq!(client.settle(&VHDS, &["rc/alias"]).await, "VHDS rc/host@rc/alias=1");
    assert_eq!(client.settle(&VHDS, &["rc/none"]).await, "VHDS rc/none@rc/none?");
}

#[tokio::test]
async fn rule_22_what_is_asked_for_on_demand_is_answered_at_once_found_or_not() {
    let running = serve(&CDS, &["a=1", "b=1"]).await;
    let mut client = Delta::open(&running).await;
    client.ask(&CDS, &["a"]);
    assert_eq!(client.next().await, "CDS a=1");
    client.ack(&CDS);
    client.ask(&CDS, &["b", "none"]);
    assert_eq!(client.next().await, "CDS b=1 -none");
    client.ack(&CDS);
    change(&running.source, &CDS, &["none=1"]);
    assert_eq!(client.next().await, "CDS none=1");
}

#[tokio::test]
async fn rule_25_a_resource_with_a_time_to_live_is_confirmed_by_heartbeats() {
    let source = StaticSource::new();
    let ttl = Duration::from_millis(300);
    source.set(Resource::new(&CDS, "a", "1".to_owned()).with_ttl(ttl));
    let running = Running::start(source).await;
    let mut client = Delta::open(&running).await;
    client.node = Some(node(&["xds.config.supports-resource-ttl"]));
    assert_eq!(client.settle(&CDS, &[]).await, "CDS a=1");
    let sent = client.latest[&*CDS].resources[0].clone();
    assert_eq!(client.next().await, "CDS a?");
    let beat = &client.latest[&*CDS].resources[0];
    assert_eq!((&beat.version, &beat.ttl), (&sent.version, &sent.ttl));
    assert!(sent.ttl.is_some());
    let mut other = Delta::open(&running).await;
    other.settle(&CDS, &[]).await;
    assert_eq!(other.latest[&*CDS].resources[0].ttl, None);
}

#[tokio::test]
async fn rule_26_parameters_have_one_order_and_collections_list_their_members() {
    let running = serve(&CDS, &["xdstp://x/t/dir/one=1", "plain=1"]).await;
    running.source.set(Resource::new(&CDS, "xdstp://x/t/n?a=1&b=2", "1".to_owned()));
    let mut client = Delta::open(&running).await;
    let answer = client.settle(&CDS, &["xdstp://x/t/n?b=2&a=1"]).await;
    assert_eq!(answer, "CDS xdstp://x/t/n?a=1&b=2=1");
    assert_eq!(client.settle(&CDS, &["xdstp://x/t/dir/*"]).await, "CDS xdstp://x/t/dir/one=1");
    change(&running.source, &CDS, &["xdstp://x/t/dir/two=1", "plain=2"]);
    assert_eq!(client.next().await, "CDS xdstp://x/t/dir/two=1");
}

/// A source that shows nothing to anybody and says so.
struct Forbidden;

impl ResourceSource for Forbidden {
    fn connect(&self, _: &std::sync::Arc<Connected>) -> Result<Box<dyn ResourceView>, Refusal> {
        Ok(Box::new(Forbidden))
    }
}

impl ResourceView for Forbidden {
    fn poll_changed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn advance(&mut self) -> Changes {
        Changes::default()
    }

    fn get(&self, _: &TypeUrl, _: &str) -> Lookup {
        let code = tonic::Code::PermissionDenied;
        Lookup::Failed(ResourceFailure { code, message: "not yours".into() })
    }

    fn list(&self, _: &TypeUrl) -> Box<dyn Iterator<Item = std::sync::Arc<Resource>> + '_> {
        Box::new(std::iter::empty())
    }
}

#[tokio::test]
async fn rule_27_why_a_resource_cannot_be_given_is_told_once() {
    let server = Server::new(ServerConfig::default(), std::sync::Arc::new(Forbidden));
    let running = Running::serve(StaticSource::new(), server).await;
    let mut client = Delta::open(&running).await;
    assert_eq!(client.settle(&CDS, &["a"]).await, "CDS -a");
    let [error] = &client.latest[&*CDS].resource_errors[..] else { panic!("one error") };
    assert_eq!(error.resource_name.as_ref().unwrap().name, "a");
    let detail = error.error_detail.as_ref().unwrap();
    assert_eq!((detail.code, detail.message.as_str()), (7, "not yours"));
    client.ask(&EDS, &["b"]);
    assert_eq!(client.next().await, "EDS -b");
}
