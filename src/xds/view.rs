//! What one client sees: the moments of its attachment, one after the other.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use mainstem_model::Proxy;
use mainstem_proto::istio;
use mainstem_translate::{Attached, Kind, Moment, Resource as Translated};
use mainstem_xds::{
    Changes, Lookup, Name, NameSet, Resource, ResourceFailure, ResourceView, SetVersion,
    Subscription, TypeUrl, Version,
};
use tokio::time::{Sleep, sleep};

use super::demand::{Missing, PATIENCE, Wanted, host_of};
use super::federated::{Asked, Authorities, Federated};
use super::shelf::{self, Shelf, told_as};
use super::tracks::Held;
use super::{Shared, Wake};

/// One client's view. Between [`advance`](ResourceView::advance)s it holds the
/// moment that it showed last, since the next one is told apart from it; while
/// nothing changes that is the one that its whole group holds.
pub(super) struct View {
    shared: Arc<Shared>,
    place: Place,
    wake: Arc<Wake>,
    /// Whom it wakes.
    task: Option<Waker>,
    shown: Option<Shown>,
    /// Whose federated names mean what is here, and which of them are asked for.
    authorities: Authorities,
    federated: Asked,
    /// What was asked for while it could not be answered.
    asked: RefCell<BTreeSet<(TypeUrl, Name)>>,
    /// What the client wants, by what it asks for.
    wanted: Vec<(Kind, Box<[Wanted]>)>,
    /// When what is not loaded is waited for no longer, while it is.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// Where a client is attached: to what all follow, or to a track.
struct Place {
    attached: Arc<Attached>,
    track: Option<Arc<Held>>,
    /// The state of the tracks for which that was found out.
    version: u64,
}

struct Shown {
    moment: Arc<Moment>,
    /// Whether it was worth serving.
    ready: bool,
    /// What it lacks.
    missing: Arc<Missing>,
}

impl Place {
    fn of(shared: &Shared, proxy: Proxy) -> Self {
        // Asked first: tracks read later are at least as new.
        let version = shared.tracks.version();
        let track = shared.tracks.of(&proxy);
        let scopes = track.as_ref().map_or(&shared.scopes, |track| track.scopes());
        Self { attached: scopes.attach(proxy), track, version }
    }

    /// Where the client belongs now, if that is elsewhere.
    fn moved(&mut self, shared: &Shared) -> Option<Self> {
        let version = shared.tracks.version();
        if version == self.version {
            return None;
        }
        let proxy = self.attached.proxy();
        let of = |track: &Option<Arc<Held>>| track.as_ref().map(Arc::as_ptr);
        if of(&shared.tracks.of(proxy)) == of(&self.track) {
            self.version = version;
            return None;
        }
        Some(Self::of(shared, Proxy::clone(proxy)))
    }
}

impl View {
    pub(super) fn new(shared: Arc<Shared>, proxy: Proxy) -> Self {
        let (place, wake) = (Place::of(&shared, proxy), Arc::new(Wake::default()));
        shared.wakes.lock().insert(place.attached.id(), wake.clone());
        let authorities = shared.authorities.read().clone();
        Self {
            shared,
            place,
            wake,
            task: None,
            shown: None,
            authorities,
            federated: Asked::default(),
            asked: RefCell::default(),
            wanted: Vec::new(),
            alarm: None,
        }
    }

    /// Goes on to a track, or leaves it.
    fn follow_tracks(&mut self) {
        if let Some(place) = self.place.moved(&self.shared) {
            let mut wakes = self.shared.wakes.lock();
            wakes.remove(&self.place.attached.id());
            wakes.insert(place.attached.id(), self.wake.clone());
            self.place = place;
        }
    }

    /// Where this client finds resources of this type, if anywhere.
    fn shelf(&self, type_url: &TypeUrl) -> Option<Shelf> {
        Shelf::of(type_url, self.place.attached.proxy().is_importer())
    }

