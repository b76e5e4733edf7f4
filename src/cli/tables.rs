//! Answers as tables.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::api::{
    Conflict, Control, ControlStore, Decided, Decision, Endpoint, Origin, Policy, Proxy, ProxyType,
    Registration, Registry, Service, ServiceEndpoints, Status,
};

/// A table without lines, as wide as the terminal or, in a pipe, as its content.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().copied());
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table
}

fn finish(mut table: Table) -> String {
    let columns = table.column_count();
    for index in 0..columns {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, if index + 1 == columns { 0 } else { 2 }));
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// How long ago a time was, in its largest unit: `12s`, `5m`, `3h`, `9d`.
fn age(at: &str) -> String {
    let Ok(at) = humantime::parse_rfc3339(at) else { return at.to_owned() };
    short(SystemTime::now().duration_since(at).unwrap_or_default())
}

fn short(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn registries_of(origins: &[Origin]) -> String {
    let mut seen = BTreeSet::new();
    let each = origins.iter().map(|origin| origin.registry.as_str());
    each.filter(|name| seen.insert(*name)).collect::<Vec<_>>().join(", ")
}

/// `mainstem status`.
pub fn status(status: &Status) -> String {
    let ready = match &status.waiting_for[..] {
        _ if status.ready => "yes".to_owned(),
        [] => "no".to_owned(),
        waiting => format!("no, waiting for {}", waiting.join(", ")),
    };
    let states = status.registries.iter().map(|(state, count)| format!("{count} {state}"));
    let configuration = &status.configuration;
    let file = configuration.file.as_deref().unwrap_or("environment variables");
    let rows = [
        ("version", status.version.clone()),
        ("cluster", status.cluster.clone()),
        ("ready", ready),
        ("running for", age(&status.started)),
        ("configuration", format!("{file}, {} old", age(&configuration.since))),
        ("xDS", status.xds_address.clone()),
        ("registries", states.collect::<Vec<_>>().join(", ")),
        ("services", status.services.to_string()),
        ("conflicts", status.conflicts.to_string()),
        ("decisions", counted(&status.decisions)),
        ("proxies", format!("{} in {} groups", status.proxies, status.proxy_groups)),
        ("resources", status.resources.to_string()),
        ("snapshot", status.generation.to_string()),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "{name:<15}{}", or_dash(&value));
    }
    for registry in &status.restored {
        let _ = write!(text, "\n{registry} is served from its last good state on disk\n");
    }
    if let Some(error) = &configuration.error {
        let _ = write!(text, "\nA newer configuration cannot be used:\n{error}\n");
    }
    text + &troubles(&status.control_store)
}

/// `2 hold, 1 drain`.
fn counted(counts: &std::collections::BTreeMap<String, usize>) -> String {
    let each = counts.iter().map(|(kind, count)| format!("{count} {kind}"));
    each.collect::<Vec<_>>().join(", ")
}

/// What is wrong with the store of the control state.
fn troubles(store: &ControlStore) -> String {
    let mut text = String::new();
    if let Some(error) = &store.error {
        let since = store.failed_since.as_deref().map(age).unwrap_or_default();
        let _ = write!(
            text,
            "\nControl state is not shared since {since}, {} changes wait: {error}\n",
            store.waiting
        );
    }
    if store.local > 0 {
        let _ = write!(
            text,
            "\n{} entries of the control state are too large for its store: other replicas do \
             not know them\n",
            store.local
        );
    }
    for problem in &store.invalid {
        let _ = write!(text, "\n{problem}\n");
    }
    text
}

/// `mainstem control`.
pub fn control(control: &Control) -> String {
    let place = control.store.place.as_deref().unwrap_or("this process alone");
    format!("kept in {place}\n\n{}{}", decisions(&control.decisions), troubles(&control.store))
}

