use std::collections::BTreeMap;
use std::path::Path;

use mainstem_model::{LocalityLb, OutboundPolicy};
use pretty_assertions::assert_eq;
use rstest::rstest;

use super::*;

/// Reads `yaml` as /etc/mainstem/m.yaml.
pub(super) fn load(yaml: &str, environment: &[(&str, &str)]) -> Result<Loaded, String> {
    let document = Document { path: Some("/etc/mainstem/m.yaml".into()), text: yaml.into() };
    load_document(document, environment)
}

fn load_document(document: Document, environment: &[(&str, &str)]) -> Result<Loaded, String> {
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let input = Input { document, environment, working_directory: "/work".into() };
    input.load().map_err(|error| error.to_string())
}

fn config(yaml: &str) -> Config {
    load(yaml, &[]).unwrap_or_else(|error| panic!("{error}")).config
}

/// The configuration as JSON without what is not asked about.
fn registry(yaml: &str) -> serde_json::Value {
    serde_json::to_value(&config(yaml).registries[0]).unwrap()
}

const OUTLINE: &str = r#"
cluster: prod-eu
xds: { address: 127.0.0.1:15010 }
admin: { address: 127.0.0.1:15014 }
mesh: { trustDomain: eu.example }
registries:
  - { type: kubernetes, cluster: prod-eu, kubeconfig: ~/.kube/config, context: eu }
  - type: consul
    cluster: vm-eu
    address: https://consul:8501
    datacenter: dc1
    tokenFile: /run/consul-token
    hostname: "{service}.shop.svc.cluster.local"
    joins: ["*.shop.svc.cluster.local"]
  - { type: file, cluster: static, path: services/, joins: ["*.shop.svc.cluster.local"] }
"#;

#[test]
fn the_outline_of_the_documentation_is_read() {
    let config = load(OUTLINE, &[("HOME", "/home/me")]).unwrap().config;
    let ids: Vec<_> = config.registries.iter().map(|registry| registry.id.as_str()).collect();
    assert_eq!(ids, ["kubernetes/prod-eu", "consul/vm-eu", "file/static"]);
    let AdapterConfig::Kubernetes(kubernetes) = &config.registries[0].adapter else { panic!() };
    assert_eq!(kubernetes.kubeconfig.as_deref(), Some(Path::new("/home/me/.kube/config")));
    assert_eq!(kubernetes.trust_domain, "eu.example");
    let AdapterConfig::Consul(consul) = &config.registries[1].adapter else { panic!() };
    assert_eq!(consul.token_file.as_deref(), Some(Path::new("/run/consul-token")));
    let AdapterConfig::File(file) = &config.registries[2].adapter else { panic!() };
    assert_eq!(file.path, Path::new("/etc/mainstem/services/"));
    let joins = &config.aggregate().registries[1].joins;
    assert_eq!(joins, &["*.shop.svc.cluster.local".into()]);
}

#[test]
fn only_the_cluster_is_required() {
    let config = config("cluster: a");
    assert_eq!(config.xds.address.to_string(), "127.0.0.1:15010");
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:15014");
    assert_eq!((config.mesh, config.registries), (MeshSettings::default(), Vec::new()));
}

