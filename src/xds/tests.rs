use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use mainstem_aggregate::{AggregateConfig, RegistrySettings};
use mainstem_model::{
    Address, Endpoint, EndpointSet, Key, Origins, Port, Protocol, RegistryId, RegistryUpdate,
    Service, ServiceKey, Sourced, TargetPort, Value,
};
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mainstem_proto::envoy::config::route::v3::{
    RouteConfiguration, route::Action, route_action::ClusterSpecifier,
};
use mainstem_registry::{UpdateSender, Updates};
use mainstem_xds::{Identity, Lookup, Name, NameSet, Subscription, TypeUrl};
use tokio::sync::watch;

use super::*;

const CLUSTER: &str = "outbound|80||db.shop.svc.cluster.local";

/// Registries `file/a` and `file/b`, an aggregate and scopes, without sockets.
struct World {
    updates: Updates,
    source: Source,
    shutdown: CancellationToken,
    _config: watch::Sender<AggregateConfig>,
}

impl World {
    fn start() -> Self {
        let registry = |name: &str| RegistrySettings {
            joins: vec!["*".into()],
            deadline: Duration::from_secs(600),
            ..RegistrySettings::new(RegistryId::new("file", name))
        };
        let config = AggregateConfig {
            cluster: "home".into(),
            registries: vec![registry("a"), registry("b")],
            ..AggregateConfig::default()
        };
        let (config, following) = watch::channel(config);
        let (updates, receiver) = mainstem_registry::channel();
        let (publisher, published) = mainstem_aggregate::channel();
        let shutdown = CancellationToken::new();
        tokio::spawn(mainstem_aggregate::run(receiver, following, publisher, shutdown.clone()));
        let source = Source::new(&published, Settings::default(), "home".into());
        source.tell_needs(updates.clone());
        tokio::spawn(source.clone().follow(shutdown.clone()));
        Self { updates, source, shutdown, _config: config }
    }

    fn registry(&self, name: &str) -> UpdateSender {
        self.updates.sender(RegistryId::new("file", name))
    }

    fn connect(&self) -> Box<dyn ResourceView> {
        self.connect_as("envoy")
    }

