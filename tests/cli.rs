//! The command line as users and scripts meet it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use mainstem_test_support::{Envoy, EnvoyVersion};
use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::{Value, json};

/// `mainstem ARGS` in an environment of its own.
fn mainstem(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstem"));
    command.args(args).env_clear().env("HOME", "/home/me").env("PATH", "/usr/bin:/bin");
    command
}

fn run(args: &[&str]) -> Output {
    mainstem(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory with files of these names and contents.
fn directory<const N: usize>(files: [(&str, &str); N]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    directory
}

fn path(directory: &tempfile::TempDir, name: &str) -> String {
    directory.path().join(name).display().to_string()
}

#[rstest]
#[case(&["--help"], &["serve", "status", "registries", "services", "endpoints", "proxies", "conflicts", "config", "validate", "bootstrap"])]
#[case(&["serve", "--help"], &["--config <FILE>", "MAINSTEM_CONFIG", "--log-format"])]
#[case(&["endpoints", "--help"], &["[HOST]", "--admin <ADDRESS>", "MAINSTEM_ADMIN", "--output <OUTPUT>"])]
#[case(&["config", "dump", "--help"], &["<PROXY>", "--type <TYPE>", "--name <NAME>"])]
#[case(&["bootstrap", "--help"], &["--node <ID>", "--interception", "--xds-address <HOST:PORT>", "--sotw"])]
fn help_lists_what_there_is(#[case] args: &[&str], #[case] expected: &[&str]) {
    let output = run(args);
    let text = stdout(&output);
    assert!(output.status.success());
    for word in expected {
        assert!(text.contains(word), "{word} in\n{text}");
    }
}

#[test]
fn a_verb_without_a_control_plane_says_how_to_name_one() {
    let output = run(&["status", "--admin", "127.0.0.1:1"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.starts_with("error: asking http://127.0.0.1:1: "), "{text}");
    assert!(text.contains("help: is `mainstem serve` running?"), "{text}");
    assert!(text.contains("--admin ADDRESS"), "{text}");
}

#[test]
fn a_valid_configuration_is_summed_up() {
    let files = directory([
        ("m.yaml", "cluster: a\nregistries: [{ type: file, cluster: b, path: services }]\n"),
        ("services/db.yaml", "services: [{ hostname: db.shop, ports: [{ number: 80 }] }]\n"),
    ]);
    let file = path(&files, "m.yaml");
    let output = run(&["validate", &file]);
    assert_eq!(stderr(&output), "");
    assert_eq!(stdout(&output), format!("{file}: a valid configuration with file/b\n"));
    assert!(output.status.success());
}

#[test]
fn every_problem_of_a_configuration_is_printed_and_the_command_fails() {
    let files = directory([(
        "m.yaml",
        "cluster: a\nadmin: { adress: x }\nregistries:\n  - { type: fil, cluster: b }\n",
    )]);
    let file = path(&files, "m.yaml");
    let output = run(&["validate", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        format!(
            "\
{file}:2:10: unknown field `adress`, expected one of `address`, `tokenFile`, `auditFile`
   |
 2 | admin: {{ adress: x }}
   |          ^
  help: did you mean `address`?
{file}:4:13: unknown registry type `fil`
   |
 4 |   - {{ type: fil, cluster: b }}
   |             ^
  help: known are consul, file, kubernetes, mcp, memory
"
        )
    );
}

#[test]
fn documents_of_a_file_registry_are_checked_by_themselves_and_with_a_configuration() {
    let files = directory([
        ("m.yaml", "cluster: a\nregistries: [{ type: file, cluster: b, path: services }]\n"),
        ("services/db.yaml", "services:\n  - { hostname: db.shop, ports: [{ number: 99999 }] }\n"),
    ]);
    let expected = format!("{}:2:", path(&files, "services/db.yaml"));
    for name in ["m.yaml", "services", "services/db.yaml"] {
        let output = run(&["validate", &path(&files, name)]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(stderr(&output).contains("db.yaml:2:"), "{expected} in {}", stderr(&output));
    }
}

#[test]
fn serve_refuses_a_bad_configuration_at_once() {
    let files = directory([("m.yaml", "registries: []\n")]);
    let output = run(&["serve", "--config", &path(&files, "m.yaml")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("m.yaml: `cluster` is missing"), "{}", stderr(&output));
}

#[test]
fn serve_says_which_address_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = mainstem(&["serve"])
        .env("MAINSTEM_CLUSTER", "a")
        .env("MAINSTEM_XDS_ADDRESS", &address)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(&format!("listening for xDS on {address}")),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_schema_knows_every_kind_of_registry() {
    let schema: Value = serde_json::from_slice(&run(&["schema"]).stdout).unwrap();
    let kinds = schema["properties"]["registries"]["items"]["oneOf"].as_array().unwrap();
    let titles: Vec<_> = kinds.iter().map(|kind| kind["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["consul", "file", "kubernetes", "mcp", "memory"]);
    for kind in kinds {
        for setting in ["type", "cluster", "hosts", "joins", "deadline"] {
            assert!(kind["properties"].get(setting).is_some(), "{setting} of {kind}");
        }
    }
}

#[rstest]
#[case::by_parts(&["--name", "web-1", "--namespace", "shop"])]
#[case::by_id(&["--node", "router~10.0.0.1~gw.edge~edge.svc.cluster.local"])]
#[case::full(&[
    "--name", "web-1", "--namespace", "shop", "--cluster", "vm", "--network", "n1", "--ip", "10.0.0.1",
    "--more-ip", "fd00::1", "--label", "app=web", "--label", "version=v1", "--locality", "eu/eu-1/a",
    "--service-account", "web", "--interception", "tproxy", "--xds-address", "mainstem.mesh:15010",
    "--admin-port", "0", "--sotw",
])]
#[tokio::test]
async fn every_bootstrap_is_accepted_by_envoy(#[case] args: &[&str]) {
    for form in ["yaml", "json"] {
        let args: Vec<&str> = ["bootstrap", "-o", form].iter().chain(args).copied().collect();
        let output = run(&args);
        assert!(output.status.success(), "{}", stderr(&output));
        for version in EnvoyVersion::matrix() {
            let accepted = Envoy::validate(&stdout(&output), version).await;
            assert_eq!(accepted, Ok(()), "envoy {}", version.number());
        }
    }
}

#[test]
fn a_bootstrap_for_a_grpc_client_names_the_servers_in_order() {
    let servers = "127.0.0.1:15010,[fd00::1]:15010";
    let output = run(&[
        "bootstrap",
        "--grpc",
        "--name",
        "app-1",
        "--namespace",
        "shop",
        "--xds-address",
        servers,
    ]);
    let bootstrap: Value = serde_json::from_slice(&output.stdout).unwrap();
    let server = |uri: &str| {
        json!({
            "server_uri": uri,
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3", "fail_on_data_errors"],
        })
    };
    assert_eq!(
        bootstrap,
        json!({
            "xds_servers": [server("127.0.0.1:15010"), server("[fd00::1]:15010")],
            "node": {
                "id": "sidecar~127.0.0.1~app-1.shop~shop.svc.cluster.local",
                "cluster": "app-1.shop",
                "locality": {"region": "", "zone": "", "sub_zone": ""},
                "metadata": {"GENERATOR": "grpc", "INSTANCE_IPS": "127.0.0.1", "NAMESPACE": "shop"},
            },
        })
    );
    let output = run(&["bootstrap", "--grpc", "--name", "app-1", "--delta"]);
    assert!(!output.status.success() && stderr(&output).contains("--delta"), "{}", stderr(&output));
}

#[test]
fn a_bootstrap_for_a_grpc_client_says_how_to_know_the_servers_and_what_to_present() {
    let server = |args: &[&str]| {
        let common = ["bootstrap", "--grpc", "--name", "app-1", "--xds-address", "m:15012"];
        let output = run(&[&common, args].concat());
        let bootstrap: Value = serde_json::from_slice(&output.stdout).unwrap();
        bootstrap["xds_servers"][0].clone()
    };
    let certified = server(&["--tls-ca", "ca", "--tls-cert", "own", "--tls-key", "key"]);
    let files = json!({
        "ca_certificate_file": "ca", "certificate_file": "own", "private_key_file": "key",
    });
    assert_eq!(certified["channel_creds"], json!([{ "type": "tls", "config": files }]));
    let with_token = server(&["--tls-ca", "ca", "--token-file", "jwt"]);
    let token = json!([{ "type": "jwt_token_file", "config": { "jwt_token_file": "jwt" } }]);
    assert_eq!(with_token["call_creds"], token);
}

#[test]
fn a_bootstrap_says_who_the_proxy_is() {
    let output = run(&[
        "bootstrap",
        "-o",
        "json",
        "--name",
        "web-1",
        "--namespace",
        "shop",
        "--cluster",
        "vm",
        "--ip",
        "10.0.0.1",
        "--more-ip",
        "fd00::1",
        "--label",
        "app=web",
        "--interception",
        "none",
    ]);
    let bootstrap: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        bootstrap["node"],
        json!({
            "id": "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
            "cluster": "web-1.shop",
            "metadata": {
                "NAMESPACE": "shop",
                "CLUSTER_ID": "vm",
                "INSTANCE_IPS": "10.0.0.1,fd00::1",
                "INTERCEPTION_MODE": "NONE",
                "LABELS": {"app": "web"},
            },
        })
    );
    assert_eq!(bootstrap["dynamic_resources"]["ads_config"]["api_type"], "DELTA_GRPC");
}

#[rstest]
#[case(&["bootstrap"], "--name")]
#[case(&["bootstrap", "--node", "envoy-1"], "is not of the form type~ip~name.namespace~domain")]
#[case(&["bootstrap", "--name", "a", "--xds-address", "nowhere"], "is not HOST:PORT of an xDS server")]
#[case(&["bootstrap", "--name", "a", "--label", "app"], "write KEY=VALUE")]
#[case(&["bootstrap", "--name", "a", "--delta", "--sotw"], "cannot be used with")]
#[case(&["bootstrap", "--name", "a", "--tls-ca", "c", "--tls-cert", "d"], "--tls-key")]
#[case(
    &["bootstrap", "--name", "a", "--xds-address", "a:1,b:1", "--tls-ca", "c", "--token-file", "t"],
    "write one name that leads to all replicas"
)]
fn a_bootstrap_that_makes_no_sense_is_refused(#[case] args: &[&str], #[case] expected: &str) {
    let output = run(args);
    assert!(!output.status.success());
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn every_flag_and_variable_is_documented() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let configuration = std::fs::read_to_string(docs.join("configuration.md")).unwrap();
    for variable in mainstem::config::variables(&mainstem::config::schema()) {
        assert!(configuration.contains(&format!("`{variable}`")), "{variable} in configuration.md");
    }
    let cli = std::fs::read_to_string(docs.join("cli.md")).unwrap();
    let help = stdout(&run(&["--help"]));
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for verb in
        verbs.take_while(|line| !line.is_empty()).filter_map(|l| l.split_whitespace().next())
    {
        assert!(verb == "help" || cli.contains(&format!("| `{verb}")), "{verb} in cli.md");
    }
}
