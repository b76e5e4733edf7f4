use std::time::Duration;

use mainstem_model::TimeSpan;
use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::{Value as Json, json};
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

fn good(body: Json) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .insert_header("x-consul-index", "7")
        .insert_header("x-consul-knownleader", "true")
        .set_body_json(body)
}

/// A server with a canary, and this answer for the service `web`.
async fn server(web: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let canary = good(json!([{"Datacenter": "dc1"}]));
    let on = |at: &str| Mock::given(method("GET")).and(path(at.to_owned()));
    on("/v1/catalog/service/consul").respond_with(canary).mount(&server).await;
    on("/v1/health/service/web").respond_with(web).mount(&server).await;
    server
}

async fn connect(
    server: &MockServer,
    change: impl FnOnce(&mut ConsulConfig),
) -> Result<Api, ApiError> {
    let mut config = ConsulConfig { address: server.uri(), ..ConsulConfig::new("a") };
    change(&mut config);
    let credentials = Credentials::read(&config).await?;
    Ok(Api::connect(&config, &credentials, Views::Welcome, Arc::default()).await?.0)
}

async fn ask(web: ResponseTemplate) -> Result<Answer<Vec<RawInstance>>, ApiError> {
    let server = server(web).await;
    let api = connect(&server, |_| {}).await?;
    api.instances("web", CatalogIndex::START, Ask::Any).await
}

async fn error(web: ResponseTemplate) -> String {
    ask(web).await.unwrap_err().full()
}

#[tokio::test]
async fn an_answer_counts_with_an_index_a_leader_and_all_rights() {
    let answer = ask(good(json!([]))).await.unwrap();
    assert_eq!((answer.index, answer.value), (CatalogIndex::new(7).unwrap(), vec![]));
    assert_eq!(ask(good(Json::Null)).await.unwrap().value, vec![]);
}

#[rstest]
#[case(ResponseTemplate::new(200).set_body_json(json!([])), "has no index: is http://")]
#[case(good(json!([])).insert_header("x-consul-index", "0"), "has no index")]
#[case(good(json!([])).insert_header("x-consul-index", "-7"), "has no index")]
#[case(good(json!([])).insert_header("x-consul-knownleader", "false"), "know no leader")]
#[case(good(json!([])).insert_header("x-consul-results-filtered-by-acls", "true"),
    "may not see all of /v1/health/service/web: give it service:read")]
#[case(ResponseTemplate::new(500).set_body_string("No cluster leader\n"),
    "with 500 Internal Server Error: No cluster leader")]
#[case(ResponseTemplate::new(403).set_body_string("ACL not found"), "403 Forbidden: ACL not found")]
#[case(ResponseTemplate::new(302).insert_header("location", "http://evil/"), "with 302 Found")]
#[case(good(json!({"not": "a list"})), "is malformed: invalid type: map, expected a sequence")]
#[case(good(json!([])).set_body_string("[{]"), "is malformed")]
#[case(good(json!([])).set_body_string("[".repeat(1_000_000)), "is malformed")]
#[case(good(json!([])).set_body_bytes(vec![b' '; MAX_ANSWER + 1]), "longer than 67108864 bytes")]
#[tokio::test]
async fn everything_else_is_an_error(#[case] web: ResponseTemplate, #[case] says: &str) {
    let error = error(web).await;
    assert!(error.contains(says), "{error}");
}

#[tokio::test]
async fn an_answer_of_what_the_agent_keeps_needs_no_leader_and_says_whose_it_is() {
    let kept = |header: &str, value: &str| {
        good(json!([])).insert_header("x-consul-knownleader", "false").insert_header(header, value)
    };
    for answer in [kept("x-consul-query-backend", "streaming"), kept("x-cache", "HIT")] {
        assert!(ask(answer).await.unwrap().by_agent);
    }
    assert!(!ask(good(json!([]))).await.unwrap().by_agent);
}

#[tokio::test]
async fn a_bad_element_costs_only_itself() {
    let good_one = json!({"Node": {"Node": "n"}, "Service": {"ID": "a"}});
    let bad = json!({"Node": {"Node": "n"}, "Service": {"ID": "b", "Port": "x"}});
    let found = ask(good(json!([good_one, bad, 7]))).await.unwrap().value;
    let ids: Vec<Result<&str, &str>> = found
        .iter()
        .map(|one| one.as_ref().map(|i| i.service.id.as_str()).map_err(|bad| bad.id.as_str()))
        .collect();
    assert_eq!(ids, [Ok("a"), Err("b"), Err("element-2")]);
}

