//! Merge policies as traffic shows them: one host name in Kubernetes and in
//! Consul, and who answers.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Mainstem, Sidecar, Workload, World, throughout};
use mainstem_test_support::{Kubernetes, Scratch, TIMEOUT, eventually};
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};

/// `orders` with one workload in Kubernetes and two in Consul, and a client.
struct Orders {
    world: World,
    mainstem: Mainstem,
    client: Sidecar,
    host: String,
    pod: Workload,
    machines: [Workload; 2],
}

impl Orders {
    async fn shared_by(sharing: Value) -> Self {
        let world = World::new(Kubernetes::shared().await).await;
        let pod = world.workload("pod-1");
        let machines = ["vm-1", "vm-2"].map(|name| world.workload(name));
        world.put_service("orders").await;
        world.put_slice("orders", &[(&pod, true)]).await;
        for machine in &machines {
            world.register("orders", machine).await;
        }
        let host = world.host("orders");
        let settings = policies(&host, &sharing);
        let gateway = world.network.gateway();
        let mainstem = Mainstem::launch_with(gateway, &registries(&world), settings).await;
        mainstem.ready().await;
        let client = world.client(&mainstem, "--delta").await;
        Self { world, mainstem, client, host, pod, machines }
    }

    fn share(&self, sharing: &Value) {
        self.mainstem.configure_with(&registries(&self.world), policies(&self.host, sharing));
    }

    async fn until_answered_by(&self, names: &[&str]) {
        self.client.until_answered_by(&self.host, names).await;
    }
}

/// Consul may not join by itself: a policy that names it lets it.
fn registries(world: &World) -> [Value; 2] {
    let mut consul = world.consul_registry();
    consul["joins"] = json!([]);
    [world.kubernetes_registry(), consul]
}

