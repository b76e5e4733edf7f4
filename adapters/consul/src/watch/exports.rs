//! What a peer exports.

use std::sync::Arc;

use super::feeds::Line;
use super::session::Event;
use crate::config::ConsulConfig;

/// Asks every few seconds which services the peer exports, and says what is new: no
/// query waits for that.
pub(super) async fn exports(config: Arc<ConsulConfig>, line: Line) {
    let Some(peer) = &config.peer else { return };
    let mut said = None;
    loop {
        match line.api.exports(peer).await {
            Ok(names) if said.as_ref() == Some(&names) => {}
            Ok(names) => {
                said = Some(names.clone());
                line.say(Event::Exports(Ok(names))).await;
            }
            Err(error) => {
                said = None;
                line.say(Event::Exports(Err(error))).await;
            }
        }
        tokio::time::sleep(config.probe_interval.duration()).await;
    }
}
