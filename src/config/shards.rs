//! `shards`: parts of one Consul, each a registry of its own.

use mainstem_consul::ConsulConfig;

use super::report::Problem;
use super::tree::{Node, Tree};

/// What tells shards apart, and names a shard that has no `cluster` of its own.
const PARTS: [&str; 4] = ["datacenter", "partition", "consulNamespace", "peer"];

/// One entry for each shard: the entry itself, with what the shard says laid over it. An
/// entry without shards is itself.
pub(super) fn expand(mut entry: Node, problems: &mut Vec<Problem>) -> Vec<Node> {
    let sharded = entry.get("type").and_then(Node::text) == Some(mainstem_consul::PROVIDER);
    let Some(shards) = sharded.then(|| entry.take("shards")).flatten() else { return vec![entry] };
    let Tree::List(shards) = shards.tree else {
        let message = format!("{} where a list of shards belongs", shards.kind());
        let advice = "write [{ datacenter: … }, …]";
        problems.push(Problem::new(&shards.place, message).advise(advice));
        return Vec::new();
    };
    limit_queries(&mut entry, shards.len());
    let named = shards.into_iter().map(|shard| named(&entry, shard));
    let mut entries = Vec::new();
    for shard in named {
        match shard {
            Ok(shard) => {
                let mut entry = entry.clone();
                entry.overlay(shard);
                entries.push(entry);
            }
            Err(problem) => problems.push(problem),
        }
    }
    entries
}

/// The shard with a name for its cluster: that of the entry and its own parts.
fn named(entry: &Node, mut shard: Node) -> Result<Node, Problem> {
    if !matches!(shard.tree, Tree::Map(_)) {
        let message = format!("{} where a shard belongs", shard.kind());
        return Err(Problem::new(&shard.place, message).advise("write { datacenter: … }"));
    }
    if shard.get("cluster").is_some() {
        return Ok(shard);
    }
    let parts: Vec<&str> = PARTS.iter().filter_map(|part| shard.get(part)?.text()).collect();
    if parts.is_empty() {
        let message = "a shard that names no part of Consul";
        let advice = format!("add one of {}, or a `cluster` of its own", PARTS.join(", "));
        return Err(Problem::new(&shard.place, message).advise(advice));
    }
    // What the entry lacks is found when the shard is read.
    let Some(cluster) = entry.get("cluster").and_then(Node::text) else { return Ok(shard) };
    let place = shard.place.clone();
    let name = format!("{cluster}-{}", parts.join("-"));
    *shard.entry("cluster", &place) = Node::new(place.clone(), Tree::Text(name));
    Ok(shard)
}

/// Over plain HTTP the shards of one agent share its limit of connections.
fn limit_queries(entry: &mut Node, shards: usize) {
    let address = entry.get("address").and_then(Node::text).unwrap_or_default();
    if address.starts_with("https://") || entry.get("maxQueries").is_some() {
        return;
    }
    let place = entry.place.clone();
    // A bound far below what an integer of the tree holds.
    let each = Tree::Integer(ConsulConfig::queries_each(shards) as i128);
    *entry.entry("maxQueries", &place) = Node::new(place.clone(), each);
}
