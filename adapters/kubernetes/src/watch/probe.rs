//! Asking the API server, apart from the watches, whether it still answers.
//!
//! A watch that hangs looks like one with nothing to say. The probe asks for one
//! object of one required kind in turn, which fails within seconds if the API
//! server or its store hangs or a right or the credentials are gone. A kind that
//! fails is asked again until it answers.

use std::time::Duration;

use mainstem_registry::Backoff;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Event, reason};
use crate::api::{Api, Kind};
use crate::config::KubernetesConfig;

/// The first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Probes for ever, and says the beginning of every failure, each change of its
/// reason, and its end.
pub(super) async fn run(
    api: &Api,
    config: &KubernetesConfig,
    required: &[Kind],
    events: mpsc::Sender<Event>,
) {
    let interval = config.probe_interval.duration();
    let mut backoff = Backoff::new(FIRST_WAIT.min(interval), interval);
    let mut failing = false;
    for kind in required.iter().copied().cycle() {
        let path = kind.path().expect("required kinds are always there");
        sleep(interval).await;
        while let Err(error) = api.probe(kind, &path).await {
            failing = true;
            let mut text = reason(&error);
            if error.is_unauthorized()
                && let Err(error) = api.renew().await
            {
                text = reason(&error);
            }
            let _ = events.send(Event::Probed(Err(text))).await;
            backoff.wait().await;
        }
        backoff.reset();
        if std::mem::take(&mut failing) {
            let _ = events.send(Event::Probed(Ok(()))).await;
        }
    }
}
