use pretty_assertions::assert_eq;
use serde_json::{Value as Json, json};

use super::*;

/// Answers in, updates out, written shortly.
struct Script {
    catalog: Catalog,
}

impl Script {
    fn new() -> Self {
        let config = ConsulConfig::new("vm");
        let mut catalog = Catalog::new(config, RegistryId::new("consul", "vm"));
        catalog.begin(Some("dc1".to_owned()));
        Self { catalog }
    }

    /// With the service `web`, one instance at `10.0.0.1`, complete and live.
    fn synced() -> Self {
        let mut script = Self::new();
        script.list(&["web"]);
        script.answer("web", &[("a", "10.0.0.1")]);
        script
    }

    fn list(&mut self, names: &[&str]) -> (Vec<String>, Vec<String>) {
        let (listed, updates) = self.catalog.listed(names.iter().copied(), |_| true);
        (listed.confirm.iter().map(ToString::to_string).collect(), written(updates))
    }

    fn answer(&mut self, name: &str, instances: &[(&str, &str)]) -> Vec<String> {
        written(self.catalog.answered(&name.into(), &raw(instances)))
    }

    fn gone(&mut self, name: &str) -> Vec<String> {
        written(self.catalog.gone(&name.into()))
    }
}

fn raw(instances: &[(&str, &str)]) -> Vec<RawInstance> {
    let one = |(id, address): &(&str, &str)| {
        json!({"Node": {"Node": "n", "Address": "10.0.0.9"},
               "Service": {"ID": id, "Address": address, "Port": 80}})
    };
    let all: Vec<Json> = instances.iter().map(one).collect();
    crate::api::read_instances(Json::from(all).to_string()).unwrap()
}

fn written(updates: Vec<RegistryUpdate>) -> Vec<String> {
    updates.into_iter().map(write).collect()
}

fn write(update: RegistryUpdate) -> String {
    let value = |value: &Value| match value {
        Value::Endpoints(set) => {
            let addresses: Vec<String> =
                set.endpoints().iter().map(|e| e.address.to_string()).collect();
            format!("{}={}", set.service.hostname(), addresses.join(","))
        }
        other => format!("{:?}", other.key()),
    };
    match update {
        RegistryUpdate::Put(put) => format!("put {}", value(&put)),
        RegistryUpdate::Remove(key) => format!("remove {key:?}"),
        RegistryUpdate::Replace { values, rejected } => {
            let values: Vec<String> = values.iter().map(value).collect();
            format!("replace [{}] rejected {}", values.join(" "), rejected.len())
        }
        RegistryUpdate::Reject(rejected) => format!("reject {}", rejected.object),
        RegistryUpdate::Accept(object) => format!("accept {object}"),
        RegistryUpdate::Condition(Condition::Failed(reason)) => format!("failed {reason}"),
        RegistryUpdate::Condition(condition) => condition.word().to_owned(),
    }
}

#[test]
fn nothing_is_said_before_everything_was_answered() {
    let mut script = Script::new();
    assert_eq!(script.list(&["web", "db"]), (vec![], vec![]));
    assert_eq!(script.answer("web", &[("a", "10.0.0.1")]), Vec::<String>::new());
    assert_eq!(
        script.answer("db", &[("b", "10.0.0.2")]),
        [
            "replace [Service(default/db.service.dc1.consul) db.service.dc1.consul=10.0.0.2 \
             Service(default/web.service.dc1.consul) web.service.dc1.consul=10.0.0.1] rejected 0",
            "live",
        ]
    );
}

#[test]
fn a_change_says_what_changed_only() {
    let mut script = Script::synced();
    assert_eq!(
        script.answer("web", &[("a", "10.0.0.1"), ("b", "10.0.0.2")]),
        ["put web.service.dc1.consul=10.0.0.1,10.0.0.2"]
    );
    let again = [("b", "10.0.0.2"), ("a", "10.0.0.1")];
    assert_eq!(script.answer("web", &again), Vec::<String>::new());
}

#[test]
fn a_service_goes_only_when_it_is_not_listed_and_confirmed_gone() {
    let mut script = Script::synced();
    assert_eq!(script.answer("web", &[]), Vec::<String>::new());
    assert_eq!(script.list(&[]), (vec!["web".to_owned()], vec![]));
    assert_eq!(
        script.gone("web"),
        [
            "remove Service(default/web.service.dc1.consul)",
            "remove Endpoints(default/web.service.dc1.consul)",
        ]
    );
}

#[test]
fn a_failure_changes_no_value_and_ends_when_its_query_works() {
    let mut script = Script::synced();
    let web = Query::Service("web".into());
    let fail = |script: &mut Script, query, why: &str| {
        written(script.catalog.failed(query, why.to_owned()))
    };
    assert_eq!(fail(&mut script, Query::List, "no list"), ["failed no list"]);
    assert_eq!(fail(&mut script, web, "no web"), Vec::<String>::new());
    assert_eq!(written(script.catalog.recovered(&Query::List)), ["failed no web"]);
    assert_eq!(script.answer("web", &[("a", "10.0.0.1")]), ["live"]);
    let unknown = Query::Service("unknown".into());
    assert_eq!(fail(&mut script, unknown, "late"), Vec::<String>::new());
}

#[test]
fn after_a_new_beginning_it_is_live_when_all_was_answered_again() {
    let mut script = Script::synced();
    let lost = script.catalog.failed(Query::Probe, "silent".to_owned());
    assert_eq!(written(lost), ["failed silent"]);

    script.catalog.begin(Some("dc1".to_owned()));
    assert_eq!(script.list(&["db"]), (vec!["web".to_owned()], vec![]));
    assert_eq!(
        script.answer("db", &[("b", "10.0.0.2")]),
        ["put Service(default/db.service.dc1.consul)", "put db.service.dc1.consul=10.0.0.2",]
    );
    assert_eq!(
        script.gone("web"),
        [
            "remove Service(default/web.service.dc1.consul)",
            "remove Endpoints(default/web.service.dc1.consul)",
            "live",
        ]
    );
}