    fn connect_as(&self, user_agent: &str) -> Box<dyn ResourceView> {
        let id = "sidecar~10.9.9.9~web.shop~shop.svc.cluster.local".to_owned();
        let node = Node { id, user_agent_name: user_agent.to_owned(), ..Node::default() };
        let client = Client::new(1, node, None, Identity::anonymous());
        self.source.connect(&Arc::new(client)).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn origins(registry: &str) -> Origins {
    Sourced::only(&RegistryId::new("file", registry), "Service", "db", "1")
}

fn key() -> ServiceKey {
    ServiceKey::new("db.shop.svc.cluster.local", "shop")
}

fn service(registry: &str) -> Value {
    let port = Port {
        number: 80,
        name: "http".into(),
        protocol: Protocol::Http,
        target: TargetPort::Number(80),
    };
    Value::Service(Arc::new(Service {
        ports: vec![port],
        ..Service::new(key(), origins(registry))
    }))
}

fn endpoints(registry: &str, ips: &[&str]) -> Value {
    let endpoint =
        |ip: &&str| Arc::new(Endpoint::new(80, Address::parse(ip), 8080, origins(registry)));
    Value::Endpoints(Arc::new(EndpointSet::new(key(), ips.iter().map(endpoint).collect())))
}

/// The types and names that a view says have changed, once something has.
async fn next(view: &mut Box<dyn ResourceView>) -> Vec<(String, String)> {
    loop {
        poll_fn(|context| view.poll_changed(context)).await;
        let changes = view.advance().names;
        let each = changes.iter().flat_map(|(type_url, names)| {
            names.iter().map(|name| (type_url.short().to_owned(), name.to_string()))
        });
        let all: Vec<_> = each.collect();
        if !all.is_empty() {
            return all;
        }
    }
}

fn eds(name: &str) -> (String, String) {
    ("EDS".to_owned(), name.to_owned())
}

#[tokio::test(start_paused = true)]
async fn nobody_is_answered_before_every_registry_has_been_heard() {
    let world = World::start();
    world.registry("a").replace(vec![service("a"), endpoints("a", &["10.0.0.1"])], Vec::new());
    let mut view = world.connect();
    view.advance();
    assert!(!view.complete(&TypeUrl::CLUSTER));
    assert_eq!(view.list(&TypeUrl::CLUSTER).count(), 0);
    let unknown = "outbound|1||nobody";
    assert_eq!(view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, unknown), Lookup::Loading);

    world.registry("b").replace(vec![endpoints("b", &["10.0.0.2"])], Vec::new());
    let changed = next(&mut view).await;
    assert!(view.complete(&TypeUrl::CLUSTER));
    // Those that were asked for in vain are told so now.
    assert!(changed.contains(&eds(unknown)), "{changed:?}");
    assert!(changed.contains(&eds(CLUSTER)), "{changed:?}");
    assert_eq!(view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, unknown), Lookup::Absent);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_change_wakes_with_its_load_assignment_alone() {
    let world = World::start();
    let (a, b) = (world.registry("a"), world.registry("b"));
    a.replace(vec![service("a"), endpoints("a", &["10.0.0.1"])], Vec::new());
    b.replace(vec![endpoints("b", &["10.0.0.2"])], Vec::new());
    let mut view = world.connect();
    view.advance();
    if !view.complete(&TypeUrl::CLUSTER) {
        next(&mut view).await;
    }
    view.release();

    b.put(endpoints("b", &["10.0.0.2", "10.0.0.3"]));
    assert_eq!(next(&mut view).await, [eds(CLUSTER)]);
}

#[tokio::test(start_paused = true)]
async fn a_kept_set_version_equals_a_counted_one() {
    let world = World::start();
    let (a, b) = (world.registry("a"), world.registry("b"));
    a.replace(vec![service("a"), endpoints("a", &["10.0.0.1"])], Vec::new());
    b.replace(Vec::new(), Vec::new());
    let mut view = world.connect();
    view.advance();
    if !view.complete(&TypeUrl::CLUSTER) {
        next(&mut view).await;
    }
    for type_url in [TypeUrl::CLUSTER, TypeUrl::CLUSTER_LOAD_ASSIGNMENT, TypeUrl::LISTENER] {
        let listed: Vec<_> = view.list(&type_url).collect();
        let counted = listed.iter().map(|resource| (&**resource.name(), resource.version()));
        assert!(!listed.is_empty(), "{type_url:?}");
        assert_eq!(
            view.set_version(&type_url, None),
            mainstem_xds::SetVersion::of(counted),
            "{type_url:?}"
        );
        assert!(view.get(&type_url, listed[0].name()).found().is_some_and(|r| r == listed[0]));
    }
}

#[tokio::test]
async fn a_stream_that_ends_leaves_nothing_behind() {
    let world = World::start();
    let view = world.connect();
    assert_eq!((world.source.counts().proxies, world.source.shared.wakes.lock().len()), (1, 1));
    drop(view);
    assert_eq!((world.source.counts().proxies, world.source.shared.wakes.lock().len()), (0, 0));
}

fn loaded() -> RegistryUpdate {
    RegistryUpdate::Remove(Key::Unloaded(key()))
}

/// A world in which registry `a` has the service, and has not loaded it.
fn unloaded() -> (World, UpdateSender) {
    let world = World::start();
    let a = world.registry("a");
    a.replace(vec![Value::Unloaded(key())], Vec::new());
    world.registry("b").replace(Vec::new(), Vec::new());
    (world, a)
}

/// A view that has been told all that there is, of everything or of one name.
async fn settled(world: &World, view: &mut Box<dyn ResourceView>) {
    world.source.shared.readiness.clone().ready().await;
    while world.source.shared.demand.missing().is_empty() {
        tokio::task::yield_now().await;
    }
    view.advance();
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_all_he_sees_waits_until_it_is_loaded() {
    let (world, a) = unloaded();
    let mut demand = a.demand();
    let mut view = world.connect();
    settled(&world, &mut view).await;
    assert!(!demand.needs(&key()));
    view.subscribed(&TypeUrl::CLUSTER, &Subscription::new(true, NameSet::default()));
    demand.changed().await;
    demand.look();
    assert!(demand.needs(&key()));
    assert!(!view.complete(&TypeUrl::CLUSTER));
    assert_eq!(view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, CLUSTER), Lookup::Loading);

    let values = [service("a"), endpoints("a", &["10.0.0.1"])].map(RegistryUpdate::Put);
    a.send_all(values.into_iter().chain([loaded()]));
    let changed = next(&mut view).await;
    assert!(changed.contains(&eds(CLUSTER)), "{changed:?}");
    assert!(view.complete(&TypeUrl::CLUSTER));
    assert!(view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, CLUSTER).found().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_all_he_sees_does_not_wait_for_ever() {
    let (world, _a) = unloaded();
    let mut view = world.connect();
    settled(&world, &mut view).await;
    let began = tokio::time::Instant::now();
    let everything = Subscription::new(true, NameSet::default());
    view.subscribed(&TypeUrl::CLUSTER, &everything);
    let changed = next(&mut view).await;
    assert_eq!(began.elapsed().as_secs(), 30);
    assert!(view.complete(&TypeUrl::CLUSTER) && !changed.contains(&eds(CLUSTER)), "{changed:?}");
    // What is not there is still not said to be absent.
    assert_eq!(view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, CLUSTER), Lookup::Loading);
    // Who comes later does not begin to wait again.
    let mut later = world.connect();
    later.advance();
    assert!(later.complete(&TypeUrl::CLUSTER));
}

#[tokio::test(start_paused = true)]
async fn who_asks_by_name_is_told_when_that_is_loaded_or_gone() {
    for loads in [true, false] {
        let (world, a) = unloaded();
        let mut demand = a.demand();
        let mut view = world.connect_as("gRPC C-core");
        settled(&world, &mut view).await;
        if !view.complete(&TypeUrl::CLUSTER) {
            next(&mut view).await;
        }
        let names = [CLUSTER, "outbound|80||nobody"];
        assert_eq!(view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, CLUSTER), Lookup::Loading);
        let unknown = view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, names[1]);
        assert!(matches!(unknown, Lookup::Failed(_)), "{unknown:?}");
        let subscription = Subscription::new(false, names.into_iter().map(Into::into).collect());
        view.subscribed(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, &subscription);
        demand.changed().await;
        demand.look();
        assert!(demand.needs(&key()));