/// `mainstem policies`.
pub fn policies(all: &[Policy]) -> String {
    let mut table = table(&["NAME", "SOURCE", "IN FORCE", "HOSTS", "SHARING"]);
    for policy in all {
        table.add_row([
            policy.name.clone(),
            policy.source.clone(),
            if policy.in_force { "yes" } else { "no" }.to_owned(),
            policy.hosts.join(", "),
            match &policy.sharing {
                Value::Null => "-".to_owned(),
                Value::String(word) => word.clone(),
                sharing => sharing.to_string(),
            },
        ]);
    }
    let problems = all.iter().flat_map(|policy| {
        policy.problems.iter().map(|problem| format!("\n{}: {problem}\n", policy.name))
    });
    finish(table) + &problems.collect::<String>()
}

/// `mainstem registrations`.
pub fn registrations(all: &[Registration]) -> String {
    let mut table =
        table(&["ID", "STATE", "HEALTH", "TTL", "UNTIL", "REGISTERED", "OWNER", "BRINGS"]);
    for one in all {
        let brings: Vec<_> =
            one.services.iter().chain(&one.workloads).map(String::as_str).collect();
        table.add_row([
            one.id.clone(),
            one.state.clone(),
            one.health.clone().unwrap_or_else(|| "-".to_owned()),
            one.ttl.clone(),
            one.until.clone(),
            age(&one.registered),
            one.owner.clone(),
            brings.join(", "),
        ]);
    }
    finish(table)
}

/// What a verb that changes something answers.
pub fn decided(decided: &Decided) -> String {
    let mut text = String::new();
    if !decided.begun.is_empty() {
        let _ = write!(text, "in force\n{}", decisions(&decided.begun));
    }
    if !decided.ended.is_empty() {
        let _ = write!(text, "ended\n{}", decisions(&decided.ended));
    }
    text + &troubles(&decided.store)
}

fn decisions(all: &[Decision]) -> String {
    let mut table = table(&["KIND", "TARGET", "SINCE", "UNTIL", "DETAIL", "REASON"]);
    for decision in all {
        table.add_row([
            decision.kind.clone(),
            target(decision),
            age(&decision.since),
            decision.until.clone(),
            or_dash(&detail(decision)).to_owned(),
            or_dash(&decision.reason).to_owned(),
        ]);
    }
    finish(table)
}

fn target(decision: &Decision) -> String {
    let service = decision.namespace.as_ref().zip(decision.hostname.as_ref());
    let service = service.map(|(namespace, host)| format!("{namespace}/{host}"));
    let proxies = decision.proxies.as_ref().map(|group| format!("proxies {group}"));
    let parts = [decision.registry.clone(), service, proxies];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn detail(decision: &Decision) -> String {
    match decision {
        Decision { endpoints: Some(count), .. } => format!("{count} endpoints"),
        Decision { services: Some(count), .. } => format!("{count} services changed since"),
        Decision { share: Some(now), target_share: Some(to), .. } if now == to => {
            format!("{now}% of its weight")
        }
        Decision { share: Some(now), target_share: Some(to), .. } => {
            format!("{now}% of its weight, going to {to}%")
        }
        _ => String::new(),
    }
}

/// `release` and the like of one registry, as lines under the table of registries.
fn lines(registry: &str, all: &[Decision]) -> String {
    let mut text = String::new();
    for decision in all {
        let about = target(decision);
        let about = about.strip_prefix(registry).unwrap_or(&about).trim();
        let about = if about.is_empty() { String::new() } else { format!(" {about}") };
        let detail = detail(decision);
        let reason = if decision.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", decision.reason)
        };
        let (kind, until) = (&decision.kind, &decision.until);
        let _ = write!(text, "\n{registry}: {kind}{about} until {until}");
        let _ = writeln!(text, "{}{detail}{reason}", if detail.is_empty() { "" } else { ", " });
    }
    text
}

