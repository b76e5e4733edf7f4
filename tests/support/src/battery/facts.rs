//! The facts, one function each.

use std::time::Duration;

use mainstem_model::ServiceKey;

use super::{Fixture, TestService, View, Watch};

/// A registry with two services and an adapter that has seen them.
struct Stage<F> {
    fixture: F,
    watch: Watch,
    alpha: TestService,
    beta: TestService,
}

impl<F: Fixture> Stage<F> {
    async fn set(mut fixture: F) -> Self {
        let alpha = TestService::new("alpha", &[[10, 9, 0, 1], [10, 9, 0, 2]]);
        let beta = TestService::new("beta", &[[10, 9, 1, 1]]);
        fixture.put(&alpha).await;
        fixture.put(&beta).await;
        let watch = watch(&fixture);
        let mut stage = Self { fixture, watch, alpha, beta };
        let (a, b) = (stage.key("alpha"), stage.key("beta"));
        let (alpha, beta) = (stage.alpha.clone(), stage.beta.clone());
        let complete = |view: &View| {
            view.live()?;
            view.shows(&a, &alpha)?;
            view.shows(&b, &beta)
        };
        stage.watch.until("the first sync", complete).await;
        stage
    }

    fn key(&self, name: &str) -> ServiceKey {
        self.fixture.key(name)
    }

    /// Puts the service and waits until it has arrived.
    async fn put(&mut self, what: &str, service: &TestService) {
        self.fixture.put(service).await;
        self.arrives(what, service).await;
    }

    async fn arrives(&mut self, what: &str, service: &TestService) {
        let key = self.key(&service.name);
        self.watch.until(what, |view| view.shows(&key, service)).await;
    }

    /// Reads until `check` holds, while alpha stays as it is.
    async fn keeping_alpha(&mut self, what: &str, check: impl Fn(&View) -> Result<(), String>) {
        let key = self.key("alpha");
        let alpha = &self.alpha;
        self.watch.until_while(what, check, |view| view.shows(&key, alpha)).await;
    }
}

fn watch<F: Fixture>(fixture: &F) -> Watch {
    Watch::start(fixture.registry(), fixture.adapter())
}

/// The first sync brings everything that is there, at once and as live: never a
/// live registry with a part of it.
pub async fn first_sync<F: Fixture>(mut fixture: F) {
    let alpha = TestService::new("alpha", &[[10, 9, 0, 1], [10, 9, 0, 2]]);
    let beta = TestService::new("beta", &[[10, 9, 1, 1]]);
    fixture.put(&alpha).await;
    fixture.put(&beta).await;
    let (a, b) = (fixture.key("alpha"), fixture.key("beta"));

    let mut watch = watch(&fixture);

    let whole = |view: &View| view.shows(&a, &alpha).and(view.shows(&b, &beta));
    let never_in_part = |view: &View| match view.live() {
        Ok(()) => whole(view),
        Err(_) => Ok(()),
    };
    watch.until_while("the first sync", |view| view.live(), never_in_part).await;
    assert!(
        watch.view.service(&a).is_some_and(|s| s.origins[0].origin.registry == fixture.registry())
    );
}

/// A service that is added arrives, and its neighbours stay.
pub async fn add<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let gamma = TestService::new("gamma", &[[10, 9, 2, 1]]);
    let key = stage.key("gamma");

    stage.fixture.put(&gamma).await;

    stage.keeping_alpha("the added service", |view| view.shows(&key, &gamma)).await;
}

/// Endpoints that are added, removed and change health arrive, and so does a
/// changed port; the neighbours stay.
pub async fn update<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let mut beta = stage.beta.clone();

    beta.ready.push([10, 9, 1, 2].into());
    stage.put("an endpoint more", &beta).await;

    beta.unready = vec![beta.ready.remove(0)];
    stage.put("an endpoint that turned unhealthy", &beta).await;

    beta.ready.append(&mut beta.unready);
    stage.put("an endpoint that recovered", &beta).await;

    beta.ready.remove(0);
    stage.put("an endpoint less", &beta).await;

    beta.port = 81;
    beta.target = 8081;
    stage.put("another port", &beta).await;

    let alpha = stage.alpha.clone();
    stage.arrives("the neighbour, untouched", &alpha).await;
}

/// A service that is deleted goes, and its neighbours stay.
pub async fn delete<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let key = stage.key("beta");

    stage.fixture.remove("beta").await;

    stage.keeping_alpha("the deleted service is gone", |view| view.lacks(&key)).await;
}

