//! The verbs that change something.

use clap::Args;
use mainstem_model::TimeSpan;
use serde::Serialize;

use super::{Ask, output, tables};
use crate::api;

/// Who asks, and why.
#[derive(Debug, Args)]
struct Sign {
    /// Why; stands beside the decision and in the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    ask: Ask,
}

impl Sign {
    async fn decide(&self, verb: &str, body: &impl Serialize) -> anyhow::Result<()> {
        let text = self.ask.admin()?.post(verb, body).await?;
        output::print(&self.ask.rendered(text, tables::decided)?)
    }
}

/// Which registry or service.
#[derive(Debug, Args)]
struct Narrow {
    /// Only the service of this namespace
    #[arg(long, short)]
    namespace: Option<String>,
    /// Only what this registry brings of the service
    #[arg(long)]
    registry: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Release {
    /// A registry (consul/dc1), or the host name of a service
    #[arg(value_name = "HOST|REGISTRY", required = true)]
    targets: Vec<String>,
    #[command(flatten)]
    narrow: Narrow,
    /// How long nothing of it is held again [default: 1m]
    #[arg(long = "for", value_name = "DURATION")]
    span: Option<TimeSpan>,
    #[command(flatten)]
    sign: Sign,
}

#[derive(Debug, Args)]
pub(super) struct Freeze {
    /// A registry (consul/dc1), or the host name of a service
    #[arg(value_name = "HOST|REGISTRY", required_unless_present = "proxies")]
    target: Option<String>,
    #[command(flatten)]
    narrow: Narrow,
    /// A group of proxies instead: namespace=shop,type=sidecar, or all
    #[arg(long, value_name = "GROUP", conflicts_with = "target")]
    proxies: Option<String>,
    /// How long [default: 1h]
    #[arg(long = "for", value_name = "DURATION")]
    span: Option<TimeSpan>,
    #[command(flatten)]
    sign: Sign,
}

#[derive(Debug, Args)]
pub(super) struct Unfreeze {
    /// A registry (consul/dc1), or the host name of a service
    #[arg(value_name = "HOST|REGISTRY", required_unless_present = "proxies")]
    target: Option<String>,
    #[command(flatten)]
    narrow: Narrow,
    /// A group of proxies instead, as it was frozen
    #[arg(long, value_name = "GROUP", conflicts_with = "target")]
    proxies: Option<String>,
    #[command(flatten)]
    sign: Sign,
}

#[derive(Debug, Args)]
pub(super) struct Drain {
    /// The registry
    registry: String,
    /// How much of its weight goes; at 100 it is used after everything else
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    percent: u8,
    /// Over how long, evenly
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    over: TimeSpan,
    /// Give it back instead, as undrain does
    #[arg(long, conflicts_with = "percent")]
    undo: bool,
    #[command(flatten)]
    sign: Sign,
}

#[derive(Debug, Args)]
pub(super) struct Undrain {
    /// The registry
    registry: String,
    /// Over how long, evenly
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    over: TimeSpan,
    #[command(flatten)]
    sign: Sign,
}

impl Release {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { targets, narrow: Narrow { namespace, registry }, span, sign } = self;
        for target in targets {
            let body = api::Release {
                target,
                namespace: namespace.clone(),
                registry: registry.clone(),
                span,
                reason: sign.reason.clone(),
            };
            sign.decide("release", &body).await?;
        }
        Ok(())
    }
}

impl Freeze {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { target, narrow: Narrow { namespace, registry }, proxies, span, sign } = self;
        let reason = sign.reason.clone();
        let body = api::Freeze { target, namespace, registry, proxies, span, reason };
        sign.decide("freeze", &body).await
    }
}

impl Unfreeze {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { target, narrow: Narrow { namespace, registry }, proxies, sign } = self;
        let reason = sign.reason.clone();
        let body = api::Freeze { target, namespace, registry, proxies, span: None, reason };
        sign.decide("unfreeze", &body).await
    }
}

impl Drain {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { registry, percent, over, undo, sign } = self;
        let reason = sign.reason.clone();
        if undo {
            return sign.decide("undrain", &api::Undrain { registry, over, reason }).await;
        }
        sign.decide("drain", &api::Drain { registry, percent, over, reason }).await
    }
}

impl Undrain {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self { registry, over, sign } = self;
        let reason = sign.reason.clone();
        sign.decide("undrain", &api::Undrain { registry, over, reason }).await
    }
}
