use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstem_model::{Condition, Namespace, Sourced, Value};
use mainstem_registry::{Batch, UpdateReceiver, UpdateSender, channel};
use tokio::sync::watch;

use super::*;

/// An adapter that brings one namespace, then does what its recipe says.
#[derive(Clone, Debug)]
struct Fake {
    namespace: &'static str,
    end: End,
    /// Adapters that run at this moment.
    alive: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Never,
    Panic,
    Return,
}

impl PartialEq for Fake {
    fn eq(&self, other: &Self) -> bool {
        (self.namespace, self.end) == (other.namespace, other.end)
    }
}

impl Recipe for Fake {
    fn adapter(&self) -> Box<dyn Adapter> {
        Box::new(self.clone())
    }
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Adapter for Fake {
    fn run(self: Box<Self>, updates: UpdateSender) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            self.alive.fetch_add(1, Ordering::SeqCst);
            let _alive = Alive(self.alive.clone());
            updates.replace(vec![namespace(self.namespace, updates.registry())], Vec::new());
            match self.end {
                End::Never => std::future::pending().await,
                End::Panic => panic!("index 3 of 2"),
                End::Return => {}
            }
        })
    }
}

fn namespace(name: &str, registry: &RegistryId) -> Value {
    let origins = Sourced::only(registry, "Namespace", name, "1");
    Value::Namespace(Arc::new(Namespace { name: name.into(), labels: Default::default(), origins }))
}

struct Manager {
    plans: watch::Sender<Plan<Fake>>,
    receiver: UpdateReceiver,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    alive: Arc<AtomicUsize>,
}

impl Manager {
    fn start() -> Self {
        let (updates, receiver) = channel();
        let (plans, plan) = watch::channel(Plan::new());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(manage(plan, updates, shutdown.clone()));
        Self { plans, receiver, shutdown, task, alive: Arc::default() }
    }

    fn plan<const N: usize>(&self, registries: [(&str, &'static str, End); N]) {
        let plan = registries.into_iter().map(|(id, namespace, end)| {
            (id.into(), Fake { namespace, end, alive: self.alive.clone() })
        });
        self.plans.send_replace(plan.collect());
    }

    /// The first batch of the registry that is as asked for.
    async fn batch(&mut self, id: &str, wanted: impl Fn(&Batch) -> bool) -> Batch {
        loop {
            for (registry, batch) in self.receiver.recv().await {
                if registry.as_str() == id && wanted(&batch) {
                    return batch;
                }
            }
        }
    }

    async fn names(&mut self, id: &str) -> Vec<String> {
        let batch = self.batch(id, |batch| batch.replace.is_some()).await;
        let (values, _) = batch.replace.unwrap();
        values.keys().map(|key| format!("{key:?}")).collect()
    }
}

#[tokio::test]
async fn registries_come_change_and_go_with_the_plan() {
    let mut manager = Manager::start();
    manager.plan([("file/a", "one", End::Never)]);
    assert_eq!(manager.names("file/a").await, ["Namespace(\"one\")"]);
    manager.plan([("file/a", "two", End::Never), ("file/b", "b", End::Never)]);
    assert_eq!(manager.names("file/a").await, ["Namespace(\"two\")"]);
    manager.plan([("file/b", "b", End::Never)]);
    assert!(manager.batch("file/a", |batch| batch.removed).await.values.is_empty());
    assert_eq!(manager.alive.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_unchanged_registry_is_left_alone() {
    let mut manager = Manager::start();
    manager.plan([("file/a", "one", End::Never)]);
    manager.names("file/a").await;
    manager.plan([("file/a", "one", End::Never), ("file/b", "b", End::Never)]);
    manager.names("file/b").await;
    assert!(manager.receiver.try_recv().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_adapter_that_panics_or_returns_is_started_again_and_its_registry_says_so() {
    for (end, reason) in [
        (End::Panic, "the adapter panicked: index 3 of 2; it is being restarted"),
        (End::Return, "the adapter ended by itself; it is being restarted"),
    ] {
        let mut manager = Manager::start();
        manager.plan([("file/a", "one", end)]);
        let failed = Some(Condition::Failed(reason.into()));
        for _ in 0..3 {
            manager.batch("file/a", |batch| batch.condition == failed).await;
        }
    }
}

#[tokio::test]
async fn a_shutdown_joins_every_adapter() {
    let mut manager = Manager::start();
    manager.plan([("file/a", "one", End::Never), ("file/b", "b", End::Never)]);
    manager.names("file/b").await;
    manager.shutdown.cancel();
    manager.task.await.unwrap().unwrap();
    assert_eq!(manager.alive.load(Ordering::SeqCst), 0);
}
