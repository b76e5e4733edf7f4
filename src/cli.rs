//! The command line.

mod bootstrap;
mod client;
mod control;
mod explain;
mod output;
mod registrations;
mod tables;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use self::client::Admin;
use self::output::Format;
use crate::telemetry::{self, LogFormat};
use crate::{allocator, api, config, policies, serve};

/// Mainstem: many service registries in, one mesh out over xDS.
///
/// `mainstem serve` is the control plane. The other commands ask a running one
/// through its admin API, or work on files alone.
#[derive(Debug, Parser)]
#[command(name = "mainstem", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the control plane
    ///
    /// Follows the registries of the configuration, merges them into one snapshot and
    /// serves it to proxies. Runs until SIGTERM or SIGINT. Changes of the configuration
    /// file take effect without a restart.
    Serve(Serve),
    /// Show how the control plane is
    Status(Ask),
    /// List the registries: state, freshness, what they bring, what they cannot say
    Registries(Ask),
    /// List the merged services
    Services {
        /// Only services of this namespace
        #[arg(long, short)]
        namespace: Option<String>,
        #[command(flatten)]
        ask: Ask,
    },
    /// List the endpoints of a service, or of all
    Endpoints {
        /// The service's host name
        host: Option<String>,
        /// Only services of this namespace
        #[arg(long, short)]
        namespace: Option<String>,
        #[command(flatten)]
        ask: Ask,
    },
    /// List the connected proxies and whether they have what they should
    Proxies {
        /// Go on, and list them again whenever something changes, until interrupted
        #[arg(long, short)]
        watch: bool,
        #[command(flatten)]
        ask: Ask,
    },
    /// List where registries disagree, and who won
    Conflicts {
        /// Instead, where services clash at one proxy: its node id, `name` or `name.namespace`
        #[arg(long)]
        proxy: Option<String>,
        #[command(flatten)]
        ask: Ask,
    },
    /// Show how a service, or one endpoint, comes from registries to proxies
    Explain(explain::Explain),
    /// Show the first step that keeps an endpoint from a proxy
    WhyNot(explain::WhyNot),
    /// List merge policies, of the configuration and of objects, and what became of them
    Policies(Ask),
    /// List what the guard and operators decided: holds, freezes, drains
    Control(Ask),
    /// End what the withdrawal guard holds, at once
    Release(control::Release),
    /// Keep the members of a registry or service, or what a group of proxies has
    Freeze(control::Freeze),
    /// End a freeze
    Unfreeze(control::Unfreeze),
    /// Take traffic away from a registry's endpoints, at once or over a time
    Drain(control::Drain),
    /// Give a drained registry its traffic back, at once or over a time
    Undrain(control::Undrain),
    /// List what registered itself in a memory registry
    Registrations(registrations::Registrations),
    /// Register services and workloads in a memory registry, and stay with --keep
    Register(registrations::Register),
    /// Take a registration back
    Deregister(registrations::Deregister),
    /// Show what a proxy is told, or the configuration in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check a configuration file, or documents of a file registry
    ///
    /// Prints everything that is wrong, with file, line and column, and fails if anything is.
    Validate(validate::Validate),
    /// Write the bootstrap configuration of an Envoy or a gRPC client
    Bootstrap(Box<bootstrap::Bootstrap>),
    /// Write the JSON Schema of the configuration file, for editors
    Schema {
        /// Write the CustomResourceDefinition of FederationPolicy instead, for kubectl
        #[arg(long)]
        crd: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show the resources that a connected proxy is given
    Dump {
        /// A node id, or the proxy's `name` or `name.namespace` where that is unique
        proxy: String,
        /// Only this type: cds, eds, lds or rds
        #[arg(long = "type", short = 't', value_name = "TYPE")]
        kind: Option<String>,
        /// Only the resource of this name
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        ask: Ask,
    },
    /// Show the control plane's configuration in force
    Show(Ask),
}

#[derive(Debug, Args)]
struct Serve {
    /// The configuration file; without one, environment variables say all
    #[arg(long, short, value_name = "FILE", env = "MAINSTEM_CONFIG")]
    config: Option<PathBuf>,
    /// What is logged: `debug`, `info,mainstem_xds=debug`, … (else RUST_LOG)
    #[arg(long, value_name = "FILTER", env = "MAINSTEM_LOG")]
    log: Option<String>,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t, env = "MAINSTEM_LOG_FORMAT")]
    log_format: LogFormat,
}

/// How often a watch asks.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// Whom to ask, and how to show the answer.
#[derive(Debug, Args)]
struct Ask {
    /// The control plane's admin API
    #[arg(long, value_name = "ADDRESS", env = "MAINSTEM_ADMIN", default_value = "127.0.0.1:15014")]
    admin: String,
    /// A file with the admin token on its first line: to change something, or to ask from elsewhere
    #[arg(long, value_name = "FILE", env = "MAINSTEM_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// How to print the answer
    #[arg(long, short, value_enum, default_value_t, env = "MAINSTEM_OUTPUT")]
    output: Format,
}