#[test]
fn every_problem_is_reported_at_its_place() {
    let error = load(
        "cluster: a
xds: { adress: 127.0.0.1:15010 }
admin: { address: localhost }
registries:
  - { type: consol, cluster: x }
  - { type: file, cluster: a/b, path: services }
  - { type: file, cluster: s, path: services, joins: [\"a.*.b\", 7] }
  - { type: file, cluster: t, path: one }
  - { type: file, cluster: t, path: two, deadline: 5 }
  - { type: kubernetes, cluster: u, kubeConfig: x }
colour: red
",
        &[("MAINSTEM_PUBLISH_QUIET", "soon")],
    )
    .unwrap_err();
    let lines: Vec<&str> = error.lines().filter(|line| !line.starts_with(' ')).collect();
    let expected = [
        "m.yaml:2:8: unknown field `adress`, expected one of `address`, `plaintext`",
        "m.yaml:3:19: \"localhost\" is not an address to listen on: write IP:PORT",
        "m.yaml:5:13: unknown registry type `consol`",
        "m.yaml:6:28: \"a/b\" cannot be a cluster's name",
        "m.yaml:7:55: \"a.*.b\" is not a pattern of host names",
        "m.yaml:7:64: integer `7` where text belongs",
        "m.yaml:9:52: ",
        "m.yaml:10:37: unknown field `kubeConfig`",
        "m.yaml:11:1: unknown setting `colour`",
        "environment variable MAINSTEM_PUBLISH_QUIET: \"soon\" is not a length of time",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        let line = line.trim_start_matches("/etc/mainstem/");
        assert!(line.starts_with(expected), "{line:?} instead of {expected:?}\n{error}");
    }
    assert_eq!(lines.len(), expected.len(), "{error}");
    assert!(error.contains("help: did you mean `address`?"), "{error}");
    assert!(error.contains("help: did you mean `kubeconfig`?"), "{error}");
}

#[rstest]
#[case("", "m.yaml: `cluster` is missing", "MAINSTEM_CLUSTER")]
#[case("cluster: [", "m.yaml:", "")]
#[case("cluster: a\ncluster: b", "m.yaml:2:1: ", "")]
#[case("- a", "m.yaml:1:1: a list where the configuration belongs", "begin with `cluster:`")]
#[case("cluster: 7", "m.yaml:1:10: integer `7` where text belongs: put it in quotes", "")]
#[case("cluster: a\nregistries: { type: file }", "m.yaml:2:13: a mapping where a list", "- type")]
#[case("cluster: a\nregistries: [file]", "m.yaml:2:14: text where a registry belongs", "type: …")]
#[case(
    "cluster: a\nregistries: [{ cluster: b }]",
    "m.yaml:2:14: a registry without `type`",
    "consul, file, kubernetes, mcp, memory"
)]
#[case(
    "cluster: a\nregistries: [{ type: file }]",
    "m.yaml:2:14: a registry without `cluster`",
    "add `cluster`"
)]
#[case(
    "cluster: a\nregistries:\n- { type: file, cluster: b, path: x }\n- { type: file, cluster: b, path: y }",
    "m.yaml:4:26: registry file/b is there twice (first in line 3)",
    "another `cluster`"
)]
#[case(
    "cluster: a\nxds: { address: '127.0.0.1:15014' }",
    "m.yaml: `xds.address` 127.0.0.1:15014 and `admin.address` 127.0.0.1:15014 collide",
    "another port"
)]
#[case("cluster: a\npublish: { quiet: 1s }", "m.yaml: `publish.longest` is shorter", "")]
#[case("cluster: a\nmesh: { conectTimeout: 1s }", "m.yaml:2:9: unknown field `conectTimeout`", "")]
#[case(
    "cluster: a\nmesh: { proxyListenPort: 70000 }",
    "m.yaml:2:26: invalid value: integer `70000`",
    ""
)]
#[case(
    "cluster: a\nmesh: { file: /nowhere/mesh.yaml }",
    "m.yaml:2:15: reading /nowhere/mesh.yaml: No such file",
    "is the path right?"
)]
#[case(
    "cluster: a\nregistries: [{ type: file, cluster: b, path: x, hosts: [/a] }]",
    "m.yaml:2:57: \"/a\" names no namespace",
    ""
)]
#[case(
    "cluster: a\npolicies: [{ name: p, hosts: [a.shop], sharing: { prefer: [consul/x] } }]",
    "m.yaml:2:20: policy p names the registry consul/x, which is not configured",
    "add it to registries or correct its name"
)]
#[case(
    "cluster: a\nregistries: [{ type: file, cluster: b, path: x }]\npolicies:\n- { name: p, hosts: [a.shop], sharing: { weighted: { file/b: 90 } } }",
    "m.yaml:4:11: the shares of policy p are 90 percent together",
    "make them 100"
)]
#[case(
    "cluster: a\npolicies:\n- { name: p, hosts: ['x/*.shop'] }\n- { name: q, hosts: ['*.a.shop'] }",
    "m.yaml:4:11: x/*.shop of policy p and *.a.shop of policy q hold for the same services",
    "narrow one of them"
)]
#[case(
    "cluster: a\npolicies:\n- { name: p, hosts: [a.shop] }\n- { name: p, hosts: [b.shop] }",
    "m.yaml:4:11: there are two policies named p",
    "rename one"
)]
#[case(
    "cluster: a\nregistries: [{ type: kubernetes, cluster: b }]\npolicyObjects: { registry: file/b }",
    "m.yaml:3:16: `policyObjects.registry` is file/b, which is no Kubernetes registry",
    "there are kubernetes/b"
)]
#[case(
    "cluster: a\nconflictEvents: { registry: kubernetes/b }",
    "m.yaml:2:17: `conflictEvents.registry` is kubernetes/b, which is no Kubernetes registry",
    "add a registry of type kubernetes"
)]
#[case(
    "cluster: a\nregistries:\n- { type: mcp, cluster: b, protocol: resourceSink, address: \"http://0.0.0.0:9\" }",
    "m.yaml:3:61: http://0.0.0.0:9: in plain text a sink listens on loopback only",
    "use https"
)]
#[case(
    "cluster: a\nregistries:\n- { type: consul, cluster: b, shards: { datacenter: dc1 } }",
    "m.yaml:3:39: a mapping where a list of shards belongs",
    "write [{ datacenter: … }, …]"
)]
#[case(
    "cluster: a\nregistries:\n- { type: consul, cluster: b, shards: [{ servicePort: 80 }] }",
    "m.yaml:3:40: a shard that names no part of Consul",
    "add one of datacenter, partition, consulNamespace, peer, or a `cluster` of its own"
)]
#[case(
    "cluster: a\nregistries:\n- { type: consul, cluster: b, shards: [{ datacenter: x }, { datacenter: x }] }",
    "m.yaml:3:59: registry consul/b-x is there twice (first in line 3)",
    "give one of them another `cluster`"
)]
#[case("cluster: a\npolicies: { name: p }", "m.yaml:2:11: a mapping where a list", "- name")]
#[case(
    "cluster: a\npolicies: [{ name: p, hosts: [a.*.b] }]",
    "m.yaml:2:31: \"a.*.b\" is not a pattern of host names",
    ""
)]
fn what_is_wrong_is_said_with_place_and_advice(
    #[case] yaml: &str,
    #[case] message: &str,
    #[case] advice: &str,
) {
    let error = load(yaml, &[]).unwrap_err();
    assert!(error.trim_start_matches("/etc/mainstem/").starts_with(message), "{error}");
    assert!(error.contains(advice), "{error}");
    assert!(!error.contains('\n') || error.lines().count() > 1);
}

