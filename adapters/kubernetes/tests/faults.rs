//! What a real API server does to those who follow it.

mod common;

use common::{KubernetesFixture, config, object, watch};
use mainstem_test_support::battery::{Fixture, TestService, View, Watch};
use mainstem_test_support::{Kubernetes, Scratch};
use serde_json::{Value, json};

/// A cluster with one service, followed, and the check that it stands.
struct Stage {
    fixture: KubernetesFixture,
    watch: Watch,
    alpha: TestService,
}

impl Stage {
    async fn set(mut fixture: KubernetesFixture) -> Self {
        let alpha = TestService::new("alpha", &[[10, 9, 0, 1], [10, 9, 0, 2]]);
        fixture.put(&alpha).await;
        let mut watch = watch(&fixture.config);
        let key = fixture.key("alpha");
        let synced = |view: &View| view.live().and(view.shows(&key, &alpha));
        watch.until("the first sync", synced).await;
        Self { fixture, watch, alpha }
    }

    /// Reads until `check` holds, while alpha stays as it is.
    async fn keeping(&mut self, what: &str, check: impl Fn(&View) -> Result<(), String>) {
        let (key, alpha) = (self.fixture.key("alpha"), &self.alpha);
        self.watch.until_while(what, check, |view| view.shows(&key, alpha)).await;
    }

    /// Puts a service and reads until it is there and the registry live.
    async fn arrives(&mut self, what: &str, service: &TestService) {
        self.fixture.put(service).await;
        let key = self.fixture.key(&service.name);
        let there = |view: &View| view.live().and(view.shows(&key, service));
        self.keeping(what, there).await;
    }
}

fn rule(group: &str, resources: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": ["list", "watch"] })
}

/// All rights that the adapter uses, Istio's kinds aside.
fn all_rights() -> Value {
    let core = ["services", "pods", "namespaces", "nodes"];
    json!([rule("", &core), rule("discovery.k8s.io", &["endpointslices"])])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_are_taken_away_fail_the_registry_and_lose_nothing() {
    let mut fixture = KubernetesFixture::shared().await;
    let user = fixture.kubernetes.restricted_user(&all_rights()).await;
    fixture.config = config(user.kubeconfig());
    let mut stage = Stage::set(fixture).await;

    user.revoke().await;
    stage.keeping("the loss of the rights", View::failed).await;

    let meanwhile = TestService::new("beta", &[[10, 9, 1, 1]]);
    stage.fixture.put(&meanwhile).await;
    user.grant(&all_rights()).await;
    stage.arrives("the return of the rights", &meanwhile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_is_not_required_may_be_forbidden_and_is_named() {
    let mut fixture = KubernetesFixture::shared().await;
    let rights =
        |kinds: &[&str]| json!([rule("", kinds), rule("discovery.k8s.io", &["endpointslices"])]);
    let user = fixture.kubernetes.restricted_user(&rights(&["services", "pods"])).await;
    fixture.config = config(user.kubeconfig());
    let mut stage = Stage::set(fixture).await;

    let (nodes, namespaces) = (object("Node", "*"), object("Namespace", "*"));
    let named = |view: &View| view.rejects(&nodes).and(view.rejects(&namespaces));
    stage.keeping("the forbidden kinds are named", named).await;

    user.grant(&all_rights()).await;
    let allowed = |view: &View| view.accepts(&nodes).and(view.accepts(&namespaces));
    stage.keeping("the kinds are followed once allowed", allowed).await;
    stage.watch.view.live().expect("a kind that is not required fails nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_hangs_is_noticed_and_loses_nothing() {
    let fixture = KubernetesFixture::of(Kubernetes::start().await).await;
    let mut stage = Stage::set(fixture).await;

    stage.fixture.kubernetes.pause();
    stage.keeping("the silence is noticed", View::failed).await;

    stage.fixture.kubernetes.resume();
    stage.keeping("the registry is live again", View::live).await;
    stage.arrives("a change afterwards", &TestService::new("beta", &[[10, 9, 1, 1]])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_hangs_is_noticed_too() {
    let fixture = KubernetesFixture::of(Kubernetes::start().await).await;
    let mut stage = Stage::set(fixture).await;

    stage.fixture.kubernetes.etcd().process().pause();
    stage.keeping("the silence is noticed", View::failed).await;

    stage.fixture.kubernetes.etcd().process().resume();
    stage.keeping("the registry is live again", View::live).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_killed_and_started_again_loses_nothing() {
    let fixture = KubernetesFixture::of(Kubernetes::start().await).await;
    let mut stage = Stage::set(fixture).await;

    stage.fixture.kubernetes.kill9();
    stage.keeping("the loss of the API server", View::failed).await;

    stage.fixture.kubernetes.restart().await;
    stage.keeping("the registry is live again", View::live).await;
    stage.arrives("a change afterwards", &TestService::new("beta", &[[10, 9, 1, 1]])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_is_noticed() {
    let mut stage = Stage::set(KubernetesFixture::shared().await).await;

    stage.fixture.hang().await;
    stage.keeping("the silence is noticed", View::failed).await;
    // What hung for good is not waited for: new watches are opened.
    stage.fixture.proxy.cut().await;
    stage.fixture.restore().await;
    stage.arrives("a change afterwards", &TestService::new("beta", &[[10, 9, 1, 1]])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_are_replaced_in_the_kubeconfig_are_taken_up() {
    let mut fixture = KubernetesFixture::shared().await;
    let (kubernetes, scratch) = (fixture.kubernetes.clone(), Scratch::new("kubeconfig"));
    let with_token = |token: &str| {
        let made = kubernetes.kubeconfig_for(token, &kubernetes.url());
        scratch.write("config", std::fs::read(made).expect("it was just written"))
    };
    let alpha = TestService::new("alpha", &[[10, 9, 0, 1]]);
    fixture.put(&alpha).await;
    let mut watch = watch(&config(with_token("expired")));
    watch.until("the refusal", View::failed).await;

    with_token(kubernetes.token());
    let key = fixture.key("alpha");
    let synced = |view: &View| view.live().and(view.shows(&key, &alpha));
    watch.until("the first sync", synced).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_go_on_where_they_were() {
    let mut stage = Stage::set(KubernetesFixture::shared().await).await;
    for last in 1..5 {
        stage.fixture.proxy.cut().await;
        stage.arrives("a change after a cut", &TestService::new("beta", &[[10, 9, 1, last]])).await;
    }
}
