//! Which policies are in force. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_aggregate::{HostRule, MergePolicy};
use mainstem_kubernetes::custom::{CustomName, CustomObject};
use mainstem_model::{NamespaceName, RegistryId};
use serde_json::{Value, json};

use crate::config::{Config, check_host_rule};

/// The objects that there are.
#[derive(Clone, Debug, Default)]
pub struct Objects(BTreeMap<CustomName, Known>);

#[derive(Clone, Debug)]
struct Known {
    object: CustomObject,
    /// Its policy, or what is wrong with it by itself.
    read: Result<MergePolicy, Vec<String>>,
    /// Its policy as it last was in force.
    good: Option<MergePolicy>,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The object that is judged.
    pub object: CustomObject,
    /// Why it is not in force; nothing if it is.
    pub problems: Vec<String>,
    /// Whether an earlier version is in force instead.
    pub earlier: bool,
}

/// What became of all policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// Those that are in force.
    pub in_force: Vec<MergePolicy>,
    /// Each object, by namespace and name.
    pub verdicts: Vec<Verdict>,
}

impl Objects {
    /// These are all objects. One that cannot be used keeps what it said before.
    pub fn take(&mut self, objects: Vec<CustomObject>, config: &Config) {
        let mut before = std::mem::take(&mut self.0);
        let known = objects.into_iter().map(|object| {
            let good = before.remove(&object.name).and_then(|known| known.good);
            let read = policy(&object, &config.mesh.root_namespace);
            (object.name.clone(), Known { object, read, good })
        });
        self.0 = known.collect();
    }

    /// The configuration's policies, and every object that goes with them and with the
    /// objects before it.
    pub fn judge(&mut self, config: &Config) -> Judged {
        let registries = config.registries.iter().map(|registry| registry.id.clone()).collect();
        let mut judged = Judged { in_force: config.policies.clone(), verdicts: Vec::new() };
        for known in self.0.values_mut() {
            let problems = known.problems(&judged.in_force, &registries);
            if problems.is_empty() {
                known.good = known.read.clone().ok();
            }
            let fits =
                |good: &&MergePolicy| clashes(&judged.in_force, good, &registries).is_empty();
            let good = known.good.as_ref().filter(fits).cloned();
            let earlier = good.is_some() && !problems.is_empty();
            judged.in_force.extend(good);
            judged.verdicts.push(Verdict { object: known.object.clone(), problems, earlier });
        }
        judged
    }
}

impl Known {
    /// Why it cannot be in force beside these, as it stands.
    fn problems(&self, in_force: &[MergePolicy], registries: &BTreeSet<RegistryId>) -> Vec<String> {
        match &self.read {
            Ok(policy) => clashes(in_force, policy, registries),
            Err(problems) => problems.clone(),
        }
    }
}

/// What is wrong with a policy beside those that are in force.
fn clashes(
    in_force: &[MergePolicy],
    policy: &MergePolicy,
    registries: &BTreeSet<RegistryId>,
) -> Vec<String> {
    let told = |all: &[MergePolicy]| -> Vec<String> {
        MergePolicy::check(all, registries).iter().map(ToString::to_string).collect()
    };
    let before = told(in_force);
    let with = [in_force, std::slice::from_ref(policy)].concat();
    told(&with).into_iter().filter(|fault| !before.contains(fault)).collect()
}

/// The policy that an object is; else everything that is wrong with it.
fn policy(object: &CustomObject, root: &NamespaceName) -> Result<MergePolicy, Vec<String>> {
    let CustomName { namespace, name } = &object.name;
    let mut spec = object.spec.clone();
    let Some(fields) = spec.as_object_mut() else { return Err(vec!["spec is missing".into()]) };
    if fields.insert("name".to_owned(), json!(format!("{namespace}/{name}"))).is_some() {
        return Err(vec![
            "spec: unknown field `name`: the object's own name is the policy's".into(),
        ]);
    }
    check_hosts(fields.get("hosts"))?;
    let read: Result<MergePolicy, _> = serde_path_to_error::deserialize(spec);
    let mut policy =
        read.map_err(|error| vec![format!("spec.{}: {}", error.path(), error.inner())])?;
    if *namespace != root.as_str() {
        let own: NamespaceName = namespace.as_str().into();
        policy.hosts.iter_mut().try_for_each(|rule| confine(rule, &own, root))?;
    }
    Ok(policy)
}

