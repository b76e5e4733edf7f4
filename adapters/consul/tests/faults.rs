//! What a real Consul does wrong, and what must not come of it.

mod common;

use common::{ConsulFixture, NODE, endpoints, has, instance, options, services};
use mainstem_consul::{Consistency, ConsulAdapter, ConsulConfig, TlsConfig};
use mainstem_model::{Condition, Health, Key, Rejected, ServiceKey, Value};
use mainstem_test_support::battery::{Fixture, TestService, View, Watch};
use mainstem_test_support::{Consul, ConsulOptions, Fault, Scratch, Storage, TIMEOUT, eventually};
use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::json;

const READER: &str = r#"
    service_prefix "" { policy = "read" }
    node_prefix "" { policy = "read" }
"#;

fn with_acl() -> ConsulOptions {
    options(|o| o.acl = true)
}

/// A registry with the services alpha and beta, and an adapter that has seen them.
struct Synced {
    fixture: ConsulFixture,
    watch: Watch,
    alpha: TestService,
}

impl Synced {
    async fn with(mut fixture: ConsulFixture) -> Self {
        let alpha = TestService::new("alpha", &[[10, 9, 0, 1], [10, 9, 0, 2]]);
        fixture.put(&alpha).await;
        fixture.put(&TestService::new("beta", &[[10, 9, 1, 1]])).await;
        let mut synced = Self { watch: fixture.watch(), fixture, alpha };
        synced.live("the first sync").await;
        assert_eq!(services(&synced.watch.view), 2);
        synced
    }

    fn all_stays(&self) -> impl Fn(&View) -> Result<(), String> + use<> {
        let (key, alpha) = (self.fixture.key("alpha"), self.alpha.clone());
        move |view| match services(view) {
            2 => view.shows(&key, &alpha),
            found => Err(format!("{found} services are left")),
        }
    }

    async fn fails(&mut self, what: &str, with: &str) {
        let all_stays = self.all_stays();
        let failed = |view: &View| match &view.condition {
            Condition::Failed(reason) if reason.contains(with) => Ok(()),
            other => Err(format!("{other:?} does not say {with:?}")),
        };
        self.watch.until_while(what, failed, all_stays).await;
    }

    async fn live(&mut self, what: &str) {
        self.watch.until(what, View::live).await;
    }

    /// It is live with everything, and still follows.
    async fn recovers(&mut self) {
        let all_stays = self.all_stays();
        self.watch.until_while("the return", View::live, all_stays).await;
        self.follows().await;
    }

