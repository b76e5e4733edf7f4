#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use mainstem_model::RegistryId;
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value as Json, json};

use super::*;

struct Desk {
    book: Book,
    reader: Reader,
    now: Instant,
    /// All values that were said and not taken back.
    said: BTreeMap<Key, Value>,
}

fn by(name: &str) -> Owner {
    Owner::Registrant(name.into())
}

fn config() -> MemoryConfig {
    MemoryConfig { max_registrations: 3, ..MemoryConfig::new("vms") }
}

impl Desk {
    fn new() -> Self {
        let config = config();
        let around = config.around(&RegistryId::new("memory", "vms"));
        let mut book = Book::new(config, around);
        let (reader, none) = book.whole();
        assert!(none.is_empty());
        Self { book, reader, now: Instant::now(), said: BTreeMap::new() }
    }

    fn register_by(&mut self, body: &Json, by: &Owner) -> Result<Registered, Refused> {
        let registered = SystemTime::UNIX_EPOCH;
        let kept = Kept { owner: by.name().clone(), registered, body: body.to_string().into() };
        self.book.register(self.now, kept, by)
    }

    fn register(&mut self, body: &Json) -> Result<Registered, Refused> {
        self.register_by(body, &by("vms"))
    }

    fn heartbeat(&mut self, body: Json) -> Result<Registered, Refused> {
        let asked = serde_json::from_value(body).unwrap();
        self.book.heartbeat(self.now, &asked, &by("vms"))
    }

    fn deregister(&mut self, id: &str) -> Result<(), Refused> {
        let asked = Deregistration { id: id.parse().unwrap() };
        self.book.deregister(&asked, &by("vms"))
    }

    /// Lets time pass, and hears what changed: the keys.
    fn after(&mut self, seconds: u64) -> Vec<String> {
        self.now += Duration::from_secs(seconds);
        let changes = self.book.changes(self.reader, self.now).unwrap();
        let mut keys = Vec::new();
        for update in changes {
            match update {
                RegistryUpdate::Put(value) => {
                    keys.push(format!("+{}", shown(&value.key())));
                    self.said.insert(value.key(), value);
                }
                RegistryUpdate::Remove(key) => {
                    keys.push(format!("-{}", shown(&key)));
                    self.said.remove(&key);
                }
                other => panic!("a book says nothing like {other:?}"),
            }
        }
        keys
    }

    /// The endpoints of a host name: address, port, health, and whose they are.
    fn endpoints(&self, host: &str) -> Vec<String> {
        let sets = self.said.values().filter_map(|value| match value {
            Value::Endpoints(set) if set.service.hostname().as_str() == host => Some(set),
            _ => None,
        });
        let shown = |endpoint: &Arc<mainstem_model::Endpoint>| {
            let origin = endpoint.origins.iter().next().unwrap();
            format!(
                "{}:{} {:?} {}",
                endpoint.address, endpoint.target_port, endpoint.health, origin.origin.object.name
            )
        };
        sets.flat_map(|set| set.endpoints().iter().map(shown).collect::<Vec<_>>()).collect()
    }
}

fn shown(key: &Key) -> String {
    match key {
        Key::Service(key) => format!("service {}", key.hostname()),
        Key::Endpoints(key) => format!("endpoints {}", key.hostname()),
        Key::Workload(key) => format!("workload {}", key.name()),
        other => format!("{other:?}"),
    }
}

/// `id` brings an endpoint of web.
fn web(id: &str, address: &str) -> Json {
    json!({ "id": id, "services": [{
        "hostname": "web.shop.svc.cluster.local",
        "ports": [{ "number": 80, "name": "http", "targetPort": 8080 }],
        "endpoints": [{ "address": address }],
    }]})
}

const WEB: &str = "web.shop.svc.cluster.local";

#[test]
fn a_registration_is_healthy_by_heartbeats_lapses_without_and_goes_at_last() {
    let mut desk = Desk::new();
    let answer = desk.register(&web("vm-1", "10.0.0.1")).unwrap();
    assert_eq!(answer, Registered { id: "vm-1".parse().unwrap(), ttl: TimeSpan::from_secs(30) });
    assert_eq!(desk.after(0), [format!("+service {WEB}"), format!("+endpoints {WEB}")]);
    assert_eq!(desk.endpoints(WEB), ["10.0.0.1:8080 Healthy vm-1"]);
    assert_eq!(desk.after(29), Vec::<String>::new());
    desk.heartbeat(json!({ "id": "vm-1" })).unwrap();
    assert_eq!(desk.after(29), Vec::<String>::new());
    desk.after(1);
    assert_eq!(desk.endpoints(WEB), ["10.0.0.1:8080 Unhealthy vm-1"]);
    desk.heartbeat(json!({ "id": "vm-1" })).unwrap();
    desk.after(0);
    assert_eq!(desk.endpoints(WEB), ["10.0.0.1:8080 Healthy vm-1"]);
    desk.after(30);
    assert_eq!(desk.after(599), Vec::<String>::new());
    assert_eq!(desk.after(1), [format!("-service {WEB}"), format!("-endpoints {WEB}")]);
    let unknown = desk.heartbeat(json!({ "id": "vm-1" })).unwrap_err();
    assert_eq!(unknown, Refused::Unknown("vm-1".parse().unwrap()));
}

