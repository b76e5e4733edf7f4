//! Ending on request.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// A token that is cancelled by SIGTERM or SIGINT. A second signal ends the
/// process at once.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    // Lives as long as the process: it must hear the second signal.
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if token.is_cancelled() {
                warn!(signal = name, "signalled again, ending at once");
                std::process::exit(130);
            }
            info!(signal = name, "shutting down");
            token.cancel();
        }
    });
    Ok(shutdown)
}