#[test]
fn the_environment_wins_over_the_file_setting_by_setting() {
    let yaml = "cluster: a\nmesh: { connectTimeout: 1s }\nregistries:\n\
                - { type: file, cluster: b, path: x }\n";
    let loaded = load(
        yaml,
        &[
            ("MAINSTEM_CLUSTER", "7"),
            ("MAINSTEM_XDS_ADDRESS", "127.0.0.1:0"),
            ("MAINSTEM_MESH_OUTBOUND_TRAFFIC_POLICY_MODE", "REGISTRY_ONLY"),
            ("MAINSTEM_MESH_PROXY_LISTEN_PORT", "15101"),
            ("MAINSTEM_MESH_CLUSTER_NETWORKS", "{ b: net-1 }"),
            ("MAINSTEM_REGISTRIES_0_PATH", "y"),
            ("MAINSTEM_REGISTRIES_0_JOINS", "['*.shop']"),
            ("MAINSTEM_REGISTRIES_1_TYPE", "consul"),
            ("MAINSTEM_REGISTRIES_1_CLUSTER", "dc1"),
            ("MAINSTEM_REGISTRIES_1_TOKEN_FILE", "~/token"),
            ("HOME", "/home/me"),
        ],
    )
    .unwrap();
    let config = loaded.config;
    assert_eq!(config.cluster.as_str(), "7");
    assert_eq!(config.xds.address, ListenAddress::loopback(0));
    assert_eq!(config.mesh.outbound_traffic_policy.mode, OutboundPolicy::RegistryOnly);
    assert_eq!(
        (config.mesh.proxy_listen_port, config.mesh.connect_timeout),
        (15101, TimeSpan::from_secs(1))
    );
    assert_eq!(config.mesh.cluster_networks["b"], "net-1");
    let AdapterConfig::File(file) = &config.registries[0].adapter else { panic!() };
    assert_eq!(file.path, Path::new("/work/y"));
    assert_eq!(config.registries[0].common.joins, ["*.shop"]);
    let AdapterConfig::Consul(consul) = &config.registries[1].adapter else { panic!() };
    assert_eq!(consul.token_file.as_deref(), Some(Path::new("/home/me/token")));
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn no_file_is_needed_where_the_environment_says_all() {
    let environment = [
        ("MAINSTEM_CLUSTER", "a"),
        ("MAINSTEM_REGISTRIES", "[{ type: file, cluster: b, path: /x }]"),
    ];
    let config = load_document(Document::default(), &environment).unwrap().config;
    assert_eq!(config.registry(&"file/b".into()).map(|found| &found.id), Some(&"file/b".into()));
}

#[test]
fn a_misspelt_variable_is_pointed_out_and_those_of_kubernetes_are_not() {
    let environment = [
        ("MAINSTEM_CLUSTR", "a"),
        ("MAINSTEM_PORT_15010_TCP_ADDR", "10.0.0.1"),
        ("MAINSTEM_SERVICE_PORT_GRPC", "15010"),
        ("MAINSTEM_LOG", "debug"),
    ];
    let yaml = "cluster: a\nregistries: [{ type: file, cluster: b, path: x }]";
    assert_eq!(
        load(yaml, &environment).unwrap().warnings,
        ["environment variable MAINSTEM_CLUSTR names no setting and is ignored"]
    );
}

#[test]
fn a_gap_in_numbered_registries_is_an_error() {
    let error = load("cluster: a", &[("MAINSTEM_REGISTRIES_3_TYPE", "file")]).unwrap_err();
    assert!(error.contains("MAINSTEM_REGISTRIES_3_TYPE: there is no item 3"), "{error}");
}

#[test]
fn mesh_settings_of_a_file_are_overlaid_by_those_beside_it_and_point_into_it() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = directory.path().join("mesh.yaml");
    std::fs::write(&mesh, "connectTimeout: 2s\nlocalityLbSetting: { enabled: false }\n").unwrap();
    let document =
        |text: &str| Document { path: Some(directory.path().join("m.yaml")), text: text.into() };
    let yaml = "cluster: a\nmesh: { file: mesh.yaml, connectTimeout: 3s }\n";
    let config = load_document(document(yaml), &[]).unwrap().config;
    assert_eq!(config.mesh.connect_timeout, TimeSpan::from_secs(3));
    assert_eq!(
        config.mesh.locality_lb_setting,
        LocalityLb { enabled: false, ..LocalityLb::default() }
    );
    assert_eq!(config.files, std::slice::from_ref(&mesh));

    std::fs::write(&mesh, "connectTimeout: 2\n").unwrap();
    let yaml = "cluster: a\nmesh: { file: mesh.yaml }\n";
    let error = load_document(document(yaml), &[]).unwrap_err();
    assert!(error.starts_with(&format!("{}:1:17: ", mesh.display())), "{error}");
}