impl Cli {
    /// Does what the command line says; what fails is printed to standard error.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command.run() {
            Ok(code) => code,
            Err(error) => {
                // An error that is a report of its own stands on lines of its own.
                if let Some(config) = error.downcast_ref::<config::ConfigError>() {
                    eprintln!("{config}");
                } else {
                    eprintln!("error: {error:#}");
                }
                ExitCode::FAILURE
            }
        }
    }
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Serve(serve) => serve.run()?,
            Self::Validate(validate) => return validate.run(),
            Self::Bootstrap(bootstrap) => bootstrap.run()?,
            Self::Schema { crd: true } => output::yaml(&policies::crd())?,
            Self::Schema { crd: false } => output::json(&config::schema())?,
            asking => runtime()?.block_on(asking.ask())?,
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The verbs that ask a running control plane.
    async fn ask(self) -> anyhow::Result<()> {
        match self {
            Self::Status(ask) => ask.show::<api::Status>("status", &[], tables::status).await,
            Self::Registries(ask) => {
                ask.show::<Vec<api::Registry>>("registries", &[], |all| tables::registries(all))
                    .await
            }
            Self::Services { namespace, ask } => {
                let query = [("namespace", namespace.as_deref())];
                ask.show::<Vec<api::Service>>("services", &query, |all| tables::services(all)).await
            }
            Self::Endpoints { host, namespace, ask } => {
                let query = [("host", host.as_deref()), ("namespace", namespace.as_deref())];
                ask.show::<Vec<api::ServiceEndpoints>>("endpoints", &query, |all| {
                    tables::endpoints(all)
                })
                .await
            }
            Self::Proxies { watch: false, ask } => {
                ask.show::<Vec<api::Proxy>>("proxies", &[], |all| tables::proxies(all)).await
            }
            Self::Proxies { watch: true, ask } => {
                ask.watch::<Vec<api::Proxy>>("proxies", |all| tables::proxies(all)).await
            }
            Self::Conflicts { proxy, ask } => {
                let query = [("proxy", proxy.as_deref())];
                ask.show::<Vec<api::Conflict>>("conflicts", &query, |all| tables::conflicts(all))
                    .await
            }
            Self::Policies(ask) => {
                ask.show::<Vec<api::Policy>>("policies", &[], |all| tables::policies(all)).await
            }
            Self::Control(ask) => ask.show("control", &[], tables::control).await,
            Self::Explain(explain) => explain.run().await,
            Self::WhyNot(why_not) => why_not.run().await,
            Self::Release(release) => release.run().await,
            Self::Freeze(freeze) => freeze.run().await,
            Self::Unfreeze(unfreeze) => unfreeze.run().await,
            Self::Drain(drain) => drain.run().await,
            Self::Undrain(undrain) => undrain.run().await,
            Self::Registrations(registrations) => registrations.run().await,
            Self::Register(register) => register.run().await,
            Self::Deregister(deregister) => deregister.run().await,
            Self::Config(ConfigCommand::Show(ask)) => ask.document("config", &[]).await,
            Self::Config(ConfigCommand::Dump { proxy, kind, name, ask }) => {
                let query = [
                    ("proxy", Some(&*proxy)),
                    ("type", kind.as_deref()),
                    ("name", name.as_deref()),
                ];
                ask.document("config_dump", &query).await
            }
            Self::Serve(_) | Self::Validate(_) | Self::Bootstrap(_) | Self::Schema { .. } => {
                unreachable!("handled without asking anybody")
            }
        }
    }
}

impl Ask {
    /// Whom to ask.
    fn admin(&self) -> anyhow::Result<Admin> {
        Admin::new(&self.admin, self.token_file.as_deref())
    }

    /// Asks and prints: the answer as it came, or a table of it.
    async fn show<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        query: &[(&str, Option<&str>)],
        table: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let text = self.admin()?.get(what, query).await?;
        output::print(&self.rendered(text, table)?)
    }

    /// Asks every second and prints what is not as it was, as long as somebody reads.
    async fn watch<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        table: impl Fn(&T) -> String,
    ) -> anyhow::Result<()> {
        let admin = self.admin()?;
        let mut ticks = tokio::time::interval(WATCH_PERIOD);
        let mut printed = String::new();
        loop {
            ticks.tick().await;
            let text = admin.get(what, &[]).await?;
            if text != printed {
                let read = output::offer(&(self.rendered(text.clone(), &table)? + "\n"))?;
                if !read {
                    return Ok(());
                }
                printed = text;
            }
        }
    }

    /// The answer as it came, or a table of it.
    fn rendered<T: serde::de::DeserializeOwned>(
        &self,
        text: String,
        table: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<String> {
        match self.output {
            Format::Table => serde_json::from_str(&text)
                .map(|answer| table(&answer))
                .context("reading the answer; are client and server of the same version?"),
            Format::Json => Ok(text),
            Format::Yaml => output::as_yaml(&text),
        }
    }

    /// Asks for something that has no table.
    async fn document(&self, what: &str, query: &[(&str, Option<&str>)]) -> anyhow::Result<()> {
        let text = self.admin()?.get(what, query).await?;
        match self.output {
            Format::Yaml => output::print(&output::as_yaml(&text)?),
            Format::Table | Format::Json => output::print(&text),
        }
    }
}

impl Serve {
    fn run(self) -> anyhow::Result<()> {
        telemetry::init(self.log.as_deref(), self.log_format)?;
        allocator::runtime().context("starting the runtime")?.block_on(serve::run(self.config))
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}
