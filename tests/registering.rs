//! What registers itself in a memory registry reaches Envoy's traffic, merged with what
//! other registries have, and outlives the control plane's process; what is silent leaves.

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::{Mainstem, Workload, World, throughout};
use mainstem_test_support::{
    HttpClient, Kubernetes, Process, Program, Scratch, TIMEOUT, eventually,
};
use pretty_assertions::assert_eq;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

const TOKEN: &str = "a-token-of-enough-length";
const OTHER: &str = "another-one-of-good-length";
const ADMIN: &str = "the-admin-token-of-operators";

/// The files of a memory registry and of those who register.
struct Desk {
    files: Scratch,
}

impl Desk {
    fn new() -> Self {
        let files = Scratch::new("desk");
        files.write("tokens", format!("team:{TOKEN}\nothers:{OTHER}\n"));
        files.write("team", format!("{TOKEN}\n"));
        files.write("admin", format!("{ADMIN}\n"));
        Self { files }
    }

    fn path(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// The registry `memory/vms`, which keeps its state if it shall.
    fn registry(&self, joins: &str, keeps: bool) -> Value {
        let mut registry = json!({
            "type": "memory", "cluster": "vms", "joins": [joins],
            "tokenFile": self.path("tokens"), "ttl": "1s", "removeAfter": "1s",
            // What is silent shall leave, without being held for a time.
            "guard": { "mode": "off" },
        });
        if keeps {
            registry["stateFile"] = json!(self.path("state.json"));
        }
        registry
    }

    fn settings(&self) -> Value {
        json!({ "admin": { "tokenFile": self.path("admin") } })
    }

    /// A machine that registers its workload and stays.
    fn machine(&self, mainstem: &Mainstem, host: &str, workload: &Workload) -> Process {
        let name = &workload.name;
        let document = registration(name, host, &workload.host.ip().to_string());
        let file = self.files.write(&format!("{name}.yaml"), document.to_string());
        let program = Program::new(env!("CARGO_BIN_EXE_mainstem"))
            .args(["register", "vms", "--keep", "--admin", &mainstem.admin().to_string()])
            .args(["--token-file", &self.path("team")])
            .arg(file);
        Process::spawn(name, program, self.files.path())
    }
}

/// `id` brings one endpoint of the host name.
fn registration(id: &str, host: &str, address: &str) -> Value {
    json!({ "id": id, "services": [{
        "hostname": host,
        "ports": [{ "number": 80, "name": "http", "targetPort": 8080 }],
        "endpoints": [{ "address": address }],
    }]})
}

/// `id state` of all that is registered.
fn registered(mainstem: &Mainstem) -> Vec<String> {
    let all = mainstem.cli(&["registrations", "memory/vms"]);
    let word = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let rows = all.as_array().into_iter().flatten();
    rows.map(|one| format!("{} {}", word(one, "id"), word(one, "state"))).collect()
}

/// Since when it is registered.
fn since(mainstem: &Mainstem, id: &str) -> Value {
    let all = mainstem.cli(&["registrations", "vms"]);
    let found = all.as_array().into_iter().flatten().find(|one| one["id"] == id);
    found.unwrap_or_else(|| panic!("{id} in {all}"))["registered"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_register_beside_kubernetes_and_leave_traffic_when_they_are_silent_or_say_so() {
    let world = World::new(Kubernetes::shared().await).await;
    let pod = world.workload("pod-1");
    let machines = ["vm-1", "vm-2", "vm-3"].map(|name| world.workload(name));
    world.put_service("orders").await;
    world.put_slice("orders", &[(&pod, true)]).await;
    let host = world.host("orders");
    let desk = Desk::new();
    let registries = [world.kubernetes_registry(), desk.registry(&world.pattern(), true)];
    let gateway = world.network.gateway();
    let mainstem = Mainstem::launch_with(gateway, &registries, desk.settings()).await;
    mainstem.ready().await;
    let client = world.client(&mainstem, "--delta").await;
    client.until_answered_by(&host, &["pod-1"]).await;

    let [one, two, three] = machines.each_ref().map(|vm| desk.machine(&mainstem, &host, vm));
    client.until_answered_by(&host, &["pod-1", "vm-1", "vm-2", "vm-3"]).await;
    let endpoints = mainstem.cli(&["endpoints", &host]);
    let origins = endpoints[0]["endpoints"].as_array().into_iter().flatten();
    let mut origins: Vec<_> = origins
        .map(|endpoint| {
            let origin = &endpoint["origins"][0];
            format!("{}: {}", origin["registry"], origin["name"]).replace('"', "")
        })
        .filter(|origin| !origin.starts_with("kubernetes"))
        .collect();
    origins.sort();
    assert_eq!(origins, ["memory/vms: vm-1", "memory/vms: vm-2", "memory/vms: vm-3"]);

    // One falls silent, one says that it goes.
    one.kill9();
    client.until_answered_by(&host, &["pod-1", "vm-2", "vm-3"]).await;
    two.terminate();
    client.until_answered_by(&host, &["pod-1", "vm-3"]).await;
    assert!(two.wait_exit(TIMEOUT).await.success());
    eventually("the silent one is removed", TIMEOUT, async || match registered(&mainstem) {
        all if all == ["vm-3 live"] => Ok(()),
        all => Err(format!("{all:?}")),
    })
    .await;

    // The process ends and comes back: the third never left.
    let before = since(&mainstem, "vm-3");
    mainstem.kill_and_start().await;
    mainstem.ready().await;
    assert_eq!(since(&mainstem, "vm-3"), before);
    client.until_answered_by(&host, &["pod-1", "vm-3"]).await;
    three.terminate();
    client.until_answered_by(&host, &["pod-1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_all_fall_silent_at_once_are_held_until_they_are_heard_again() {
    let world = World::new(Kubernetes::shared().await).await;
    let machines = ["vm-1", "vm-2", "vm-3", "vm-4"].map(|name| world.workload(name));
    let names = ["vm-1", "vm-2", "vm-3", "vm-4"];
    let host = world.host("orders");
    let desk = Desk::new();
    let mut registry = desk.registry("*", true);
    registry["guard"] = json!({ "window": "2s", "hold": "5m" });
    registry["removeAfter"] = json!("10m");
    let gateway = world.network.gateway();
    let mainstem = Mainstem::launch_with(gateway, &[registry], desk.settings()).await;
    mainstem.ready().await;
    let client = world.client(&mainstem, "--delta").await;
    let machines = machines.each_ref().map(|vm| desk.machine(&mainstem, &host, vm));
    client.until_answered_by(&host, &names).await;
    // What came within the window may go again: so long nobody is news any more.
    throughout(Duration::from_secs(3), async || {
        client.until_answered_by(&host, &names).await;
    })
    .await;
    machines.iter().for_each(Process::pause);
    eventually("all of them are held", TIMEOUT, async || {
        let registry = mainstem.registry("memory/vms");
        let lapsed = registered(&mainstem) == names.map(|name| format!("{name} lapsed"));
        if lapsed && registry["held"] == 4 { Ok(()) } else { Err(registry.to_string()) }
    })
    .await;
    client.until_answered_by(&host, &names).await;
    machines.iter().for_each(Process::resume);
    eventually("nothing is held any more", TIMEOUT, async || {
        let registry = mainstem.registry("memory/vms");
        if registry["held"] == 0 { Ok(()) } else { Err(registry.to_string()) }
    })
    .await;
    assert_eq!(registered(&mainstem), names.map(|name| format!("{name} live")));
    client.until_answered_by(&host, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_forgot_is_told_again_by_the_next_heartbeat() {
    let world = World::new(Kubernetes::shared().await).await;
    let vm = world.workload("vm-1");
    let host = world.host("orders");
    let desk = Desk::new();
    let registries = [desk.registry("*", false)];
    let mainstem =
        Mainstem::launch_with(world.network.gateway(), &registries, desk.settings()).await;
    mainstem.ready().await;
    let client = world.client(&mainstem, "--delta").await;
    let machine = desk.machine(&mainstem, &host, &vm);
    client.until_answered_by(&host, &["vm-1"]).await;
    mainstem.kill_and_start().await;
    eventually("it is registered again", TIMEOUT, async || match registered(&mainstem) {
        all if all == ["vm-1 live"] => Ok(()),
        all => Err(format!("{all:?}: {}", machine.log())),
    })
    .await;
    assert!(machine.log().contains("registered again"), "{}", machine.log());
    client.until_answered_by(&host, &["vm-1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_up_before_the_control_plane_waits_for_it() {
    let world = World::new(Kubernetes::shared().await).await;
    let vm = world.workload("vm-1");
    let desk = Desk::new();
    let registries = [desk.registry("*", false)];
    let mainstem =
        Mainstem::launch_with(world.network.gateway(), &registries, desk.settings()).await;
    mainstem.process().kill9();
    let machine = desk.machine(&mainstem, &world.host("orders"), &vm);
    eventually("it says what it waits for", TIMEOUT, async || match machine.log() {
        log if log.contains("not registered yet: asking") => Ok(()),
        log => Err(log),
    })
    .await;
    mainstem.process().restart();
    mainstem.ready().await;
    eventually("it is registered", TIMEOUT, async || match registered(&mainstem) {
        all if all == ["vm-1 live"] => Ok(()),
        all => Err(format!("{all:?}: {}", machine.log())),
    })
    .await;
}

/// What the API answers to a request with a token.
async fn asked(mainstem: &Mainstem, path: &str, token: &str, body: &Value) -> (u16, Value) {
    let client = HttpClient::new(&format!("http://{}", mainstem.admin()));
    let request = client.request(Method::POST, &format!("/api/v1/memory/{path}"));
    let request = request.bearer_auth(token).body(body.to_string());
    let response = request.send().await.expect("the admin interface answers");
    let status = response.status().as_u16();
    let text = response.text().await.expect("an answer");
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}")))
}

#[rstest]
#[case(
    "vms/register",
    "wrong-but-long-enough",
    registration("new", "a.b", "10.0.0.1"),
    403,
    "the token presented is not a token of the registry or the admin token of this control \
     plane: is it in the file that `the registry's tokenFile or admin.tokenFile` names?"
)]
#[case(
    "vms/register",
    OTHER,
    registration("vm-1", "a.b", "10.0.0.1"),
    403,
    "vm-1 was registered with the token named team; nobody else changes it"
)]
#[case("vms/deregister", OTHER, json!({ "id": "vm-1" }), 403,
    "vm-1 was registered with the token named team; nobody else changes it")]
#[case("vms/heartbeat", TOKEN, json!({ "id": "vm-9" }), 404,
    "nothing is registered as vm-9: register it again, with all that belongs to it")]