    /// The moment shown, if it may be told.
    fn told(&self) -> Option<&Moment> {
        self.shown.as_ref().filter(|shown| shown.ready).map(|shown| &*shown.moment)
    }

    /// The parts of a name by which a client of several control planes asks.
    fn federated<'n>(&self, type_url: &TypeUrl, name: &'n str) -> Option<Federated<'n>> {
        let asks_so = !self.authorities.is_empty() && self.place.attached.proxy().is_grpc();
        asks_so.then(|| Federated::of(name, type_url, &self.authorities)).flatten()
    }

    /// What a moment has under a name.
    fn find<'m>(
        &self,
        moment: &'m Moment,
        type_url: &TypeUrl,
        name: &str,
    ) -> Option<&'m Arc<Translated>> {
        let federated = self.federated(type_url, name);
        let plain = federated.as_ref().map_or(name, |federated| &federated.plain);
        self.shelf(type_url)?.get(moment, plain)
    }

    /// What was found, as it is sent to who asked by this name.
    fn sendable(&self, found: &Arc<Translated>, type_url: &TypeUrl, name: &str) -> Lookup {
        let Some(federated) = self.federated(type_url, name) else {
            return Lookup::Found(sendable(found));
        };
        let resource = federated.resource(found, type_url, name);
        Lookup::Found(Arc::new(resource.expect("what was encoded here can be read")))
    }

    /// What is said of a name that means nothing. gRPC takes the mere lack of what
    /// it never had for a delay, and its calls would wait 15 seconds.
    fn absent(&self, name: &str) -> Lookup {
        let proxy = self.place.attached.proxy();
        if !proxy.is_grpc() {
            return Lookup::Absent;
        }
        let message = format!("nothing of the name {name:?} is visible in {}", proxy.namespace);
        Lookup::Failed(ResourceFailure { code: tonic::Code::NotFound, message: message.into() })
    }

    /// Whether the name means more than there is yet. Who asks by name is told what is
    /// there already once that has been waited for.
    fn is_loading(&self, name: &str, found: bool, missing: &Missing) -> bool {
        if missing.is_empty() || self.place.track.is_some() {
            return false;
        }
        let Some(host) = host_of(name).filter(|host| missing.has(host)) else { return false };
        let all_at_once = self.place.attached.proxy().is_grpc();
        !found || (all_at_once && !self.shared.demand.is_overdue(&Wanted::Host(host)))
    }

    /// Whether a client that asks for all it sees is kept waiting at its beginning.
    fn has_to_wait(&self, missing: &Missing) -> bool {
        let proxy = self.place.attached.proxy();
        self.place.track.is_none()
            && missing.concerns(proxy)
            && !self.shared.demand.is_overdue(&Wanted::by(proxy))
    }

    /// Those changes, and the names that were asked for and are loading no longer.
    fn with_loaded(
        &self,
        changes: Vec<(TypeUrl, Arc<[Name]>)>,
        moment: &Moment,
        missing: &Missing,
    ) -> Vec<(TypeUrl, Arc<[Name]>)> {
        let asked = self.asked.take();
        if asked.is_empty() {
            return changes;
        }
        let found = |of: &TypeUrl, name: &str| self.find(moment, of, name).is_some();
        let (loading, loaded) = asked
            .into_iter()
            .partition(|(of, name)| self.is_loading(name, found(of, name), missing));
        *self.asked.borrow_mut() = loading;
        let loaded: BTreeSet<(TypeUrl, Name)> = loaded;
        let changed = changes.into_iter().flat_map(|(of, names)| {
            names.iter().map(|n| (of.clone(), n.clone())).collect::<Vec<_>>()
        });
        by_type(changed.chain(loaded))
    }

    /// Begins or ends to wait.
    fn note_waiting(&mut self) {
        let Some(shown) = &self.shown else { return };
        let waits = match shown.ready {
            true => !self.asked.borrow().is_empty(),
            false => !shown.missing.is_empty(),
        };
        self.wake.waits.store(waits, Ordering::Release);
        match waits {
            true => drop(self.alarm.get_or_insert_with(|| Box::pin(sleep(PATIENCE)))),
            false => self.alarm = None,
        }
    }

    /// Counts on the client no longer for `kind`, but for this.
    fn want(&mut self, kind: Kind, wanted: Vec<Wanted>) {
        let at = self.wanted.iter().position(|(of, _)| *of == kind);
        let before = at.map(|at| self.wanted.swap_remove(at).1).unwrap_or_default();
        if *before != *wanted {
            self.shared.demand.change(&before, &wanted);
            // What is wanted since now is waited for from now on.
            self.alarm = None;
        }
        if !wanted.is_empty() {
            self.wanted.push((kind, wanted.into()));
        }
    }

    /// Everything that there is now, and everything that was asked for before.
    fn everything(&self, moment: &Moment) -> Vec<(TypeUrl, Arc<[Name]>)> {
        let told = |kind| moment.view(kind).iter().map(move |of| told_as(kind, &of.name));
        by_type(Kind::ALL.into_iter().flat_map(told).chain(self.asked.take()))
    }
}

