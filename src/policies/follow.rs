//! When objects are looked at, kept, and told what became of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use mainstem_aggregate::write_atomically;
use mainstem_kubernetes::KubernetesConfig;
use mainstem_kubernetes::custom::{CustomName, CustomObject, CustomObjects};
use mainstem_kubernetes::lease::{Leasehold, RENEWED};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::judge::{Judged, Verdict};
use super::{KIND, Merging, report};
use crate::admin::Current;
use crate::config::Config;
use crate::configuration::with_each;

/// How long a start waits for objects that were never seen before.
const PATIENCE: Duration = Duration::from_secs(5);

/// The Lease by which one replica writes statuses, in the mesh's root namespace.
const LEASE: &str = "mainstem-policies";

/// Whose API server has the objects.
fn server(config: &Config) -> Option<KubernetesConfig> {
    config.api_server(config.policy_objects.registry.as_ref()?)
}

/// Takes the objects that were last seen; if none ever were, waits a while for them.
pub async fn restore(merging: &Merging, config: &Config) {
    let Some(server) = server(config) else { return };
    let kept = config.state.directory.as_deref().map(file).filter(|file| file.exists());
    match kept.as_deref().map(read) {
        Some(Ok(objects)) => return merging.take(objects),
        Some(Err(error)) => warn!("FederationPolicies that were kept cannot be used: {error:#}"),
        None => {}
    }
    let objects = CustomObjects::new(server, KIND);
    let (said, mut first) = mpsc::unbounded_channel();
    let follow = objects.follow(|all| match all {
        Ok(all) => drop(said.send(all)),
        Err(error) => warn!("{:#}", anyhow::Error::from(error)),
    });
    tokio::select! {
        () = follow => {}
        Some(all) = first.recv() => merging.take(all),
        () = tokio::time::sleep(PATIENCE) => warn!("no FederationPolicies yet: going on without"),
    }
}

/// Follows the objects that the configuration names, until the shutdown.
///
/// # Errors
/// Never; the signature is that of a core task.
pub async fn follow(
    merging: Arc<Merging>,
    current: watch::Receiver<Current>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let part = |config: &Config| (server(config), config.state.directory.clone());
    with_each(current, shutdown, part, |config| with(merging.clone(), config)).await;
    Ok(())
}

/// Follows what one configuration names, for ever.
async fn with(merging: Arc<Merging>, config: Arc<Config>) {
    let Some(server) = server(&config) else {
        merging.take(Vec::new());
        return std::future::pending().await;
    };
    let objects = CustomObjects::new(server.clone(), KIND);
    let root = config.mesh.root_namespace.as_str();
    let lease = Leasehold::new(server, root, LEASE, &format!("{:032x}", rand::random::<u128>()));
    let directory = config.state.directory.as_deref();
    let mut said = None;
    let follow = objects.follow(|all| match all {
        Ok(all) => {
            said = None;
            if let Some(directory) = directory
                && let Err(error) = keep(&file(directory), &all)
            {
                warn!("{error:#}");
            }
            merging.take(all);
        }
        Err(error) => {
            let text = format!("{:#}", anyhow::Error::from(error));
            if said.as_ref() != Some(&text) {
                warn!("FederationPolicies stay as they are: {text}");
                said = Some(text);
            }
        }
    });
    tokio::join!(follow, report(merging.judged(), &objects, &lease));
}

/// Writes statuses while the Lease is held, for ever.
async fn report(
    mut judged: watch::Receiver<Arc<Judged>>,
    objects: &CustomObjects,
    lease: &Leasehold,
) {
    let mut ticks = tokio::time::interval(RENEWED);
    let mut held = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => held = hold(lease).await,
            _ = judged.changed() => {}
        }
        let verdicts = judged.borrow_and_update().clone();
        for verdict in verdicts.verdicts.iter().filter(|_| held) {
            write(objects, verdict).await;
        }
    }
}

async fn hold(lease: &Leasehold) -> bool {
    lease.hold().await.unwrap_or_else(|error| {
        warn!("no status is written: {:#}", anyhow::Error::from(error));
        false
    })
}

async fn write(objects: &CustomObjects, verdict: &Verdict) {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let Some(status) = report::status(verdict, &now) else { return };
    let CustomName { namespace, name } = &verdict.object.name;
    match objects.write_status(&verdict.object.name, &status).await {
        Ok(()) => info!(namespace, name, problems = ?verdict.problems, "FederationPolicy judged"),
        Err(error) => warn!("{:#}", anyhow::Error::from(error)),
    }
}

/// The objects as they are kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    namespace: String,
    name: String,
    generation: i64,
    spec: Value,
}

fn file(directory: &Path) -> PathBuf {
    directory.join("federation-policies.json")
}

fn keep(file: &Path, all: &[CustomObject]) -> anyhow::Result<()> {
    let kept = |object: &CustomObject| Kept {
        namespace: object.name.namespace.clone(),
        name: object.name.name.clone(),
        generation: object.generation,
        spec: object.spec.clone(),
    };
    let text = serde_json::to_vec(&all.iter().map(kept).collect::<Vec<_>>())?;
    if std::fs::read(file).is_ok_and(|before| before == text) {
        return Ok(());
    }
    write_atomically(file, &text, None).with_context(|| format!("writing {}", file.display()))
}

fn read(file: &Path) -> anyhow::Result<Vec<CustomObject>> {
    let context = || format!("reading {}", file.display());
    let text = std::fs::read(file).with_context(context)?;
    let kept: Vec<Kept> = serde_json::from_slice(&text).with_context(context)?;
    let object = |kept: Kept| {
        let Kept { namespace, name, generation, spec } = kept;
        let name = CustomName { namespace, name };
        CustomObject { name, generation, spec, status: Value::Null }
    };
    Ok(kept.into_iter().map(object).collect())
}