    async fn follows(&mut self) {
        let changed = TestService::new("alpha", &[[10, 9, 0, 7]]);
        self.fixture.put(&changed).await;
        let key = self.fixture.key("alpha");
        self.watch.until("a change after the return", |view| view.shows(&key, &changed)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_consul_is_silent_within_seconds_and_live_when_it_goes_on() {
    let mut synced = Synced::with(ConsulFixture::start().await).await;

    synced.fixture.consul.pause();
    synced.fails("the silence", "Consul is silent").await;
    synced.fixture.consul.resume();

    synced.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_consul_that_kept_its_data_comes_back_whole() {
    let options = options(|o| o.storage = Storage::Disk);
    let mut synced = Synced::with(ConsulFixture::with(options).await).await;

    synced.fixture.consul.kill9();
    synced.fails("the death", "asking Consul").await;
    synced.fixture.consul.restart().await;

    synced.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consul_that_forgot_everything_says_so_only_by_its_own_catalog() {
    let mut synced = Synced::with(ConsulFixture::start().await).await;
    let (alpha, beta) = (synced.fixture.key("alpha"), synced.fixture.key("beta"));

    synced.fixture.consul.kill9();
    synced.fails("the death", "asking Consul").await;
    synced.fixture.consul.restart_empty().await;

    let gone = |view: &View| view.live().and(view.lacks(&alpha)).and(view.lacks(&beta));
    synced.watch.until("the empty catalog", gone).await;
    synced.follows().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_goes_back_by_a_restored_snapshot_is_followed() {
    let mut synced = Synced::with(ConsulFixture::start().await).await;
    let (key, alpha) = (synced.fixture.key("alpha"), synced.alpha.clone());
    let snapshot = synced.fixture.consul.snapshot().await;
    let later = TestService::new("alpha", &[[10, 9, 0, 3]]);
    for _ in 0..20 {
        synced.fixture.put(&later).await;
        synced.fixture.put(&TestService::new("alpha", &[[10, 9, 0, 4]])).await;
    }
    synced.fixture.put(&later).await;
    synced.watch.until("the later state", |view| view.shows(&key, &later)).await;

    synced.fixture.consul.restore(snapshot).await;

    synced.watch.until("the earlier state", |view| view.shows(&key, &alpha)).await;
    synced.live("no failure stays").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_a_failure_and_a_new_one_from_its_file_mends_it() {
    let mut fixture = ConsulFixture::with(with_acl()).await;
    fixture.consul.acl_policy("reader", READER).await;
    let token = fixture.consul.acl_token(&["reader"]).await;
    let scratch = Scratch::new("token");
    let file = scratch.write("token", &token.secret);
    fixture.config.token_file = Some(file);
    let mut synced = Synced::with(fixture).await;

    synced.fixture.consul.revoke(&token).await;
    synced.fails("the revoked token", "403 Forbidden: ACL not found").await;

    let token = synced.fixture.consul.acl_token(&["reader"]).await;
    scratch.write("token", &token.secret);
    synced.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_token_is_taken_up_without_a_failure() {
    let mut fixture = ConsulFixture::with(with_acl()).await;
    fixture.consul.acl_policy("reader", READER).await;
    let old = fixture.consul.acl_token(&["reader"]).await;
    let new = fixture.consul.acl_token(&["reader"]).await;
    let scratch = Scratch::new("token");
    fixture.config.token_file = Some(scratch.write("token", &old.secret));
    let adapter = ConsulAdapter::new(fixture.config.clone());
    let traffic = adapter.traffic();
    let alpha = TestService::new("alpha", &[[10, 9, 0, 1]]);
    fixture.put(&alpha).await;
    let mut watch = Watch::start(fixture.registry(), Box::new(adapter));
    watch.until("the first sync", View::live).await;

    let before = traffic.queries();
    scratch.write("token", &new.secret);
    // A new session asks the list and the service twice each, from the start and
    // from there on; whatever was asked meanwhile was the probe.
    eventually("a new session", TIMEOUT, async || match traffic.queries() - before {
        asked if asked > 12 => Ok(()),
        asked => Err(format!("{asked} queries")),
    })
    .await;
    fixture.consul.revoke(&old).await;
    let (key, changed) = (fixture.key("alpha"), TestService::new("alpha", &[[10, 9, 0, 2]]));
    fixture.put(&changed).await;

    let never_failed = |view: &View| view.live();
    watch.until_while("a change", |view| view.shows(&key, &changed), never_failed).await;
}

#[rstest]
#[case::all_rights("none", "lacks the service \"consul\"")]
#[case::all_but_the_canary("consul-only", "may not see all of /v1/health/service/")]
#[case::nodes("services-only", "lacks the service \"consul\"")]
#[tokio::test(flavor = "multi_thread")]
async fn lost_rights_are_a_failure_and_no_empty_catalog(#[case] left: &str, #[case] says: &str) {
    let mut fixture = ConsulFixture::with(with_acl()).await;
    let consul = &fixture.consul;
    consul.acl_policy("reader", READER).await;
    consul.acl_policy("none", r#"key_prefix "x" { policy = "read" }"#).await;
    let only = r#"service "consul" { policy = "read" } node_prefix "" { policy = "read" }"#;
    consul.acl_policy("consul-only", only).await;
    consul.acl_policy("services-only", r#"service_prefix "" { policy = "read" }"#).await;
    let token = consul.acl_token(&["reader"]).await;
    fixture.config.token = Some(token.secret.as_str().into());
    let mut synced = Synced::with(fixture).await;

    synced.fixture.consul.set_policies(&token, &[left]).await;
    // Whatever wakes a query shows the catalog through the rights that are left.
    synced
        .fixture
        .consul
        .catalog_register(&json!({"Node": "other", "Address": "10.0.0.9",
        "Service": {"Service": "other", "Port": 1}}))
        .await;
    synced.fails("the lost rights", says).await;

    synced.fixture.consul.set_policies(&token, &["reader"]).await;
    synced.live("the rights are back").await;
    synced.follows().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_catalog_under_default_deny_never_syncs() {
    let mut fixture = ConsulFixture::with(with_acl()).await;
    fixture.config.token = None;
    fixture.put(&TestService::new("alpha", &[[10, 9, 0, 1]])).await;
    let mut watch = fixture.watch();

    watch.until("the failure", View::failed).await;
    assert_eq!(services(&watch.view), 0);

    let rights = r#"service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }"#;
    fixture.consul.acl_policy("anyone", rights).await;
    let anonymous = json!({"Policies": [{"Name": "anyone"}]});
    let path = "/v1/acl/token/00000000-0000-0000-0000-000000000002";
    fixture.consul.call(reqwest::Method::PUT, path, Some(&anonymous)).await;
    watch.until("the sync with rights", View::live).await;
    assert_eq!(services(&watch.view), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_in_the_middle_loses_nothing() {
    let mut synced = Synced::with(ConsulFixture::start().await).await;

    synced.fixture.proxy.set(Fault::CutAfter(200)).await;
    synced.fails("the cut", "asking Consul").await;
    synced.fixture.restore().await;

    synced.recovers().await;
}

#[rstest]
#[case(Consistency::Stale)]
#[case(Consistency::Consistent)]
#[tokio::test(flavor = "multi_thread")]
async fn each_consistency_mode_follows(#[case] consistency: Consistency) {
    let mut fixture = ConsulFixture::start().await;
    fixture.config.consistency = consistency;
    let mut synced = Synced::with(fixture).await;
    let beta = synced.fixture.key("beta");

    synced.fixture.remove("beta").await;

    synced.watch.until("the deletion", |view| view.lacks(&beta)).await;
    synced.follows().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_weights_and_maintenance_arrive() {
    let consul = Consul::start(ConsulOptions::default()).await;
    let web = json!({
        "Name": "web", "ID": "web-1", "Port": 8080, "Address": "10.0.0.1",
        "Weights": {"Passing": 10, "Warning": 3},
        "Check": {"CheckID": "up", "TTL": "1h", "Status": "passing"},
    });
    consul.register(&web).await;
    let config = ConsulConfig { address: consul.http_url(), ..ConsulConfig::new("vm") };
    let adapter = ConsulAdapter::new(config);
    let mut watch = Watch::start(adapter.registry(), Box::new(adapter));
    let key = ServiceKey::new("web.service.dc1.consul", "default");
    let is = |weight: u32, health: Health| {
        let key = Key::Endpoints(key.clone());
        move |view: &View| match view.values.get(&key) {
            Some(Value::Endpoints(set)) => {
                let found: Vec<_> = set.endpoints().iter().map(|e| (e.weight, e.health)).collect();
                if found == [(weight, health)] { Ok(()) } else { Err(format!("{found:?}")) }
            }
            _ => Err("no endpoints".to_owned()),
        }
    };

    watch.until("passing", is(10, Health::Healthy)).await;
    consul.set_check("up", "warning").await;
    watch.until("warning", is(3, Health::Degraded)).await;
    consul.set_check("up", "critical").await;
    watch.until("critical", is(10, Health::Unhealthy)).await;
    consul.set_check("up", "passing").await;
    watch.until("passing again", is(10, Health::Healthy)).await;
    let maintenance = |on| format!("/v1/agent/service/maintenance/web-1?enable={on}");
    consul.call(reqwest::Method::PUT, &maintenance(true), None).await;
    watch.until("maintenance", is(10, Health::Unhealthy)).await;
    consul.call(reqwest::Method::PUT, &maintenance(false), None).await;
    watch.until("the end of maintenance", is(10, Health::Healthy)).await;
    consul.call(reqwest::Method::PUT, "/v1/agent/maintenance?enable=true", None).await;
    watch.until("the node's maintenance", is(10, Health::Unhealthy)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars_are_left_out_and_two_services_never_share_a_host() {
    let mut fixture = ConsulFixture::start().await;
    let ip = [10, 9, 0, 1];
    fixture.put(&TestService::new("shop_api", &[ip])).await;
    let rival = TestService::new("shop-api", &[[10, 9, 0, 2]]);
    fixture.put(&rival).await;
    let mut sidecar = instance(&TestService::new("sidecar", &[ip]), ip.into());
    sidecar["Service"]["Kind"] = json!("connect-proxy");
    sidecar["Service"]["Proxy"] = json!({"DestinationServiceName": "shop-api"});
    fixture.consul.catalog_register(&sidecar).await;
    let mut watch = fixture.watch();

    watch.until("the first sync", View::live).await;

    assert_eq!(services(&watch.view), 1);
    let key = fixture.key("shop-api");
    watch.view.shows(&key, &rival).unwrap();
    let rejected: Vec<&Rejected> = watch.view.rejected.values().collect();
    assert_eq!(rejected[0].object.to_string(), "service shop_api");
    assert_eq!(
        rejected[0].reason,
        "its host name shop-api.service.dc1.consul is already that of the service \"shop-api\": \
         rename one or exclude it"
    );

    fixture.remove("shop-api").await;
    let heir = |view: &View| has(view, &key, 8080, Health::Healthy);
    let address = |view: &View| view.serving(&key) == [(std::net::IpAddr::from(ip), 8080)];
    watch
        .until("the heir", |view| match address(view) {
            true => heir(view),
            false => Err(format!("{:?}", view.serving(&key))),
        })
        .await;
    watch
        .until("nothing is rejected", |view| match view.rejected.len() {
            0 => Ok(()),
            _ => Err("a rejection stays".to_owned()),
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_with_a_server_name_and_rotated_certificates() {
    let options = options(|o| (o.tls, o.verify_incoming, o.acl) = (true, true, true));
    let mut fixture = ConsulFixture::with(options).await;
    let scratch = Scratch::new("tls");
    let identity = fixture.consul.client_identity().unwrap().clone();
    fixture.config.address = fixture.proxy.https_url();
    fixture.config.tls = TlsConfig {
        ca: Some(scratch.write("ca.pem", fixture.consul.ca().unwrap().pem())),
        cert: Some(scratch.write("client.pem", "not a certificate")),
        key: Some(scratch.write("client.key", &identity.key_pem)),
        server_name: Some("server.dc1.consul".to_owned()),
        ..TlsConfig::default()
    };
    let alpha = TestService::new("alpha", &[[10, 9, 0, 1]]);
    fixture.put(&alpha).await;
    let mut watch = fixture.watch();
    watch.until("the wrong certificate", View::failed).await;

    scratch.write("client.pem", &identity.cert_pem);

    let key = fixture.key("alpha");
    watch.until("the sync", |view| view.live().and(view.shows(&key, &alpha))).await;
    assert_eq!(endpoints(&watch.view, &key), [(8080, Health::Healthy)]);
    assert!(
        watch
            .view
            .values
            .values()
            .all(|value| !format!("{value:?}").contains(NODE)
                || matches!(value, Value::Endpoints(_)))
    );
}