        let values = [service("a"), endpoints("a", &["10.0.0.1"])].map(RegistryUpdate::Put);
        a.send_all(values.into_iter().filter(|_| loads).chain([loaded()]));
        let changed = next(&mut view).await;
        assert!(changed.contains(&eds(CLUSTER)), "{changed:?}");
        let found = view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, CLUSTER);
        assert_eq!((found.clone().found().is_some(), found == Lookup::Loading), (loads, false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_service_is_not_told_for_the_whole_while_there_is_patience() {
    let world = World::start();
    let (a, b) = (world.registry("a"), world.registry("b"));
    a.replace(vec![Value::Unloaded(key())], Vec::new());
    b.replace(vec![service("b"), endpoints("b", &["10.0.0.2"])], Vec::new());
    let mut view = world.connect_as("gRPC C-core");
    settled(&world, &mut view).await;
    if !view.complete(&TypeUrl::CLUSTER) {
        next(&mut view).await;
    }
    assert_eq!(view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, CLUSTER), Lookup::Loading);
    view.subscribed(
        &TypeUrl::CLUSTER_LOAD_ASSIGNMENT,
        &Subscription::new(false, [CLUSTER.into()].into_iter().collect()),
    );
    let began = tokio::time::Instant::now();
    assert_eq!(next(&mut view).await, [eds(CLUSTER)]);
    assert_eq!(began.elapsed().as_secs(), 30);
    assert!(view.get(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, CLUSTER).found().is_some());
}

/// The resource of a name, which it has to have itself.
fn found(view: &dyn ResourceView, type_url: &TypeUrl, name: &str) -> Arc<mainstem_xds::Resource> {
    let lookup = view.get(type_url, name);
    let found = lookup.clone().found().unwrap_or_else(|| panic!("{name}: {lookup:?}"));
    assert_eq!(**found.name(), *name);
    found
}

/// The cluster of the first route.
fn cluster_of(routes: &mainstem_xds::Resource) -> String {
    let routes: RouteConfiguration = routes.any().unpack().unwrap();
    let Some(Action::Route(action)) = &routes.virtual_hosts[0].routes[0].action else { panic!() };
    let Some(ClusterSpecifier::Cluster(name)) = &action.cluster_specifier else { panic!() };
    name.clone()
}

#[tokio::test(start_paused = true)]
async fn a_grpc_client_follows_federated_names_from_listener_to_endpoints() {
    let world = World::start();
    world.source.set_authorities(["mesh".to_owned()]);
    let (a, b) = (world.registry("a"), world.registry("b"));
    a.replace(vec![service("a"), endpoints("a", &["10.0.0.1"])], Vec::new());
    b.replace(Vec::new(), Vec::new());
    let mut view = world.connect_as("gRPC C-core");
    let assignment = "xdstp://mesh/envoy.config.endpoint.v3.ClusterLoadAssignment/\
                      outbound%7C80%7C%7Cdb.shop.svc.cluster.local";
    let subscription = Subscription::new(false, [Name::from(assignment)].into_iter().collect());
    world.source.shared.readiness.clone().ready().await;
    view.advance();
    if !view.complete(&TypeUrl::CLUSTER) {
        next(&mut view).await;
    }
    view.subscribed(&TypeUrl::CLUSTER_LOAD_ASSIGNMENT, &subscription);

    let listener =
        "xdstp://mesh/envoy.config.listener.v3.Listener/db.shop.svc.cluster.local:80?env=eu";
    let routes = found(&*view, &TypeUrl::LISTENER, listener).referred()[0].clone();
    let cluster = cluster_of(&found(&*view, &TypeUrl::ROUTE_CONFIGURATION, &routes));
    let cluster = found(&*view, &TypeUrl::CLUSTER, &cluster);
    assert_eq!(cluster.referred(), [Name::from(assignment)]);
    let type_url = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
    let told: ClusterLoadAssignment = found(&*view, &type_url, assignment).any().unpack().unwrap();
    assert_eq!((&*told.cluster_name, told.endpoints.len()), (assignment, 1));
    let set =
        |name: &str| view.set_version(&type_url, Some(&[Name::from(name)].into_iter().collect()));
    assert_ne!(set(assignment), set(CLUSTER));

    a.put(endpoints("a", &["10.0.0.2"]));
    assert_eq!(next(&mut view).await, [eds(CLUSTER), eds(assignment)]);

    let foreign = "xdstp://other/envoy.config.listener.v3.Listener/db.shop.svc.cluster.local:80";
    assert!(matches!(view.get(&TypeUrl::LISTENER, foreign), Lookup::Failed(_)));
    let mut envoy = world.connect();
    envoy.advance();
    assert!(envoy.get(&type_url, assignment).found().is_none());
}

#[tokio::test(start_paused = true)]
async fn whoever_proved_an_identity_proved_its_namespace() {
    let world = World::start();
    let proven = |names: Vec<Arc<str>>| {
        let id = "sidecar~10.9.9.9~web.shop~shop.svc.cluster.local".to_owned();
        let node = Node { id, ..Node::default() };
        let identity = Identity { names, ..Identity::default() };
        let client = Client::new(1, node, None, identity);
        world.source.proxy(&client).unwrap().namespace_proven
    };
    let name = Arc::from("spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!((proven(vec![name]), proven(Vec::new())), (true, false));
}