/// `mainstem registries`.
pub fn registries(all: &[Registry]) -> String {
    let mut table = table(&[
        "REGISTRY",
        "STATE",
        "SINCE",
        "LAG",
        "UPDATED",
        "SERVICES",
        "ENDPOINTS",
        "HELD",
        "WORKLOADS",
        "REJECTED",
    ]);
    for registry in all {
        table.add_row([
            registry.name.clone(),
            registry.state.clone(),
            registry.since.as_deref().map_or("-".to_owned(), age),
            registry
                .lag_seconds
                .map_or("-".to_owned(), |lag| short(Duration::from_secs_f64(lag.max(0.0)))),
            registry.last_update.as_deref().map_or("-".to_owned(), age),
            registry.services.to_string(),
            registry.endpoints.to_string(),
            registry.held.to_string(),
            registry.workloads.to_string(),
            registry.rejected.len().to_string(),
        ]);
    }
    let mut text = finish(table);
    for registry in all {
        if let Some(reason) = &registry.reason {
            let _ = write!(text, "\n{} is {}: {reason}\n", registry.name, registry.state);
        }
        if registry.index_resets + registry.index_jumps > 0 {
            let (name, resets, jumps) =
                (&registry.name, registry.index_resets, registry.index_jumps);
            let _ = write!(
                text,
                "\n{name}: its index was reset {resets} times and jumped {jumps} times\n"
            );
        }
        if let Some(last) = registry.last_error.as_ref().filter(|_| registry.reason.is_none()) {
            let (name, ago, reason) = (&registry.name, age(&last.at), &last.reason);
            let _ = write!(text, "\n{name} last failed {ago} ago: {reason}\n");
        }
        if registry.unloaded > 0 {
            let (name, count) = (&registry.name, registry.unloaded);
            let _ = write!(text, "\n{name}: {count} more services are loaded on demand\n");
        }
        if registry.restored {
            let _ =
                write!(text, "\n{} is served from its last good state on disk\n", registry.name);
        }
        if let Some(error) = registry.last_good.as_ref().and_then(|kept| kept.error.as_ref()) {
            let _ = write!(text, "\n{}: {error}\n", registry.name);
        }
        for hold in &registry.holds {
            let (name, endpoints, until) = (&registry.name, hold.endpoints, &hold.until);
            let service = format!("{}/{}", hold.namespace, hold.hostname);
            let _ = write!(
                text,
                "\n{name} withdrew {endpoints} endpoints of {service}: held until {until}\n"
            );
        }
        text += &lines(&registry.name, &registry.decisions);
        for rejected in &registry.rejected {
            let (kind, name, reason) = (&rejected.kind, &rejected.name, &rejected.reason);
            let _ = write!(text, "\n{} rejects {kind} {name}: {reason}\n", registry.name);
        }
    }
    text
}

/// `mainstem services`.
pub fn services(all: &[Service]) -> String {
    let mut table =
        table(&["HOST", "NAMESPACE", "PORTS", "RESOLUTION", "HEALTHY", "CONFLICTS", "REGISTRIES"]);
    for service in all {
        let ports = service.ports.iter().map(|port| format!("{}/{}", port.number, port.protocol));
        table.add_row([
            service.hostname.clone(),
            service.namespace.clone(),
            ports.collect::<Vec<_>>().join(", "),
            service.resolution.clone(),
            format!("{}/{}", service.healthy, service.endpoints),
            service.conflicts.to_string(),
            registries_of(&service.origins),
        ]);
    }
    finish(table)
}

/// `mainstem endpoints`.
pub fn endpoints(all: &[ServiceEndpoints]) -> String {
    let mut table = table(&[
        "HOST",
        "PORT",
        "ADDRESS",
        "HEALTH",
        "WEIGHT",
        "LOCALITY",
        "CLUSTER",
        "REGISTRIES",
    ]);
    for (service, endpoint) in all.iter().flat_map(|s| s.endpoints.iter().map(move |e| (s, e))) {
        table.add_row([
            service.hostname.clone(),
            endpoint.port.to_string(),
            address(endpoint),
            if endpoint.held {
                format!("{}, held", endpoint.health)
            } else {
                endpoint.health.clone()
            },
            endpoint.weight.to_string(),
            or_dash(&endpoint.locality).to_owned(),
            or_dash(&endpoint.cluster).to_owned(),
            registries_of(&endpoint.origins),
        ]);
    }
    finish(table)
}