#[case(
    "shop/register",
    ADMIN,
    registration("vm-1", "a.b", "10.0.0.1"),
    404,
    "there is no registry memory/shop; there are memory/vms"
)]
#[case(
    "vms/register",
    TOKEN,
    registration("vm-1", "a.b", "10.0.0.999"),
    400,
    "services[0]: endpoints[0].address: \"10.0.0.999\" is no IP address"
)]
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_registered_is_refused_and_changes_nothing(
    #[case] path: &str,
    #[case] token: &str,
    #[case] body: Value,
    #[case] status: u16,
    #[case] error: &str,
) {
    let desk = Desk::new();
    let registries = [desk.registry("*", false)];
    let mainstem = Mainstem::launch_with(Ipv4Addr::LOCALHOST, &registries, desk.settings()).await;
    mainstem.ready().await;
    let mut first = registration("vm-1", "orders.shop", "10.0.0.9");
    first["ttl"] = json!("1h");
    let answer = asked(&mainstem, "vms/register", TOKEN, &first).await;
    assert_eq!(answer, (200, json!({ "id": "vm-1", "ttl": "3600s" })));
    let before = eventually("it is in the snapshot", TIMEOUT, async || {
        let all = mainstem.cli(&["endpoints"]);
        if all[0]["endpoints"].is_array() { Ok(all) } else { Err(all.to_string()) }
    })
    .await;
    assert_eq!(asked(&mainstem, path, token, &body).await, (status, json!({ "error": error })));
    assert_eq!(registered(&mainstem), ["vm-1 live"]);
    assert_eq!(mainstem.cli(&["endpoints"]), before);
    // An operator may touch everything.
    let gone = asked(&mainstem, "vms/deregister", ADMIN, &json!({ "id": "vm-1" })).await;
    assert_eq!(gone, (200, json!({ "id": "vm-1" })));
}
