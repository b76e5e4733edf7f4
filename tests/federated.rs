//! gRPC clients that follow several control planes: what they are led to by names of
//! our authority they find here, whoever serves the rest.

mod common;

use std::net::Ipv4Addr;

use common::Mainstem;
use mainstem_test_support::{
    EchoBackend, GrpcClient, GrpcLanguage, Scratch, TIMEOUT, eventually, free_port,
};
use rstest::rstest;
use serde_json::{Value, json};

const HOST: &str = "greeter.shop.svc.cluster.local";

/// A service of gRPC, answered by this backend.
fn service(backend: &EchoBackend) -> String {
    json!({ "services": [{
        "hostname": HOST,
        "ports": [{ "number": 80, "name": "grpc" }],
        "endpoints": [{ "address": "127.0.0.1", "ports": { "grpc": backend.port() } }],
    }]})
    .to_string()
}

/// The bootstrap of a client for which this control plane is the authority `mesh`
/// alone; nobody answers for all others.
fn bootstrap(mainstem: &Mainstem) -> String {
    let text = mainstem.bootstrap(&["--grpc", "--name", "app", "--namespace", "shop"]);
    let mut bootstrap: Value = serde_json::from_str(&text).expect("it is JSON");
    let servers = bootstrap["xds_servers"].take();
    let nobody = format!("127.0.0.1:{}", free_port());
    let credentials = json!([{ "type": "insecure" }]);
    bootstrap["xds_servers"] = json!([
        { "server_uri": nobody, "channel_creds": credentials, "server_features": ["xds_v3"] },
    ]);
    let template = "xdstp://mesh/envoy.config.listener.v3.Listener/%s";
    bootstrap["authorities"] = json!({ "mesh": {
        "client_listener_resource_name_template": template, "xds_servers": servers,
    }});
    bootstrap.to_string()
}

#[rstest]
#[case(GrpcLanguage::Python)]
#[case(GrpcLanguage::Node)]
#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_client_finds_a_service_by_the_names_of_our_authority_and_follows_it(
    #[case] language: GrpcLanguage,
) {
    let (blue, green) = (EchoBackend::start("blue"), EchoBackend::start("green"));
    let files = Scratch::new("files");
    files.write("greeter.yaml", service(&blue));
    let registry = json!({ "type": "file", "cluster": "static", "path": files.path() });
    let settings = json!({ "xds": { "authorities": ["mesh"] } });
    let mainstem = Mainstem::launch_with(Ipv4Addr::LOCALHOST, &[registry], settings).await;
    mainstem.ready().await;
    let target = format!("xds://mesh/{HOST}:80");
    let client = GrpcClient::start(language, &bootstrap(&mainstem)).await;
    for (name, backend) in [("blue", &blue), ("green", &green)] {
        files.write("greeter.yaml", service(backend));
        eventually(&format!("{target} is answered by {name}"), TIMEOUT, async || {
            let answers = client.answers(&target, 1).await;
            if answers == [name] { Ok(()) } else { Err(format!("{answers:?}")) }
        })
        .await;
    }
}
