//! The service list, asked for once.

use mainstem_registry::Backoff;

use super::feeds::Line;
use super::session::Event;
use crate::api::Ask;
use crate::index::CatalogIndex;

/// Asks until there is an answer that is as new as `index`, or the leader's; says it and
/// each error before it.
pub(super) async fn list(line: Line, index: CatalogIndex) {
    let (mut ask, mut backoff) = (Ask::Any, Backoff::default());
    loop {
        match line.api.services(ask).await {
            Ok(answer) if answer.index < index && ask == Ask::Any => {}
            Ok(answer) => return line.say(Event::List(Ok(answer))).await,
            Err(error) => {
                line.say(Event::List(Err(error))).await;
                backoff.wait().await;
            }
        }
        ask = Ask::Leader;
    }
}