fn check_hosts(hosts: Option<&Value>) -> Result<(), Vec<String>> {
    let texts = hosts.and_then(Value::as_array).into_iter().flatten().enumerate();
    let wrong = texts.filter_map(|(at, host)| {
        let problem = check_host_rule(host.as_str()?).err()?;
        Some(format!("spec.hosts[{at}]: {problem}"))
    });
    let wrong: Vec<_> = wrong.collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Makes a rule one of the object's own namespace.
fn confine(
    rule: &mut HostRule,
    own: &NamespaceName,
    root: &NamespaceName,
) -> Result<(), Vec<String>> {
    match &rule.namespace {
        Some(other) if other != own => Err(vec![format!(
            "spec.hosts: {rule} is of another namespace; put the object into {root} to speak of \
             every namespace"
        )]),
        _ => {
            rule.namespace = Some(own.clone());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Input;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    const CONFIG: &str = "
cluster: home
registries:
- { type: file, cluster: a, path: x }
- { type: file, cluster: b, path: y }
policies:
- { name: own, hosts: [orders.shop.svc.cluster.local], sharing: { prefer: [file/a] } }
";

    fn config() -> Config {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("m.yaml");
        std::fs::write(&file, CONFIG).unwrap();
        Input::read(Some(&file)).unwrap().load().unwrap().config
    }

    fn object(name: &str, spec: Value) -> CustomObject {
        let (namespace, name) = name.split_once('/').unwrap();
        let name = CustomName { namespace: namespace.to_owned(), name: name.to_owned() };
        CustomObject { name, generation: 1, spec, status: Value::Null }
    }

    /// The policies in force by name, and the problems by object.
    fn judged(mut objects: Objects) -> (Vec<String>, Vec<Vec<String>>) {
        let Judged { in_force, verdicts } = objects.judge(&config());
        let names = in_force.into_iter().map(|policy| policy.name).collect();
        (names, verdicts.into_iter().map(|verdict| verdict.problems).collect())
    }

    fn taken(all: Vec<CustomObject>) -> Objects {
        let mut objects = Objects::default();
        objects.take(all, &config());
        objects
    }

    #[test]
    fn an_object_adds_a_policy_that_holds_for_its_own_namespace_unless_it_is_the_root() {
        let spec =
            json!({ "hosts": ["*.example.com"], "sharing": { "failover": { "file/b": 1 } } });
        let mut objects =
            taken(vec![object("shop/one", spec.clone()), object("istio-system/all", spec)]);
        let Judged { in_force, verdicts } = objects.judge(&config());
        let rules: Vec<_> = in_force
            .iter()
            .map(|policy| (policy.name.as_str(), policy.hosts[0].to_string()))
            .collect();
        let expected = [
            ("own", "orders.shop.svc.cluster.local".to_owned()),
            ("istio-system/all", "*.example.com".to_owned()),
            ("shop/one", "shop/*.example.com".to_owned()),
        ];
        assert_eq!(rules, expected);
        assert!(verdicts.iter().all(|verdict| verdict.problems.is_empty()), "{verdicts:?}");
    }

    #[rstest]
    #[case(json!(null), "spec is missing")]
    #[case(json!({ "name": "x", "hosts": ["a.b"] }),
        "spec: unknown field `name`: the object's own name is the policy's")]
    #[case(json!({ "hosts": ["a..b"] }),
        "spec.hosts[0]: \"a..b\" is not a pattern of host names: write a name, *.SUFFIX for all \
         names below it, or *")]
    #[case(json!({ "hosts": ["a.b"], "sharing": { "weighted": { "file/a": "x" } } }),
        "spec.sharing.weighted.file/a: invalid type: string \"x\", expected u8")]
    #[case(json!({ "hosts": ["other/a.b"] }),
        "spec.hosts: other/a.b is of another namespace; put the object into istio-system to speak \
         of every namespace")]
    #[case(json!({ "hosts": ["a.b"], "sharing": { "weighted": { "file/a": 90 } } }),
        "the shares of policy shop/p are 90 percent together; make them 100")]
    #[case(json!({ "hosts": ["a.b"], "sharing": { "prefer": ["file/z"] } }),
        "policy shop/p names the registry file/z, which is not configured; add it to registries \
         or correct its name (provider/cluster)")]
    fn what_is_wrong_with_an_object_is_told_and_costs_only_the_object(
        #[case] spec: Value,
        #[case] why: &str,
    ) {
        let objects =
            taken(vec![object("shop/p", spec), object("shop/q", json!({ "hosts": ["q.b"] }))]);
        let (names, problems) = judged(objects);
        assert_eq!(names, ["own", "shop/q"]);
        assert_eq!(problems, [vec![why.to_owned()], Vec::new()]);
    }

    #[test]
    fn the_configuration_comes_before_objects_and_objects_before_later_ones() {
        let own = json!({ "hosts": ["orders.shop.svc.cluster.local"] });
        let other = json!({ "hosts": ["a.b"] });
        let objects = taken(vec![
            object("istio-system/own", own),
            object("istio-system/p", other.clone()),
            object("istio-system/q", other),
        ]);
        let (names, problems) = judged(objects);
        assert_eq!(names, ["own", "istio-system/p"]);
        let clash = |one: &str, other: &str, host: &str| {
            format!(
                "{host} of policy {one} and {host} of policy {other} hold for the same services \
                 and neither is narrower; narrow one of them"
            )
        };
        let host = "orders.shop.svc.cluster.local";
        let expected = [
            vec![clash("own", "istio-system/own", host)],
            Vec::new(),
            vec![clash("istio-system/p", "istio-system/q", "a.b")],
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn an_object_that_is_spoilt_stays_in_force_as_it_was_and_goes_when_it_is_deleted() {
        let good = json!({ "hosts": ["a.b"], "sharing": { "prefer": ["file/a"] } });
        let mut objects = taken(vec![object("shop/p", good)]);
        let before = objects.judge(&config()).in_force;
        objects.take(vec![object("shop/p", json!({ "hosts": 7 }))], &config());
        let judged = objects.judge(&config());
        assert_eq!(judged.in_force, before);
        assert!(judged.verdicts[0].earlier);
        assert_eq!(
            judged.verdicts[0].problems,
            ["spec.hosts: invalid type: integer `7`, expected a sequence"]
        );
        let share = json!({ "hosts": ["a.b"], "sharing": { "weighted": { "file/a": 7 } } });
        objects.take(vec![object("shop/p", share)], &config());
        assert_eq!(objects.judge(&config()).in_force, before);
        objects.take(Vec::new(), &config());
        assert_eq!(objects.judge(&config()).in_force, config().policies);
    }
}
