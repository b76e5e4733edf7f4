//! Moments besides faults: a cold start, and a configuration that changes.

use std::time::{Duration, Instant};

use mainstem_test_support::{TIMEOUT, eventually};
use pretty_assertions::assert_eq;
use rstest::rstest;

use super::sites::Site;
use super::stage::Stage;
use crate::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_with_consul_down_serves_the_last_good_endpoints_within_a_second() {
    let stage = Stage::set(Site::consul().await).await;
    stage.is_kept().await;
    stage.site.inject(Fault::Killed).await;

    let begun = Instant::now();
    stage.mainstem.kill_and_start().await;
    stage.mainstem.ready().await;
    let ready = begun.elapsed();
    let late = Instant::now();
    stage.a_late_proxy_has_everything().await;

    eprintln!("ready after {ready:?}; a new Envoy has all after {:?} more", late.elapsed());
    assert!(ready < Duration::from_secs(1), "{ready:?}");
    let status = stage.mainstem.cli(&["status"]);
    assert_eq!(status["restored"], serde_json::json!(["consul/dc1"]));
    let table = stage.mainstem.table(&["status"]);
    let line = "consul/dc1 is served from its last good state on disk";
    assert!(table.contains(line), "{table}");
}

/// Address, token and credentials change while the old ones still work, then
/// those end; the registry goes from the configuration and comes back.
#[rstest]
#[case::consul(Site::consul())]
#[case::kubernetes(Site::kubernetes())]
#[case::file(async { Site::file() })]
#[case::mcp(Site::mcp())]
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_changed_removed_and_added_in_the_configuration_needs_no_restart(
    #[case] site: impl Future<Output = Site>,
) {
    let mut stage = Stage::set(site.await).await;
    let pid = stage.mainstem.process().pid();

    let before = stage.site.move_on().await;
    stage.mainstem.configure(&[stage.site.config()]);
    eventually("the new settings are in force", TIMEOUT, async || {
        let said = stage.registry().await["settings"].to_string();
        if stage.site.is_named_in(&said) { Ok(()) } else { Err(said) }
    })
    .await;
    stage.stands("while the registry moves").await;
    drop(before);
    stage.stands("once the old address is gone").await;
    stage.follows("at its new address").await;

    stage.mainstem.configure(&[]);
    stage.shows("nothing without the registry", |places| places.is_empty()).await;
    stage.mainstem.configure(&[stage.site.config()]);
    stage.stands("once it is added again").await;
    assert_eq!(stage.mainstem.process().pid(), pid);
}
