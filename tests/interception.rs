//! Two workloads on hosts of their own, one registered in Kubernetes and one in
//! Consul, call each other by cluster IP through their sidecars.

mod common;

use common::{Mainstem, Workload, World};
use mainstem_test_support::{Envoy, EnvoyOptions, Interception, Kubernetes, TIMEOUT, eventually};
use pretty_assertions::assert_eq;
use serde_json::json;

/// How a host hands its traffic to its sidecar.
#[derive(Clone, Copy)]
enum Mode {
    Redirect,
    Tproxy,
}

/// A sidecar beside `workload`, which intercepts all that the host sends and receives.
async fn intercept(
    mainstem: &Mainstem,
    world: &World,
    workload: &Workload,
    cluster: &str,
    mode: Mode,
) -> Envoy {
    let ip = workload.host.ip().to_string();
    let interception = match mode {
        Mode::Redirect => "redirect",
        Mode::Tproxy => "tproxy",
    };
    let bootstrap = mainstem.bootstrap(&[
        "--name",
        &workload.name,
        "--namespace",
        &world.namespace,
        "--cluster",
        cluster,
        "--ip",
        &ip,
        "--interception",
        interception,
        "--delta",
    ]);
    let (uid, gid) = match mode {
        Mode::Redirect => (Some(1337), None),
        // A transparent listener needs the rights of root.
        Mode::Tproxy => (None, Some(1337)),
    };
    let options =
        EnvoyOptions { namespace: Some(&workload.host), uid, gid, ..EnvoyOptions::default() };
    let envoy = Envoy::start_with(&bootstrap, options).await;
    envoy.ready().await;
    let admin = envoy.admin_url().rsplit(':').next().and_then(|port| port.parse().ok());
    let rules = Interception {
        excluded_ports: vec![admin.expect("an address with a port")],
        excluded_addresses: vec![world.network.gateway()],
        ..Interception::default()
    };
    match mode {
        Mode::Redirect => workload.host.redirect(&rules),
        Mode::Tproxy => workload.host.tproxy(&rules),
    }
    envoy
}

/// The pod behind the service `pod`: with its address, not yet ready.
async fn put_pod(world: &World, workload: &Workload) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": workload.name, "namespace": world.namespace, "labels": { "app": "pod" },
        },
        "spec": { "containers": [{
            "name": "app", "image": "app",
            "ports": [{ "name": "http", "containerPort": 8080 }],
        }]},
    });
    world.kubernetes.create(&pod).await;
    let ip = workload.host.ip();
    let status = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"],
        "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] },
    });
    world.kubernetes.patch_status(&status).await;
}

/// The address of a service in the Kubernetes cluster.
async fn cluster_ip(world: &World, service: &str) -> String {
    let object = world.kubernetes.get(&world.service(service)).await.expect("it was created");
    object["spec"]["clusterIP"].as_str().expect("the API server assigns one").to_owned()
}

async fn requests(envoy: &Envoy, cluster: &str) -> u64 {
    envoy.stat(&format!("cluster.{cluster}.upstream_rq_total")).await.unwrap_or_default()
}

async fn call_each_other(pod_mode: Mode, vm_mode: Mode) {
    let world = World::new(Kubernetes::shared().await).await;
    let (pod, vm) = (world.workload("pod-1"), world.workload("vm-1"));
    world.put_service("pod").await;
    world.put_service("vm").await;
    put_pod(&world, &pod).await;
    world.put_slice("pod", &[(&pod, true)]).await;
    world.register("vm", &vm).await;
    let mainstem = world.mainstem().await;
    let pod_sidecar = intercept(&mainstem, &world, &pod, "home", pod_mode).await;
    let vm_sidecar = intercept(&mainstem, &world, &vm, "dc1", vm_mode).await;

    for (from, service, to) in [(&pod, "vm", &vm), (&vm, "pod", &pod)] {
        let url = format!("http://{}:80/", cluster_ip(&world, service).await);
        let host = world.host(service);
        let answer = eventually(&format!("{} calls {service}", from.name), TIMEOUT, async || {
            let answer = from.host.get(&url, &[("host", &host)]).await?;
            if answer.status == 200 { Ok(answer) } else { Err(format!("{answer:?}")) }
        })
        .await;
        assert_eq!(answer.body, to.name);
    }

    // Each request went out through one sidecar and in through the other.
    for (name, service, from, to) in [
        ("pod calls vm", "vm", &pod_sidecar, &vm_sidecar),
        ("vm calls pod", "pod", &vm_sidecar, &pod_sidecar),
    ] {
        let outbound = format!("outbound|80||{}", world.host(service));
        assert!(requests(from, &outbound).await > 0, "{name}: outbound");
        assert!(requests(to, "inbound|8080||").await > 0, "{name}: inbound");
    }
    for envoy in [&pod_sidecar, &vm_sidecar] {
        let refused = envoy.stats("update_rejected$").await;
        assert_eq!(refused.values().sum::<u64>(), 0, "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirected_pod_and_a_transparent_vm_call_each_other() {
    call_each_other(Mode::Redirect, Mode::Tproxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transparent_pod_and_a_redirected_vm_call_each_other() {
    call_each_other(Mode::Tproxy, Mode::Redirect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_connects_before_its_pod_is_ready_gets_its_inbound_listeners() {
    let world = World::new(Kubernetes::shared().await).await;
    let pod = world.workload("pod-1");
    world.put_service("pod").await;
    put_pod(&world, &pod).await;
    world.put_slice("pod", &[(&pod, false)]).await;
    let mainstem = world.mainstem().await;

    let sidecar = intercept(&mainstem, &world, &pod, "home", Mode::Redirect).await;

    let cluster = eventually("the inbound cluster is there", TIMEOUT, async || {
        let clusters = sidecar.clusters().await;
        let statuses = clusters["cluster_statuses"].as_array().cloned().unwrap_or_default();
        let found = statuses.iter().any(|status| status["name"] == "inbound|8080||");
        if found { Ok(found) } else { Err("not yet") }
    })
    .await;
    assert!(cluster);
    let dump = sidecar.config_dump().await.to_string();
    assert!(dump.contains("virtualInbound") && dump.contains("inbound|8080||"));
}