/// Names by type, each once.
fn by_type(names: impl IntoIterator<Item = (TypeUrl, Name)>) -> Vec<(TypeUrl, Arc<[Name]>)> {
    let mut all: BTreeMap<TypeUrl, BTreeSet<Name>> = BTreeMap::new();
    for (type_url, name) in names {
        all.entry(type_url).or_default().insert(name);
    }
    all.into_iter().map(|(type_url, names)| (type_url, names.into_iter().collect())).collect()
}

impl Drop for View {
    fn drop(&mut self) {
        for (_, wanted) in &self.wanted {
            self.shared.demand.change(wanted, &[]);
        }
        self.shared.wakes.lock().remove(&self.place.attached.id());
    }
}

impl ResourceView for View {
    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let alarm = self.alarm.as_mut().map(|alarm| alarm.as_mut().poll(context));
        if alarm.is_some_and(|alarm| alarm.is_ready()) {
            self.alarm = None;
            self.wake.wake(std::time::Instant::now());
        }
        let changed = self.wake.poll(&mut self.task, context);
        // Looked at last: whoever loads looks first for those who wait.
        let seen = self.shown.as_ref().map(|shown| shown.missing.version());
        let waits = self.wake.waits.load(Ordering::Acquire);
        if waits && seen.is_some_and(|seen| seen != self.shared.demand.version()) {
            self.wake.unseen.store(true, Ordering::Release);
            return Poll::Ready(());
        }
        changed
    }

    fn advance(&mut self) -> Changes {
        let is_new = self.wake.unseen.swap(false, Ordering::AcqRel);
        if !is_new && self.shown.as_ref().is_some_and(|shown| shown.ready) {
            return Changes::default();
        }
        let since = self.wake.since.lock().take();
        // Asked first: a moment read later is at least as new.
        let ready = self.shared.ready.load(Ordering::Acquire);
        let missing = self.shared.demand.missing();
        self.follow_tracks();
        let moment = self.place.attached.moment();
        let was_ready = self.shown.as_ref().is_some_and(|shown| shown.ready);
        let ready = ready && (was_ready || !self.has_to_wait(&missing));
        let names = match &self.shown {
            None => Vec::new(),
            Some(before) if before.ready => {
                self.with_loaded(changes(&moment, &before.moment), &moment, &missing)
            }
            Some(_) if ready => self.everything(&moment),
            Some(_) => Vec::new(),
        };
        self.shown = Some(Shown { moment, ready, missing });
        self.note_waiting();
        Changes { names: self.federated.widen(names), since }
    }

    fn subscribed(&mut self, type_url: &TypeUrl, subscription: &Subscription) {
        let Some(Shelf::Whole(kind)) = self.shelf(type_url) else { return };
        if !self.authorities.is_empty() && self.place.attached.proxy().is_grpc() {
            self.federated.follow(type_url, subscription, &self.authorities);
        }
        let broad = |(of, wanted): &(Kind, Box<[Wanted]>)| {
            *of != kind && wanted.iter().any(Wanted::is_broad)
        };
        // Who asks for all it sees asks for nothing else by name.
        let covered = !subscription.wildcard() && self.wanted.iter().any(broad);
        let proxy = self.place.attached.proxy().clone();
        let wanted = match covered {
            true => Vec::new(),
            false => Wanted::of(kind, subscription, &proxy),
        };
        self.want(kind, wanted);
        self.note_waiting();
    }

    fn get(&self, type_url: &TypeUrl, name: &str) -> Lookup {
        if self.shelf(type_url).is_none() {
            return Lookup::Absent;
        }
        let Some(moment) = self.told() else {
            self.asked.borrow_mut().insert((type_url.clone(), name.into()));
            return Lookup::Loading;
        };
        let found = self.find(moment, type_url, name);
        let missing = self.shown.as_ref().map(|shown| &shown.missing);
        if missing.is_some_and(|missing| self.is_loading(name, found.is_some(), missing)) {
            self.asked.borrow_mut().insert((type_url.clone(), name.into()));
            self.wake.waits.store(true, Ordering::Release);
            return Lookup::Loading;
        }
        found.map_or_else(|| self.absent(name), |found| self.sendable(found, type_url, name))
    }

    fn has(&self, type_url: &TypeUrl, name: &str) -> bool {
        self.told().is_some_and(|moment| self.find(moment, type_url, name).is_some())
    }

    fn list(&self, type_url: &TypeUrl) -> Box<dyn Iterator<Item = Arc<Resource>> + '_> {
        match (self.shelf(type_url), self.told()) {
            (Some(shelf), Some(moment)) => Box::new(shelf.list(moment).map(sendable)),
            _ => Box::new(std::iter::empty()),
        }
    }

    fn complete(&self, type_url: &TypeUrl) -> bool {
        self.told().is_some() || self.shelf(type_url).is_none()
    }

    fn set_version(&self, type_url: &TypeUrl, names: Option<&NameSet>) -> SetVersion {
        let Some(shelf) = self.shelf(type_url) else { return SetVersion::default() };
        let Some(moment) = self.told() else { return SetVersion::default() };
        let kind = match &shelf {
            Shelf::Whole(kind) => *kind,
            Shelf::Configs(_) => return shelf.version(moment, names),
        };
        let view = moment.view(kind);
        match names {
            None => SetVersion::from_sum(view.version()),
            Some(names) => self.shared.set_versions.get((view.version(), names.id()), || {
                let found = names
                    .iter()
                    .filter_map(|name| Some((name, self.find(moment, type_url, name)?)));
                SetVersion::of(found.map(|(name, found)| (&**name, Version(found.version))))
            }),
        }
    }
}

fn changes(now: &Moment, before: &Moment) -> Vec<(TypeUrl, Arc<[Name]>)> {
    let mut told = Vec::new();
    for (kind, names) in now.changes_since(before) {
        shelf::tell_by_type(kind, names, &mut told);
    }
    told
}

/// The resource in the server's form, made once for all streams.
fn sendable(resource: &Arc<Translated>) -> Arc<Resource> {
    let form = resource.form(|of| {
        let (type_url, name) = told_as(of.kind, &of.name);
        let version = Version(of.version);
        let resource = Resource::with_version(&type_url, name, version, of.body.clone());
        Arc::new(match of.kind {
            Kind::ServiceEntry | Kind::Config => {
                resource.with_message_type(TypeUrl::from(istio::RESOURCE))
            }
            _ => resource,
        })
    });
    form.expect("this is the only form that is made of translated resources")
}