/// After a gap in which changes were missed, a complete list brings all of them,
/// removals included; what did not change never goes.
pub async fn relist_after_a_gap<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let removed = TestService::new("gamma", &[[10, 9, 2, 1]]);
    stage.put("a service to be removed", &removed).await;
    let added = TestService::new("delta", &[[10, 9, 3, 1]]);
    let changed = TestService::new("beta", &[[10, 9, 1, 7]]);

    stage.fixture.begin_gap().await;
    stage.fixture.put(&added).await;
    stage.fixture.put(&changed).await;
    stage.fixture.remove("gamma").await;
    stage.fixture.end_gap().await;

    let (b, c, d) = (stage.key("beta"), stage.key("gamma"), stage.key("delta"));
    let caught_up = |view: &View| {
        view.live()?;
        view.shows(&b, &changed)?;
        view.shows(&d, &added)?;
        view.lacks(&c)
    };
    stage.keeping_alpha("what happened in the gap", caught_up).await;
}

/// A malformed object rejects itself and nobody else: its last good version
/// stays, its neighbours go on changing, it is named, and comes back when it is
/// good again.
pub async fn malformed_item_among_good_ones<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let object = stage.fixture.malformed("alpha");

    stage.fixture.malform("alpha").await;
    stage.keeping_alpha("the rejection", |view| view.rejects(&object)).await;

    let (beta, b) = (TestService::new("beta", &[[10, 9, 1, 8]]), stage.key("beta"));
    stage.fixture.put(&beta).await;
    stage.keeping_alpha("the neighbour's change", |view| view.shows(&b, &beta)).await;
    stage.watch.view.live().expect("one bad object is no failure of the registry");

    let alpha = TestService::new("alpha", &[[10, 9, 0, 9]]);
    stage.put("the object that is good again", &alpha).await;
    stage.watch.until("the rejection's end", |view| view.accepts(&object)).await;
}

/// An object that is malformed from the start is named, and the others sync.
pub async fn malformed_item_at_the_first_sync<F: Fixture>(mut fixture: F) {
    let alpha = TestService::new("alpha", &[[10, 9, 0, 1]]);
    let beta = TestService::new("beta", &[[10, 9, 1, 1]]);
    fixture.put(&alpha).await;
    fixture.put(&beta).await;
    fixture.malform("alpha").await;
    let (a, b) = (fixture.key("alpha"), fixture.key("beta"));
    let object = fixture.malformed("alpha");

    let mut watch = watch(&fixture);
    let synced = |view: &View| {
        view.live()?;
        view.rejects(&object)?;
        view.shows(&b, &beta)
    };
    watch.until("the first sync of the others", synced).await;

    fixture.put(&alpha).await;
    let mended = |view: &View| view.accepts(&object).and(view.shows(&a, &alpha));
    watch.until("the object that is good now", mended).await;
}

/// A lost connection is a failed condition that changes no value; when it is
/// back, the registry is live and what happened meanwhile arrives.
pub async fn lost_connection<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let b = stage.key("beta");

    stage.fixture.cut().await;
    let beta = stage.beta.clone();
    let (a, alpha) = (stage.key("alpha"), stage.alpha.clone());
    let all_stay = |view: &View| view.shows(&a, &alpha).and(view.shows(&b, &beta));
    stage.watch.until_while("the loss of the registry", View::failed, all_stay).await;

    let meanwhile = TestService::new("beta", &[[10, 9, 1, 4]]);
    stage.fixture.put(&meanwhile).await;
    stage.fixture.restore().await;
    let back = |view: &View| view.live().and(view.shows(&b, &meanwhile));
    stage.keeping_alpha("the registry's return", back).await;

    let after = TestService::new("beta", &[[10, 9, 1, 5]]);
    stage.put("a change after the return", &after).await;
}

/// A slow answer removes nothing, and what it says arrives.
pub async fn slow_answer<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let beta = TestService::new("beta", &[[10, 9, 1, 6]]);
    let b = stage.key("beta");

    stage.fixture.slow(Duration::from_secs(1)).await;
    stage.fixture.put(&beta).await;

    stage.keeping_alpha("what the slow answer says", |view| view.shows(&b, &beta)).await;
    stage.fixture.restore().await;
    stage.watch.until("the registry is live", View::live).await;
}

/// An adapter that is cancelled in the middle of a request ends promptly and
/// says nothing afterwards.
pub async fn shutdown_in_the_middle_of_a_request<F: Fixture>(fixture: F) {
    let mut stage = Stage::set(fixture).await;
    let (b, beta) = (stage.key("beta"), TestService::new("beta", &[[10, 9, 1, 3]]));

    stage.fixture.hang().await;
    stage.fixture.hanging().await;
    stage.watch.cancel().await;

    stage.fixture.restore().await;
    stage.fixture.put(&beta).await;
    // The successor's sight of the change proves that there was something to say.
    let mut successor = watch(&stage.fixture);
    successor.until("the successor's sync", |view| view.shows(&b, &beta)).await;
    assert!(!stage.watch.read(), "the cancelled adapter still speaks: {:?}", stage.watch.view);
}
