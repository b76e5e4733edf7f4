use std::collections::BTreeSet;

use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::fixtures::key;

fn policy(name: &str, hosts: &[&str], sharing: Sharing) -> MergePolicy {
    let hosts = hosts.iter().map(|rule| HostRule::from(*rule)).collect();
    MergePolicy { name: name.to_owned(), hosts, sharing, fields: Fields::default() }
}

#[test]
fn the_narrowest_rule_that_holds_counts() {
    let policies = Policies::new(&[
        policy("all", &["*"], Sharing::Union),
        policy("suffix", &["*.svc"], Sharing::Union),
        policy("exact", &["db.svc"], Sharing::Union),
        policy("namespace", &["shop/*.svc"], Sharing::Union),
    ]);
    let of = |name| policies.of(&key(name)).map(|policy| policy.name.as_str());
    let found = ["x/db.svc", "shop/web.svc", "x/web.svc", "x/web.consul"].map(of);
    assert_eq!(found, ["exact", "namespace", "suffix", "all"].map(Some));
    assert_eq!(Policies::default().of(&key("x/y")), None);
}

#[test]
fn a_policy_is_written_as_users_write_it() {
    let written = json!([
        {"name": "a", "hosts": ["*"]},
        {"name": "b", "hosts": ["shop/*.svc"], "sharing": {"prefer": ["file/a"]}},
        {"name": "c", "hosts": ["*"], "sharing": {"failover": {"file/a": 0, "file/b": 1}}},
        {"name": "d", "hosts": ["*"], "sharing": {"weighted": {"file/a": 90, "file/b": 10}}},
        {"name": "e", "hosts": ["*"], "sharing": {"isolate": "ownCluster"}},
        {"name": "f", "hosts": ["*"], "sharing": {"isolate": {"registries": ["file/a"]}},
         "fields": {"labels": ["file/b"]}},
    ]);
    let policies: Vec<MergePolicy> = serde_json::from_value(written).unwrap();
    let again = serde_json::to_value(&policies).unwrap();
    assert_eq!(serde_json::from_value::<Vec<MergePolicy>>(again).unwrap(), policies);
    let sharing: Vec<_> = policies.into_iter().map(|policy| policy.sharing).collect();
    let expected = [
        Sharing::Union,
        Sharing::Prefer(vec!["file/a".into()]),
        Sharing::Failover([("file/a".into(), 0), ("file/b".into(), 1)].into()),
        Sharing::Weighted([("file/a".into(), 90), ("file/b".into(), 10)].into()),
        Sharing::Isolate(Isolation::OwnCluster),
        Sharing::Isolate(Isolation::Registries(vec!["file/a".into()])),
    ];
    assert_eq!(sharing, expected);
}

#[rstest]
#[case::unknown_registry(
    vec![policy("p", &["*"], Sharing::Prefer(vec!["file/typo".into()]))],
    "policy p names the registry file/typo, which is not configured; \
     add it to registries or correct its name (provider/cluster)"
)]
#[case::no_hosts(
    vec![policy("p", &[], Sharing::Union)],
    "policy p has no hosts; name at least one"
)]
#[case::nobody(
    vec![policy("p", &["*"], Sharing::Prefer(vec![]))],
    "policy p has no registries; name at least one"
)]
#[case::shares(
    vec![policy("p", &["*"], Sharing::Weighted([("file/a".into(), 90), ("file/b".into(), 9)].into()))],
    "the shares of policy p are 99 percent together; make them 100"
)]
#[case::twice(
    vec![policy("p", &["a.svc"], Sharing::Union), policy("p", &["b.svc"], Sharing::Union)],
    "there are two policies named p; rename one"
)]
#[case::same_rule(
    vec![policy("p", &["*.svc"], Sharing::Union), policy("q", &["*.svc"], Sharing::Union)],
    "*.svc of policy p and *.svc of policy q hold for the same services and neither is narrower; \
     narrow one of them"
)]
#[case::crossing(
    vec![policy("p", &["shop/*"], Sharing::Union), policy("q", &["*.svc"], Sharing::Union)],
    "shop/* of policy p and *.svc of policy q hold for the same services and neither is narrower; \
     narrow one of them"
)]
fn a_fault_says_what_to_do(#[case] policies: Vec<MergePolicy>, #[case] expected: &str) {
    let registries = ["file/a".into(), "file/b".into()].into();
    let faults: Vec<_> =
        MergePolicy::check(&policies, &registries).iter().map(ToString::to_string).collect();
    assert_eq!(faults, [expected]);
}

#[test]
fn nested_rules_and_those_of_different_namespaces_are_no_fault() {
    let policies = [
        policy("a", &["*", "shop/db.svc"], Sharing::Union),
        policy("b", &["*.svc", "other/db.svc"], Sharing::Isolate(Isolation::OwnCluster)),
        policy("c", &["db.svc"], Sharing::Union),
    ];
    assert_eq!(MergePolicy::check(&policies, &BTreeSet::new()), []);
}