fn policies(host: &str, sharing: &Value) -> Value {
    json!({ "policies": [{ "name": "orders", "hosts": [host], "sharing": sharing }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_exact_however_many_endpoints_each_registry_has() {
    let sharing = json!({ "weighted": { "kubernetes/home": 90, "consul/dc1": 10 } });
    let orders = Orders::shared_by(sharing).await;
    orders.until_answered_by(&["pod-1", "vm-1", "vm-2"]).await;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for answer in orders.client.answers(&orders.host, 10_000).await {
        *counts.entry(answer).or_default() += 1;
    }
    let percent = |name: &str| counts.get(name).map_or(0.0, |count| *count as f64 / 100.0);
    assert!((percent("pod-1") - 90.0).abs() <= 2.0, "{counts:?}");
    assert!((percent("vm-1") + percent("vm-2") - 10.0).abs() <= 2.0, "{counts:?}");
    // Half of the machines carry all of their share.
    orders.world.set_check(&orders.machines[0], "critical").await;
    orders.until_answered_by(&["pod-1", "vm-2"]).await;
    orders.client.until_share(&orders.host, "vm-2", 0.08..0.12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_tier_takes_over_when_health_drops_and_gives_back() {
    let sharing = json!({ "failover": { "consul/dc1": 0, "kubernetes/home": 1 } });
    let orders = Orders::shared_by(sharing).await;
    orders.until_answered_by(&["vm-1", "vm-2"]).await;
    for machine in &orders.machines {
        orders.world.set_check(machine, "critical").await;
    }
    orders.until_answered_by(&["pod-1"]).await;
    for machine in &orders.machines {
        orders.world.set_check(machine, "passing").await;
    }
    orders.until_answered_by(&["vm-1", "vm-2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_changes_while_proxies_are_served_and_a_bad_one_changes_nothing() {
    let orders = Orders::shared_by(json!({ "prefer": ["kubernetes/home", "consul/dc1"] })).await;
    orders.until_answered_by(&["pod-1"]).await;
    orders.share(&json!({ "isolate": { "registries": ["consul/dc1"] } }));
    orders.until_answered_by(&["vm-1", "vm-2"]).await;
    // The client is of the cluster `home`.
    orders.share(&json!({ "isolate": "ownCluster" }));
    orders.until_answered_by(&["pod-1"]).await;
    orders.share(&json!({ "weighted": { "kubernetes/home": 90, "consul/dc2": 10 } }));
    eventually("the bad policy is reported", TIMEOUT, async || {
        let metrics = orders.mainstem.metrics().await;
        let refused = metrics.lines().any(|line| line == "mainstem_configuration_refused 1.0");
        if refused { Ok(()) } else { Err(metrics) }
    })
    .await;
    assert_eq!(orders.client.answers(&orders.host, 20).await, vec!["pod-1"; 20]);
    orders.share(&json!("union"));
    orders.world.put_slice("orders", &[(&orders.pod, true)]).await;
    orders.until_answered_by(&["pod-1"]).await;
    assert_eq!(orders.client.refused().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_gives_what_its_rules_say_under_the_names_that_they_say() {
    let world = World::new(Kubernetes::shared().await).await;
    let (pod, machine, hidden) =
        (world.workload("pod-1"), world.workload("vm-1"), world.workload("hidden-1"));
    world.put_service("orders").await;
    world.put_slice("orders", &[(&pod, true)]).await;
    world.register("orders-vm", &machine).await;
    world.register("hidden", &hidden).await;
    let (host, native) = (world.host("orders"), "orders-vm.service.dc1.consul");
    let mut consul = world.consul_registry();
    consul["hostname"] = json!("{service}.service.{datacenter}.consul");
    consul["export"] = json!({
        "exclude": ["hidden.service.dc1.consul"],
        "aliases": { native: format!("{}/{host}", world.namespace) },
        "labels": { "set": { "source": "vm" } },
    });
    let registries = [world.kubernetes_registry(), consul.clone()];
    let mainstem = Mainstem::start(world.network.gateway(), &registries).await;
    let client = world.client(&mainstem, "--delta").await;
    client.until_answered_by(&host, &["pod-1", "vm-1"]).await;

    let services = mainstem.cli(&["services"]);
    let hosts = services.as_array().into_iter().flatten().map(|one| one["hostname"].clone());
    let of_consul: Vec<Value> =
        hosts.filter(|host| host.as_str().is_some_and(|host| host.ends_with(".consul"))).collect();
    assert_eq!(of_consul, [json!(null); 0], "one has another name, one is out");
    let endpoints = mainstem.cli(&["endpoints", &host]);
    let all = endpoints[0]["endpoints"].as_array().into_iter().flatten();
    let labels: Vec<&Value> = all
        .filter(|one| one["origins"][0]["registry"] == "consul/dc1")
        .map(|one| &one["labels"]["source"])
        .collect();
    assert_eq!(labels, [&json!("vm")]);

    // Both are explained, to the proxy that has one of them.
    let proxies = mainstem.cli(&["proxies"]);
    let proxy = proxies[0]["id"].as_str().expect("the client is connected").to_owned();
    let address = machine.host.ip().to_string();
    eventually("the machine is explained", TIMEOUT, async || {
        let told = mainstem.cli(&["explain", &host, &address, "--proxy", &proxy]);
        let steps = told["steps"].as_array().cloned().unwrap_or_default();
        let step = |name: &str| steps.iter().find(|step| step["name"] == name).cloned();
        let alias = format!("consul/dc1 gives {native} under this name, by an alias");
        let named = step("export").is_some_and(|step| step["because"] == alias);
        let acked = step("acked").is_some_and(|step| step["verdict"] == "passed");
        let carried = told["carriers"]["total"] == 1 && told["carriers"]["acked"] == 1;
        if named && acked && carried && told["outcome"]["verdict"] == "passed" {
            Ok(())
        } else {
            Err(told.to_string())
        }
    })
    .await;
    let hidden = ["hidden.service.dc1.consul", &hidden.host.ip().to_string()].map(str::to_owned);
    let why = mainstem.cli(&["why-not", &hidden[0], &hidden[1], "--proxy", &proxy]);
    let expected = json!({
        "verdict": "removed",
        "step": "export",
        "because": "consul/dc1 leaves hidden.service.dc1.consul out: exclude hidden.service.dc1.consul",
    });
    assert_eq!(why["outcome"], expected);

    // Without its rules it gives the machine under Consul's own name.
    consul["export"] = json!({});
    mainstem.configure(&[world.kubernetes_registry(), consul]);
    client.until_answered_by(&host, &["pod-1"]).await;
    assert_eq!(client.refused().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_drains_over_a_time_and_gets_its_traffic_back() {
    // Both on one tier: all three endpoints alike.
    let sharing = json!({ "failover": { "kubernetes/home": 0, "consul/dc1": 0 } });
    let orders = Orders::shared_by(sharing.clone()).await;
    orders.until_answered_by(&["pod-1", "vm-1", "vm-2"]).await;
    let keys = Scratch::new("keys");
    let token = keys.write("token", "a-token-of-enough-length\n");
    let admin = json!({
        "admin": { "tokenFile": token },
        "policies": [{ "name": "orders", "hosts": [orders.host], "sharing": sharing }],
    });
    orders.mainstem.configure_with(&registries(&orders.world), admin);
    let token = token.display().to_string();
    let say = |args: &[&str]| orders.mainstem.cli(&[args, &["--token-file", &token]].concat());
    eventually("the token counts", TIMEOUT, async || {
        let config = orders.mainstem.cli(&["config", "show"]);
        if config["admin"]["tokenFile"] == *token { Ok(()) } else { Err(config.to_string()) }
    })
    .await;
    // Three endpoints of one weight: Consul's two answer two thirds, less and less of it.
    say(&["drain", "consul/dc1", "--over", "12s"]);
    orders.client.until_share(&orders.host, "vm-1", 0.20..0.30).await;
    orders.client.until_share(&orders.host, "vm-1", 0.05..0.20).await;
    orders.until_answered_by(&["pod-1"]).await;
    say(&["undrain", "consul/dc1", "--over", "2s"]);
    orders.client.until_share(&orders.host, "vm-1", 0.28..0.40).await;
}

/// A FederationPolicy of the world's namespace.
fn object(world: &World, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "mainstem.io/v1alpha1", "kind": "FederationPolicy",
        "metadata": { "name": name, "namespace": world.namespace }, "spec": spec,
    })
}

/// What the object's status says of it, without times.
async fn verdict(world: &World, object: &Value) -> Option<(String, String)> {
    let status = world.kubernetes.get(object).await?["status"].clone();
    let condition = &status["conditions"][0];
    let text = |field: &str| condition[field].as_str().map(str::to_owned);
    (condition["observedGeneration"] == status["observedGeneration"])
        .then(|| Some((text("status")?, text("message")?)))?
}

#[tokio::test(flavor = "multi_thread")]
async fn federation_policies_in_kubernetes_are_followed_judged_and_kept_while_it_is_down() {
    let world = World::new(Kubernetes::start().await).await;
    let crd = std::process::Command::new(env!("CARGO_BIN_EXE_mainstem"))
        .args(["schema", "--crd"])
        .output()
        .expect("the binary under test starts");
    world.kubernetes.install_crds(&String::from_utf8_lossy(&crd.stdout)).await;
    root_namespace(&world).await;
    let (pod, machine) = (world.workload("pod-1"), world.workload("vm-1"));
    world.put_service("orders").await;
    world.put_slice("orders", &[(&pod, true)]).await;
    world.register("orders", &machine).await;
    let host = world.host("orders");
    let prefer = |registry: &str| json!({ "hosts": [host], "sharing": { "prefer": [registry] } });
    let first = object(&world, "orders", prefer("kubernetes/home"));
    world.kubernetes.apply(&first).await;

    let state = Scratch::new("state");
    let settings = json!({
        "policyObjects": { "registry": "kubernetes/home" },
        "state": { "directory": state.path() },
    });
    let registries = [world.kubernetes_registry(), world.consul_registry()];
    let mainstem = Mainstem::launch_with(world.network.gateway(), &registries, settings).await;
    mainstem.ready().await;
    let client = world.client(&mainstem, "--delta").await;
    client.until_answered_by(&host, &["pod-1"]).await;
    until_judged(&world, &first, "True", "").await;

    // A change of the object moves traffic; a bad one is told there and changes nothing.
    let second = object(&world, "orders", prefer("consul/dc1"));
    world.kubernetes.apply(&second).await;
    client.until_answered_by(&host, &["vm-1"]).await;
    let shares = json!({ "weighted": { "consul/dc1": 70 } });
    let typo = object(&world, "typo", json!({ "hosts": [7], "sharing": shares }));
    let refused = world.kubernetes.api(Method::POST, &collection(&world), Some(&typo)).await;
    let (status, answer) = refused.expect("the API server answers");
    assert_eq!(status.as_u16(), 422, "{answer}");
    assert!(answer["message"].as_str().is_some_and(|m| m.contains("spec.hosts[0]")), "{answer}");
    let bad = object(&world, "orders", json!({ "hosts": [host], "sharing": shares }));
    world.kubernetes.apply(&bad).await;
    let name = format!("{}/orders", world.namespace);
    let why = format!("the shares of policy {name} are 70 percent together; make them 100");
    until_judged(&world, &bad, "False", &format!("{why}\nIts last good version stays in force."))
        .await;
    client.until_answered_by(&host, &["vm-1"]).await;
    let listed = mainstem.cli(&["policies"]);
    assert_eq!(listed[0]["problems"], json!([why]), "{listed}");
    let metrics = mainstem.metrics().await;
    assert!(metrics.contains("\nmainstem_policies_refused 1.0\n"), "{metrics}");

    // What was there before is there after a start while the API server is down.
    world.kubernetes.apply(&first).await;
    client.until_answered_by(&host, &["pod-1"]).await;
    until_judged(&world, &first, "True", "").await;
    world.kubernetes.pause();
    mainstem.kill_and_start().await;
    mainstem.ready().await;
    let in_force = mainstem.cli(&["policies"]);
    assert_eq!((&in_force[0]["name"], &in_force[0]["inForce"]), (&json!(name), &json!(true)));
    client.until_answered_by(&host, &["pod-1"]).await;
    world.kubernetes.resume();

    world.kubernetes.delete(&first).await;
    client.until_answered_by(&host, &["pod-1", "vm-1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_an_event_about_the_service_by_one_of_two_replicas() {
    let world = World::new(Kubernetes::start().await).await;
    let (pod, machine) = (world.workload("pod-1"), world.workload("vm-1"));
    world.put_service("orders").await;
    world.put_slice("orders", &[(&pod, true)]).await;
    world.register("orders", &machine).await;
    root_namespace(&world).await;
    // Consul may not join.
    let registries = registries(&world);
    let settings = json!({ "conflictEvents": { "registry": "kubernetes/home" } });
    let gateway = world.network.gateway();
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let replica = Mainstem::launch_with(gateway, &registries, settings.clone()).await;
        replica.ready().await;
        replicas.push(replica);
    }
    // The API server writes Events about Services, too.
    let ours = |event: &Value| event["reportingController"] == "mainstem.io/federation";
    let events = async || {
        let all = world.kubernetes.list("events.k8s.io/v1", "Event", Some(&world.namespace)).await;
        let all = all["items"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(ours).collect::<Vec<_>>()
    };
    let found = eventually("the conflict is an Event", TIMEOUT, async || match events().await {
        found if found.is_empty() => Err("none"),
        found => Ok(found),
    })
    .await;
    let conflict = &replicas[0].cli(&["conflicts"])[0];
    let note = format!(
        "{}: kubernetes/home against consul/dc1: {}",
        world.host("orders"),
        conflict["detail"].as_str().unwrap()
    );
    let shown = |event: &Value| {
        let regarding = &event["regarding"];
        json!([event["type"], event["reason"], event["note"], regarding["kind"], regarding["name"]])
    };
    let expected = json!(["Warning", "UndeclaredJoinConflict", note, "Service", "orders"]);
    assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), [expected]);
    // The other replica has its turn, and writes nothing.
    throughout(Duration::from_secs(6), async || assert_eq!(events().await.len(), 1)).await;
}

/// The namespace of Leases.
async fn root_namespace(world: &World) {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "istio-system" },
    });
    world.kubernetes.apply(&namespace).await;
}

async fn until_judged(world: &World, object: &Value, status: &str, message: &str) {
    let expected = Some((status.to_owned(), message.to_owned()));
    eventually(&format!("the status says {expected:?}"), TIMEOUT, async || {
        let found = verdict(world, object).await;
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

fn collection(world: &World) -> String {
    format!("/apis/mainstem.io/v1alpha1/namespaces/{}/federationpolicies", world.namespace)
}
