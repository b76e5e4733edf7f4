//! Logs.

use clap::ValueEnum;
use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged where nobody says otherwise: the adapters' clients are chatty
/// about every retry, which the registry's condition says already.
const DEFAULT_FILTER: &str =
    "info,kube_client=error,kube_runtime=error,tower=error,hyper_util=warn";

/// Starts logging to standard error. Without a `filter`, `RUST_LOG` counts.
///
/// # Errors
/// When the filter is malformed.
pub fn init(filter: Option<&str>, format: LogFormat) -> anyhow::Result<()> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = filter.or(from_environment.as_deref()).unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| anyhow::anyhow!("log filter {filter:?}: {error}"))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    match format {
        LogFormat::Text => {
            logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init()
        }
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(false).init(),
    }
    log_panics();
    Ok(())
}

/// Panics become log lines, so that they are not lost among structured logs.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture();
        error!(%place, %backtrace, "panic: {}", panic.payload_as_str().unwrap_or("without a message"));
    }));
}