#[test]
fn what_is_odd_is_warned_about() {
    let yaml =
        "cluster: a\nxds:\n  address: 0.0.0.0:15010\n  insecurePlaintextBeyondLoopback: true\n";
    let loaded = load(yaml, &[]).unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "no registry is configured: nothing will be served",
            "xds.address 0.0.0.0:15010 is reachable from outside, without TLS or authentication",
        ]
    );
}

#[test]
fn a_registry_is_shown_as_it_is_configured() {
    let shown = registry(
        "cluster: a\nregistries: [{ type: file, cluster: b, path: /x, hosts: ['shop/*'], deadline: 5s }]",
    );
    assert_eq!(shown["id"], "file/b");
    assert_eq!(shown["hosts"], serde_json::json!(["shop/*"]));
    assert_eq!(shown["deadline"], "5s");
    assert_eq!(shown["path"], "/x");
}

#[test]
fn every_setting_has_a_variable() {
    let schema = schema();
    let all = variables(&schema);
    for name in [
        "MAINSTEM_CLUSTER",
        "MAINSTEM_XDS_ADDRESS",
        "MAINSTEM_ADMIN_ADDRESS",
        "MAINSTEM_PUBLISH_QUIET",
        "MAINSTEM_MESH_FILE",
        "MAINSTEM_MESH_CONNECT_TIMEOUT",
        "MAINSTEM_MESH_LOCALITY_LB_SETTING_FAILOVER_PRIORITY",
        "MAINSTEM_REGISTRIES",
    ] {
        assert!(all.iter().any(|variable| variable == name), "{name} in {all:#?}");
    }
    for name in &all {
        assert!(schema::setting_of(name, &schema).is_some(), "{name}");
    }
}