fn address(endpoint: &Endpoint) -> String {
    let with_port = |address: &String| {
        if address.starts_with("unix://") {
            address.clone()
        } else if address.contains(':') {
            format!("[{address}]:{}", endpoint.target_port)
        } else {
            format!("{address}:{}", endpoint.target_port)
        }
    };
    endpoint.addresses.iter().map(with_port).collect::<Vec<_>>().join(", ")
}

/// `mainstem proxies`.
pub fn proxies(all: &[Proxy]) -> String {
    const KINDS: [&str; 4] = ["CDS", "EDS", "LDS", "RDS"];
    let mut table = table(&[
        "PROXY",
        "TYPE",
        "CLUSTER",
        "CDS",
        "EDS",
        "LDS",
        "RDS",
        "PROTOCOL",
        "CONNECTED",
        "SOFTWARE",
    ]);
    for proxy in all {
        let state = |kind: &str| {
            let of = proxy.types.iter().find(|of| of.kind == kind);
            of.map_or("-".to_owned(), sync_state)
        };
        let [cds, eds, lds, rds] = KINDS.map(state);
        let (name, kind, cluster) = (name_of(proxy), &proxy.kind, &proxy.cluster);
        let row = [name, kind, cluster, &cds, &eds, &lds, &rds, &proxy.protocol];
        let row = row.map(|cell| or_dash(cell).to_owned());
        table.add_row(row.into_iter().chain([age(&proxy.since), proxy.agent.clone()]));
    }
    let mut text = finish(table);
    for (proxy, track) in all.iter().filter_map(|p| Some((p, p.track.as_ref()?))) {
        let (name, group, since) = (&proxy.name, &track.proxies, &track.since);
        let _ = write!(text, "\n{name} is frozen with {group}: it keeps what was so at {since}\n");
    }
    let types = all.iter().flat_map(|proxy| proxy.types.iter().map(move |of| (proxy, of)));
    for (proxy, of) in types.filter(|(_, of)| of.state == "rejected") {
        text += &refusals(name_of(proxy), of);
    }
    text
}

fn name_of(proxy: &Proxy) -> &str {
    if proxy.name.is_empty() { &proxy.id } else { &proxy.name }
}

/// `synced`, or `stale 5m` with the time for which it has been behind.
fn sync_state(of: &ProxyType) -> String {
    match &of.stale_since {
        Some(since) => format!("{} {}", of.state, age(since)),
        None => of.state.clone(),
    }
}

/// How many refusals of a type are printed.
const REFUSALS: usize = 5;

/// What a proxy refuses of a type, or what it said against the latest response as long
/// as nothing of that is found guilty.
fn refusals(proxy: &str, of: &ProxyType) -> String {
    let kind = &of.kind;
    if of.refused == 0 {
        let said = of.nacked.iter();
        return said.map(|nack| format!("\n{proxy} rejected {kind}: {}\n", nack.message)).collect();
    }
    let mut text = String::new();
    for refusal in of.refusals.iter().take(REFUSALS) {
        let (name, since, message) = (&refusal.name, age(&refusal.at), refusal.message.trim());
        let _ = write!(text, "\n{proxy} refuses {kind} {name} for {since}: {message}\n");
    }
    let more = of.refused.saturating_sub(REFUSALS);
    if more > 0 {
        let _ = write!(text, "\n{proxy} refuses {more} more {kind}\n");
    }
    text
}

/// `mainstem conflicts`.
pub fn conflicts(all: &[Conflict]) -> String {
    let mut table = table(&["HOST", "NAMESPACE", "ABOUT", "WINNER", "LOSER", "DETAIL"]);
    for conflict in all {
        table.add_row([
            conflict.hostname.as_str(),
            &conflict.namespace,
            &conflict.kind,
            conflict.winner.as_deref().unwrap_or("-"),
            &conflict.loser,
            &conflict.detail,
        ]);
    }
    finish(table)
}

#[cfg(test)]
mod tests;