#[test]
fn after_a_long_sleep_of_the_process_what_is_due_twice_goes_at_once() {
    let mut desk = Desk::new();
    desk.register(&web("vm-1", "10.0.0.1")).unwrap();
    desk.after(0);
    assert_eq!(desk.after(3600), [format!("-service {WEB}"), format!("-endpoints {WEB}")]);
    assert_eq!(desk.book.next_due(), None);
}

#[test]
fn registrations_of_one_service_add_up_and_the_newest_says_what_it_is() {
    let mut desk = Desk::new();
    desk.register(&web("vm-1", "10.0.0.1")).unwrap();
    let mut newer = web("vm-2", "10.0.0.2");
    let admin = json!({ "number": 81, "name": "admin", "targetPort": 9000 });
    newer["services"][0]["ports"].as_array_mut().unwrap().push(admin);
    desk.register(&newer).unwrap();
    desk.after(0);
    let both =
        ["10.0.0.1:8080 Healthy vm-1", "10.0.0.2:8080 Healthy vm-2", "10.0.0.2:9000 Healthy vm-2"];
    assert_eq!(desk.endpoints(WEB), both);
    let ports = |desk: &Desk| match desk.said.values().next() {
        Some(Value::Service(service)) => service.ports.iter().map(|port| port.number).collect(),
        _ => Vec::new(),
    };
    assert_eq!(ports(&desk), [80, 81]);
    desk.deregister("vm-2").unwrap();
    desk.after(0);
    assert_eq!(desk.endpoints(WEB), ["10.0.0.1:8080 Healthy vm-1"]);
    assert_eq!(ports(&desk), [80]);
}

#[test]
fn of_two_registrations_of_one_endpoint_the_newer_has_it() {
    let mut desk = Desk::new();
    desk.register(&web("old-name", "10.0.0.1")).unwrap();
    desk.register(&web("new-name", "10.0.0.1")).unwrap();
    desk.after(0);
    assert_eq!(desk.endpoints(WEB), ["10.0.0.1:8080 Healthy new-name"]);
    desk.deregister("new-name").unwrap();
    desk.after(0);
    assert_eq!(desk.endpoints(WEB), ["10.0.0.1:8080 Healthy old-name"]);
}

#[test]
fn a_service_selects_workloads_that_others_register() {
    let mut desk = Desk::new();
    let service = json!({ "id": "team", "services": [{
        "hostname": WEB, "selector": { "app": "web" },
        "ports": [{ "number": 80, "name": "http", "targetPort": 8080 }],
    }]});
    desk.register(&service).unwrap();
    let workload = json!({ "id": "vm-1", "defaults": { "namespace": "shop" }, "workloads": [{
        "name": "vm-1", "addresses": ["10.0.0.1"], "labels": { "app": "web" },
    }]});
    desk.after(0);
    desk.register(&workload).unwrap();
    assert_eq!(desk.after(0), [format!("+endpoints {WEB}"), "+workload vm-1".to_owned()]);
    assert_eq!(desk.endpoints(WEB), ["10.0.0.1:8080 Healthy vm-1"]);
    desk.heartbeat(json!({ "id": "vm-1", "health": "draining" })).unwrap();
    desk.after(0);
    assert_eq!(desk.endpoints(WEB), ["10.0.0.1:8080 Draining vm-1"]);

    let mut other = workload.clone();
    other["id"] = json!("vm-2");
    let message = "vm-1 brings workload shop/vm-1 already: give this one another name";
    assert_eq!(desk.register(&other).unwrap_err(), Refused::Taken(message.to_owned()));
}

#[rstest]
#[case(json!({ "id": "a b" }), "the registration: \"a b\" cannot name a registration")]
#[case(json!({ "id": "a" }), "it brings neither services nor workloads")]
#[case(json!({ "id": "a", "ttl": "1ms" }), "`ttl` is 0.001s: write a length of time from 100ms to 24h")]
#[case(json!({ "id": "a", "ttl": "48h" }), "`ttl` is 172800s: write a length of time")]
#[case(json!({ "id": "a", "service": [] }), "the registration: unknown field `service`")]
#[case(
    json!({ "id": "a", "services": [{ "hostname": "x.y", "ports": [{ "number": 0 }],
            "endpoints": [{}] }], "workloads": [{ "name": "", "addresses": ["1.2.3"] }] }),
    "services[0]: ports[0].number: "
)]
fn what_is_wrong_is_refused_with_its_place_and_what_was_there_stays(
    #[case] body: Json,
    #[case] why: &str,
) {
    let mut desk = Desk::new();
    desk.register(&web("a", "10.0.0.1")).unwrap();
    desk.after(0);
    match desk.register(&body).unwrap_err() {
        Refused::Invalid(said) => assert!(said.starts_with(why), "{said}"),
        other => panic!("{other}"),
    }
    assert_eq!(desk.after(0), Vec::<String>::new());
    assert_eq!(desk.endpoints(WEB), ["10.0.0.1:8080 Healthy a"]);
}