#[test]
fn every_example_is_a_configuration() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found = 0;
    for entry in std::fs::read_dir(&examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let document = Document { path: Some(path), text: text.into() };
            load_document(document, &[("HOME", "/home/me")])
                .unwrap_or_else(|error| panic!("{error}"));
            found += 1;
        }
    }
    assert!(found > 0, "no example in {}", examples.display());
}

#[test]
fn rules_of_a_registry_are_read_and_refused_at_their_place() {
    let good = config(
        "cluster: a
registries:
  - type: file
    cluster: s
    path: services
    export: { aliases: { a.consul: shop/web.svc }, exclude: [\"*.secret.consul\"] }
",
    );
    let export = &good.registries[0].common.export;
    assert_eq!(export.aliases["a.consul"], "shop/web.svc");
    assert_eq!(export.exclude, ["*.secret.consul"]);

    let error = load(
        "cluster: a
registries:
  - type: file
    cluster: s
    path: services
    export:
      aliases:
        a.consul: b.consul
        b.consul: a.consul
      rewrite:
        - { host: \"{s}.x\", to: \"{s}.y\" }
        - { host: a.x, to: a.z }
",
        &[],
    )
    .unwrap_err();
    let lines: Vec<&str> = error.lines().collect();
    let expected = [
        "m.yaml:8:19: alias \"a.consul\" leads back to itself",
        "m.yaml:9:19: alias \"b.consul\" leads back to itself",
        "m.yaml:12:11: \"a.x\" never matches",
    ];
    for expected in expected {
        assert!(lines.iter().any(|line| line.contains(expected)), "{expected}\n{error}");
    }
    assert!(error.contains("help: put the narrower one first"), "{error}");
}

#[test]
fn the_shards_of_a_consul_are_registries_of_their_own() {
    let yaml = "
cluster: a
registries:
- type: consul
  cluster: vms
  address: http://consul:8500
  servicePort: 80
  shards:
  - { datacenter: dc1 }
  - { datacenter: dc2, cluster: vms-us, servicePort: 81, guard: { share: 90 } }
  - { partition: team-a, consulNamespace: billing }
  - { peer: emea }
";
    let config = load(yaml, &[]).unwrap().config;
    let shown = config.registries.iter().map(|registry| {
        let AdapterConfig::Consul(consul) = &registry.adapter else { panic!("{registry:?}") };
        (
            registry.id.to_string(),
            consul.service_port,
            consul.max_queries,
            registry.common.guard.share,
        )
    });
    let expected = [
        ("consul/vms-dc1".to_owned(), Some(80), Some(32), 50),
        ("consul/vms-us".to_owned(), Some(81), Some(32), 90),
        ("consul/vms-team-a-billing".to_owned(), Some(80), Some(32), 50),
        ("consul/vms-emea".to_owned(), Some(80), Some(32), 50),
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}