#[test]
fn a_malformed_instance_keeps_its_last_good_endpoint() {
    let mut script = Script::synced();
    assert_eq!(
        script.answer("web", &[("a", "no address!"), ("b", "10.0.0.2")]),
        ["reject instance web/a@n", "put web.service.dc1.consul=10.0.0.1,10.0.0.2"]
    );
    assert_eq!(
        script.answer("web", &[("b", "10.0.0.2")]),
        ["accept instance web/a@n", "put web.service.dc1.consul=10.0.0.2"]
    );
}

#[test]
fn an_answer_that_cannot_be_understood_costs_its_service() {
    let mut script = Script::synced();
    let misunderstood = |script: &mut Script| {
        written(script.catalog.misunderstood(&"web".into(), "bad".to_owned()))
    };
    assert_eq!(misunderstood(&mut script), ["reject service web"]);
    assert_eq!(misunderstood(&mut script), Vec::<String>::new());
    assert_eq!(script.answer("web", &[("a", "10.0.0.1")]), ["accept service web"]);
}

#[test]
fn a_host_name_that_passes_to_another_service_is_never_removed_by_the_first() {
    let mut script = Script::new();
    script.list(&["a-b", "a_b"]);
    script.answer("a-b", &[("x", "10.0.0.1")]);

    let (confirm, updates) = script.list(&["a_b"]);
    assert_eq!((confirm, updates), (vec!["a-b".to_owned()], vec!["accept service a_b".to_owned()]));
    assert_eq!(
        script.answer("a_b", &[("y", "10.0.0.2")]),
        ["put Service(default/a-b.service.dc1.consul)", "put a-b.service.dc1.consul=10.0.0.2"]
    );
    assert_eq!(script.gone("a-b"), Vec::<String>::new());
}

#[test]
fn what_an_answer_lacks_is_noticed() {
    let mut script = Script::synced();
    script.answer("web", &[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
    let would = |instances: &[(&str, &str)]| script.catalog.would_lose("web", &raw(instances));
    assert!(would(&[]) && would(&[("b", "10.0.0.2"), ("c", "10.0.0.3")]));
    assert!(!would(&[("a", "no address!"), ("b", "10.0.0.2")]));
}

/// Whether a service is needed, by its name.
fn only<'a>(names: &'a [&str]) -> impl Fn(&ServiceKey) -> bool + 'a {
    |key| names.iter().any(|name| key.hostname().as_str().starts_with(&format!("{name}.")))
}

#[test]
fn what_nobody_needs_is_unloaded_until_its_first_answer() {
    let mut script = Script::new();
    let (listed, said) = script.catalog.listed(["db", "web"], only(&["web"]));
    assert_eq!((Vec::from_iter(listed.follow), written(said)), (vec!["web".into()], vec![]));
    let db = "Unloaded(default/db.service.dc1.consul)";
    let said = script.answer("web", &[("a", "10.0.0.1")]);
    let web = "Service(default/web.service.dc1.consul)";
    let first = format!("replace [{web} web.service.dc1.consul=10.0.0.1 {db}] rejected 0");
    assert_eq!(said, [first, "live".to_owned()]);

    let names = ["db".into(), "web".into(), "unknown".into()];
    let (turn, said) = script.catalog.needed(&names, only(&["web", "db"]));
    let follow = Turn { follow: vec!["db".into()], leave: vec![] };
    assert_eq!((turn, written(said)), (follow, vec![]), "still unloaded");
    let said = script.answer("db", &[("d", "10.0.0.2")]);
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(
        said[1..],
        ["put db.service.dc1.consul=10.0.0.2".to_owned(), format!("remove {db}")]
    );

    let (turn, said) = script.catalog.needed(&names, only(&["web"]));
    assert_eq!(turn, Turn { follow: vec![], leave: vec!["db".into()] });
    let gone = |part| format!("remove {}", db.replace("Unloaded", part));
    assert_eq!(written(said), [format!("put {db}"), gone("Service"), gone("Endpoints")]);
    assert_eq!(script.answer("db", &[("d", "10.0.0.3")]), [""; 0], "a late answer");
}

#[test]
fn an_unloaded_service_that_is_no_longer_listed_is_gone() {
    let mut script = Script::synced();
    let (_, said) = script.catalog.listed(["db", "web"], only(&["web"]));
    assert_eq!(written(said).len(), 1);
    let (_, said) = script.catalog.listed(["db", "web"], only(&["web"]));
    assert_eq!(written(said), [""; 0], "nothing new");
    let (listed, said) = script.catalog.listed(["web"], only(&["web"]));
    assert_eq!((listed.confirm.len(), written(said).len()), (0, 1));
}

#[test]
fn a_new_service_that_somebody_needs_is_never_said_to_be_unloaded() {
    let mut script = Script::synced();
    let (_, said) = script.catalog.listed(["db", "web"], only(&["web", "db"]));
    assert_eq!(written(said), [""; 0]);
    assert!(script.answer("db", &[("d", "10.0.0.2")]).iter().all(|said| said.starts_with("put")));
}

#[test]
fn a_service_that_is_no_longer_listed_is_confirmed_whoever_needs_it() {
    let mut script = Script::synced();
    assert_eq!(script.list(&[]), (vec!["web".to_owned()], vec![]));
    let (turn, said) = script.catalog.needed(&["web".into()], only(&[]));
    assert_eq!((turn, written(said)), (Turn::default(), vec![]));
    assert_eq!(script.gone("web").len(), 2);
}