#[test]
fn only_its_owner_and_operators_touch_a_registration() {
    let mut desk = Desk::new();
    desk.register(&web("vm-1", "10.0.0.1")).unwrap();
    let foreign = Refused::Foreign { id: "vm-1".parse().unwrap(), owner: "vms".into() };
    let body = web("vm-1", "6.6.6.6");
    assert_eq!(desk.register_by(&body, &by("other")).unwrap_err(), foreign);
    let asked = Deregistration { id: "vm-1".parse().unwrap() };
    assert_eq!(desk.book.deregister(&asked, &by("other")).unwrap_err(), foreign);
    let operator = Owner::Operator("admin".into());
    assert_eq!(desk.book.deregister(&asked, &operator), Ok(()));
}

#[test]
fn there_are_never_more_than_the_settings_allow() {
    let mut desk = Desk::new();
    for at in 1..=3 {
        desk.register(&web(&format!("vm-{at}"), "10.0.0.1")).unwrap();
    }
    assert_eq!(desk.register(&web("vm-4", "10.0.0.4")).unwrap_err(), Refused::Full(3));
    desk.register(&web("vm-3", "10.0.0.3")).unwrap();
}

#[test]
fn other_settings_are_applied_to_what_is_registered() {
    let mut desk = Desk::new();
    desk.register(&web("vm-1", "10.0.0.1")).unwrap();
    let config = MemoryConfig { network: "n2".into(), ..config() };
    let around = config.around(&RegistryId::new("memory", "vms"));
    desk.book.configure(config, around);
    let (reader, values) = desk.book.whole();
    let networks: Vec<_> = values
        .iter()
        .filter_map(|value| match value {
            Value::Endpoints(set) => Some(set.endpoints()[0].place.network.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(networks, ["n2"]);
    let told = |desk: &mut Desk, reader| desk.book.changes(reader, desk.now).map(|all| all.len());
    let before = desk.reader;
    assert_eq!(told(&mut desk, before), None, "the reader before is told no more");
    assert_eq!(told(&mut desk, reader), Some(0));
}

#[test]
fn what_is_kept_comes_back_with_its_owner_unless_it_is_there_again() {
    let mut desk = Desk::new();
    desk.register(&web("vm-1", "10.0.0.1")).unwrap();
    desk.register(&web("vm-2", "10.0.0.2")).unwrap();
    let kept = desk.book.kept();
    let mut later = Desk::new();
    later.register(&web("vm-1", "10.0.0.9")).unwrap();
    kept.into_iter().for_each(|kept| later.book.restore(later.now, kept).unwrap());
    later.after(0);
    assert_eq!(later.endpoints(WEB), ["10.0.0.2:8080 Healthy vm-2", "10.0.0.9:8080 Healthy vm-1"]);
    let owners: Vec<_> = later.book.list(later.now).into_iter().map(|l| l.owner).collect();
    assert_eq!(owners, ["vms".into(), "vms".into()] as [Arc<str>; 2]);
}

#[derive(Clone, Debug)]
enum Act {
    Register(u8, u8),
    Heartbeat(u8),
    Deregister(u8),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..4_u8, 0..4_u8).prop_map(|(id, address)| Act::Register(id, address)),
        (0..4_u8).prop_map(Act::Heartbeat),
        (0..4_u8).prop_map(Act::Deregister),
        (0..400_u64).prop_map(Act::Pass),
    ]
}

proptest! {
    #[test]
    fn changes_add_up_to_the_whole(acts in prop::collection::vec(act(), 1..60)) {
        let mut desk = Desk::new();
        for act in acts {
            // Refusals are part of it.
            let seconds = match act {
                Act::Register(id, address) => {
                    drop(desk.register(&web(&format!("vm-{id}"), &format!("10.0.0.{address}"))));
                    0
                }
                Act::Heartbeat(id) => {
                    drop(desk.heartbeat(json!({ "id": format!("vm-{id}") })));
                    0
                }
                Act::Deregister(id) => {
                    drop(desk.deregister(&format!("vm-{id}")));
                    0
                }
                Act::Pass(seconds) => seconds,
            };
            desk.after(seconds);
            let (reader, whole) = desk.book.whole();
            desk.reader = reader;
            let whole: BTreeMap<_, _> = whole.into_iter().map(|v| (v.key(), v)).collect();
            prop_assert_eq!(format!("{:?}", &desk.said), format!("{:?}", whole));
        }
    }
}
