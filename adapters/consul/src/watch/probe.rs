//! Noticing that the registry is silent, and that credentials changed.

use std::sync::Arc;

use super::feeds::Line;
use super::session::Event;
use crate::config::ConsulConfig;
use crate::credentials::Credentials;

/// Asks every few seconds whether the registry answers: a blocking query may be
/// silent for minutes and yet be well.
pub(super) async fn probe(config: Arc<ConsulConfig>, line: Line, credentials: Credentials) {
    loop {
        tokio::time::sleep(config.probe_interval.duration()).await;
        // A file that cannot be read now is being written; the old ones still count.
        if Credentials::read(&config).await.is_ok_and(|now| now != credentials) {
            let _ = line.events.send(Event::Renewed).await;
        }
        let event = match line.api.probe().await {
            Ok(_) => Event::Present,
            Err(error) => Event::Absent(error),
        };
        let _ = line.events.send(event).await;
    }
}
