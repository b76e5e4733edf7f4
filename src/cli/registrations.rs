//! Registering in a memory registry.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use mainstem_memory::Registered;
use mainstem_registry::Backoff;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::client::{Admin, NotNow};
use super::{Ask, output, tables};
use crate::{api, shutdown};

#[derive(Debug, Args)]
pub(super) struct Registrations {
    /// The memory registry: memory/vms, or vms
    registry: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
pub(super) struct Register {
    /// The memory registry: memory/vms, or vms
    registry: String,
    /// A YAML or JSON file with `id`, and `services` or `workloads` as in a file registry
    file: PathBuf,
    /// The registration's name, in place of the file's `id`
    #[arg(long)]
    id: Option<String>,
    /// Stay, send heartbeats, and deregister when interrupted; wait for a control plane
    /// that does not answer yet
    #[arg(long, short)]
    keep: bool,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
pub(super) struct Deregister {
    /// The memory registry: memory/vms, or vms
    registry: String,
    /// The registration's name
    id: String,
    #[command(flatten)]
    ask: Ask,
}

/// The API of one memory registry.
struct Desk {
    admin: Admin,
    cluster: String,
}

impl Desk {
    fn of(registry: &str, ask: &Ask) -> anyhow::Result<Self> {
        let cluster = registry.strip_prefix("memory/").unwrap_or(registry).to_owned();
        Ok(Self { admin: ask.admin()?, cluster })
    }

    async fn post(&self, verb: &str, body: &Value) -> anyhow::Result<String> {
        let path = format!("memory/{}/{verb}", self.cluster);
        self.admin.post(&path, body).await
    }

    /// Registers, and how often a heartbeat is due.
    async fn register(&self, document: &Value) -> anyhow::Result<(String, Duration)> {
        let text = self.post("register", document).await?;
        let done: Registered = serde_json::from_str(&text).context("reading the answer")?;
        Ok((text, done.ttl.duration() / 3))
    }

    /// The same, again and again while nobody can do it now.
    async fn register_in_time(&self, document: &Value) -> anyhow::Result<(String, Duration)> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut silent = false;
        loop {
            match self.register(document).await {
                Err(error) if error.is::<NotNow>() => {
                    if !std::mem::replace(&mut silent, true) {
                        eprintln!("not registered yet: {error:#}");
                    }
                    backoff.wait().await;
                }
                done => return done,
            }
        }
    }

    /// Sends heartbeats for ever. What cannot be said is said again, and what is not
    /// known any more, as after a restart, is registered again.
    async fn keep(&self, document: &Value, mut period: Duration) {
        let id = &document["id"];
        loop {
            sleep(period).await;
            let Err(error) = self.post("heartbeat", &json!({ "id": id })).await else { continue };
            eprintln!("no heartbeat: {error:#}; registering again");
            match self.register(document).await {
                Ok((_, again)) => {
                    eprintln!("registered again");
                    period = again;
                }
                Err(error) => eprintln!("not registered: {error:#}"),
            }
        }
    }
}

impl Registrations {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let desk = Desk::of(&self.registry, &self.ask)?;
        let path = format!("memory/{}/registrations", desk.cluster);
        let text = desk.admin.get(&path, &[]).await?;
        let rendered =
            self.ask.rendered(text, |all: &Vec<api::Registration>| tables::registrations(all));
        output::print(&rendered?)
    }
}

impl Register {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut document = self.document()?;
        if let Some(id) = self.id {
            document["id"] = id.into();
        }
        let desk = Desk::of(&self.registry, &self.ask)?;
        let end = shutdown::on_signal().context("listening for signals")?;
        let registering = async {
            match self.keep {
                true => desk.register_in_time(&document).await,
                false => desk.register(&document).await,
            }
        };
        let registered = end.run_until_cancelled(registering).await;
        let (text, period) = registered.context("interrupted before it was registered")??;
        let said = |done: &Registered| {
            format!(
                "{} is registered; without a heartbeat for {} it is unhealthy",
                done.id, done.ttl
            )
        };
        output::print(&self.ask.rendered(text, said)?)?;
        if !self.keep {
            return Ok(());
        }
        end.run_until_cancelled(desk.keep(&document, period)).await;
        desk.post("deregister", &json!({ "id": document["id"] })).await?;
        eprintln!("deregistered");
        Ok(())
    }

    fn document(&self) -> anyhow::Result<Value> {
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("reading {}", self.file.display()))?;
        let document: Value = serde_saphyr::from_str(&text)
            .map_err(|error| anyhow!("{}: {error}", self.file.display()))?;
        anyhow::ensure!(
            document.is_object(),
            "{}: expected a mapping with `id`, and `services` or `workloads`",
            self.file.display()
        );
        Ok(document)
    }
}

impl Deregister {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let desk = Desk::of(&self.registry, &self.ask)?;
        let text = desk.post("deregister", &json!({ "id": self.id })).await?;
        let said = |gone: &api::Deregistered| format!("{} is deregistered", gone.id);
        output::print(&self.ask.rendered(text, said)?)
    }
}
