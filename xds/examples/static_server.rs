//! Serves clusters from the command line, and takes changes from standard input.
//!
//! `cargo run -p mainstem-xds --example static_server -- 127.0.0.1:18000 one two`,
//! then lines such as `+three 2s` (a cluster and its connect timeout) or `-one`.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use mainstem_proto::envoy::config::cluster::v3::Cluster;
use mainstem_proto::google::protobuf::Duration;
use mainstem_xds::{Listener, Resource, Server, ServerConfig, StaticSource, TypeUrl};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let address: SocketAddr =
        args.next().ok_or("usage: static_server ADDRESS [CLUSTER...]")?.parse()?;
    let source = StaticSource::new();
    source.update(|batch| {
        for name in args {
            batch.set(cluster(&name, 1));
        }
    });

    let server = Server::new(ServerConfig::default(), Arc::new(source.clone()));
    let listener = Listener::tcp(address).await?;
    println!("serving on {}", listener.address()?);
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn({
        let (server, shutdown) = (server.clone(), shutdown.clone());
        async move { server.serve(listener, shutdown).await }
    });

    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_at_checked(1) {
            Some(("+", change)) => {
                let (name, timeout) = change.split_once(' ').unwrap_or((change, "1s"));
                source.set(cluster(name, timeout.trim_end_matches('s').parse()?));
            }
            Some(("-", name)) => source.remove(&TypeUrl::CLUSTER, name),
            _ => println!("{}", server.clients().len()),
        }
    }
    shutdown.cancel();
    Ok(serving.await?)
}

fn cluster(name: &str, seconds: i64) -> Resource {
    let connect_timeout = Some(Duration { seconds, nanos: 0 });
    Resource::of(name, &Cluster { name: name.into(), connect_timeout, ..Cluster::default() })
}
