//! Everybody who is told anything, and what they were told, counted.

use std::collections::BTreeMap;

use mainstem_test_support::{Envoy, EnvoyOptions, NetNs, TIMEOUT, eventually};
use pretty_assertions::assert_eq;

use super::common::{Mainstem, World};

/// A sidecar and a router by delta, and the sidecar of a pod by SotW.
const PROXIES: [(&str, &[&str]); 3] = [
    ("client", &["--delta", "--interception", "none"]),
    ("orders-1", &["--sotw"]),
    ("gateway", &["--delta", "--type", "router"]),
];

/// What was sent so far.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    /// Responses to anybody, by type (`mainstem`'s own count).
    responses: BTreeMap<String, u64>,
    /// Resources by each proxy's statistic that counts them, in the order of the
    /// proxies.
    resources: Vec<BTreeMap<String, u64>>,
}

/// Connected proxies of several kinds, and what they are expected to have been sent.
pub struct Audience<'a> {
    mainstem: &'a Mainstem,
    proxies: Vec<(Envoy, NetNs)>,
    expected: Sent,
}

impl<'a> Audience<'a> {
    /// The proxies, connected, once each follows all of these clusters.
    pub async fn of(mainstem: &'a Mainstem, world: &World, pod: &NetNs, clusters: &[&str]) -> Self {
        let mut proxies = Vec::new();
        for (name, how) in PROXIES {
            let host = if name == "orders-1" { pod.clone() } else { world.network.host() };
            let ip = host.ip().to_string();
            let who = ["--name", name, "--namespace", &world.namespace, "--ip", &ip];
            let who = [&who[..], &["--locality", "eu/eu-1"]].concat();
            let bootstrap = mainstem.bootstrap(&[&who[..], how].concat());
            let options = EnvoyOptions { namespace: Some(&host), ..EnvoyOptions::default() };
            let envoy = Envoy::start_with(&bootstrap, options).await;
            envoy.ready().await;
            proxies.push((envoy, host));
        }
        let expected = Sent { responses: BTreeMap::new(), resources: Vec::new() };
        let mut audience = Self { mainstem, proxies, expected };
        audience.expected = audience.sent().await;
        for sent in &audience.expected.resources {
            for cluster in clusters {
                assert!(sent.contains_key(&statistic(cluster)), "{cluster} among {sent:?}");
            }
        }
        audience
    }

    /// Makes a write that changes nothing, and then one of the same kind that
    /// changes the load assignment of `cluster` and nothing else: when everybody
    /// has that, what came before it and was to be sent has been sent too.
    ///
    /// # Panics
    /// When anybody was sent anything else.
    pub async fn after(
        &mut self,
        what: &str,
        quiet: impl Future,
        loud: impl Future,
        cluster: &str,
    ) {
        quiet.await;
        loud.await;
        *self.expected.responses.entry("eds".to_owned()).or_default() += self.proxies.len() as u64;
        for sent in &mut self.expected.resources {
            *sent.entry(statistic(cluster)).or_default() += 1;
        }
        eventually(&format!("after {what}: {cluster} arrives"), TIMEOUT, async || {
            let sent = self.sent().await;
            let all = sent.resources.iter().zip(&self.expected.resources);
            let name = statistic(cluster);
            let late = all.filter(|(sent, expected)| sent.get(&name) < expected.get(&name));
            if late.count() == 0 { Ok(()) } else { Err(format!("{sent:?}")) }
        })
        .await;
        assert_eq!(self.sent().await, self.expected, "after {what}");
    }

    async fn sent(&self) -> Sent {
        let mut resources = Vec::new();
        for (envoy, _) in &self.proxies {
            resources.push(envoy.stats("\\.update_success$").await);
        }
        let metrics = self.mainstem.metrics().await;
        let responses = metrics.lines().filter_map(|line| {
            let (kind, count) =
                line.strip_prefix("pilot_xds_pushes{type=\"")?.split_once("\"} ")?;
            Some((kind.to_owned(), count.parse().ok()?))
        });
        Sent { responses: responses.collect(), resources }
    }
}

fn statistic(cluster: &str) -> String {
    format!("cluster.{cluster}.update_success")
}