#[tokio::test]
async fn a_list_without_its_canary_is_an_error() {
    let server = server(good(json!([]))).await;
    let list = Mock::given(path("/v1/catalog/services"));
    list.respond_with(good(json!({"web": []}))).mount(&server).await;
    let api = connect(&server, |_| {}).await.unwrap();
    let error = api.services(Ask::Any).await.unwrap_err();
    assert!(error.to_string().contains("lacks the service \"consul\""), "{error}");

    Mock::given(path("/v1/status/leader"))
        .respond_with(ResponseTemplate::new(200).set_body_json("10.0.0.1:8300"))
        .mount(&server)
        .await;
    let api = connect(&server, |config| config.canary = Some(String::new())).await.unwrap();
    let list = api.services(Ask::Any).await.unwrap();
    assert_eq!(list.value.into_keys().collect::<Vec<_>>(), ["web"]);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_silent_after_the_probes_time() {
    let server = MockServer::start().await;
    let late = good(json!([])).set_delay(Duration::from_secs(60));
    Mock::given(method("GET")).respond_with(late).mount(&server).await;
    let error = connect(&server, |config| config.probe_timeout = TimeSpan::from_millis(50))
        .await
        .unwrap_err();
    assert!(error.is_silence(), "{error}");
    assert_eq!(
        error.to_string(),
        "Consul is silent: no answer to /v1/catalog/service/consul within 0.05 s"
    );
}

#[tokio::test]
async fn what_takes_something_away_is_asked_of_the_leader_also_under_stale() {
    let server = server(ResponseTemplate::new(404)).await;
    let api = |consistency| {
        connect(&server, move |config: &mut ConsulConfig| {
            config.consistency = consistency;
            config.token = Some("secret".into());
            config.datacenter = Some("dc2".to_owned());
        })
    };
    let expect = |key: &'static str| {
        Mock::given(path("/v1/health/service/db"))
            .and(header("x-consul-token", "secret"))
            .and(query_param("dc", "dc2"))
            .and(query_param(key, ""))
            .respond_with(good(json!([])))
    };
    expect("stale").expect(1).mount(&server).await;
    expect("consistent").expect(2).mount(&server).await;

    let stale = api(Consistency::Stale).await.unwrap();
    stale.instances("db", CatalogIndex::START, Ask::Any).await.unwrap();
    assert!(stale.instances("db", CatalogIndex::START, Ask::Leader).await.is_err());
    let consistent = api(Consistency::Consistent).await.unwrap();
    consistent.instances("db", CatalogIndex::START, Ask::Any).await.unwrap();
    consistent.instances("db", CatalogIndex::START, Ask::Leader).await.unwrap();
}

#[rstest]
#[case::by_default(Consistency::Default, &["cached", ""])]
#[case::stale(Consistency::Stale, &["stale&cached", ""])]
#[case::consistent(Consistency::Consistent, &["consistent", "consistent"])]
#[tokio::test]
async fn the_agents_cache_is_asked_for_nothing_that_takes_something_away(
    #[case] consistency: Consistency,
    #[case] expected: &[&str],
) {
    let server = server(good(json!([]))).await;
    let with = |config: &mut ConsulConfig| {
        (config.consistency, config.agent_cache) = (consistency, true);
    };
    let api = connect(&server, with).await.unwrap();
    for ask in [Ask::Any, Ask::Leader] {
        api.instances("web", CatalogIndex::START, ask).await.unwrap();
    }
    let requests = server.received_requests().await.unwrap();
    let health = requests.iter().filter(|request| request.url.path().contains("/health/"));
    let queries: Vec<_> = health.map(|one| one.url.query().unwrap_or_default()).collect();
    assert_eq!(queries, expected);
}

#[tokio::test]
async fn what_queries_cost_is_counted() {
    let server = server(good(json!([]))).await;
    let config = ConsulConfig { address: server.uri(), ..ConsulConfig::new("a") };
    let credentials = Credentials::read(&config).await.unwrap();
    let traffic = Arc::new(Traffic::default());
    let (api, present) =
        Api::connect(&config, &credentials, Views::Welcome, traffic.clone()).await.unwrap();
    assert_eq!(present, Present { datacenter: Some("dc1".to_owned()) });
    assert_eq!((traffic.queries(), traffic.bytes()), (1, 22));
    api.instances("web", CatalogIndex::START, Ask::Any).await.unwrap();
    assert_eq!((traffic.queries(), traffic.bytes()), (2, 24));
}
