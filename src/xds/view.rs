//! What one client sees: the moments of its attachment, one after the other.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use mainstem_model::Proxy;
use mainstem_proto::istio;
use mainstem_translate::{Attached, Kind, Moment, Resource as Translated};
use mainstem_xds::{
    Changes, Lookup, Name, NameSet, Resource, ResourceFailure, ResourceView, SetVersion, TypeUrl,
    Version,
};

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
    shown: Option<Shown>,
    /// What was asked for while nothing could be answered.
    asked: RefCell<BTreeSet<(TypeUrl, Name)>>,
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
        Self { shared, place, wake, shown: None, asked: RefCell::default() }
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

    /// Everything that there is now, and everything that was asked for before.
    fn everything(&self, moment: &Moment) -> Vec<(TypeUrl, Arc<[Name]>)> {
        let mut all: BTreeMap<TypeUrl, BTreeSet<Name>> = BTreeMap::new();
        for (type_url, name) in self.asked.take() {
            all.entry(type_url).or_default().insert(name);
        }
        for kind in Kind::ALL {
            for resource in moment.view(kind).iter() {
                let (type_url, name) = told_as(kind, &resource.name);
                all.entry(type_url).or_default().insert(name);
            }
        }
        all.into_iter().map(|(type_url, names)| (type_url, names.into_iter().collect())).collect()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.shared.wakes.lock().remove(&self.place.attached.id());
    }
}

impl ResourceView for View {
    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.wake.poll(context)
    }

    fn advance(&mut self) -> Changes {
        let is_new = self.wake.unseen.swap(false, Ordering::AcqRel);
        if !is_new && self.shown.as_ref().is_some_and(|shown| shown.ready) {
            return Changes::default();
        }
        let since = self.wake.since.lock().take();
        // Asked first: a moment read later is at least as new.
        let ready = self.shared.ready.load(Ordering::Acquire);
        self.follow_tracks();
        let moment = self.place.attached.moment();
        let names = match &self.shown {
            None => Vec::new(),
            Some(before) if before.ready => changes(&moment, &before.moment),
            Some(_) if ready => self.everything(&moment),
            Some(_) => Vec::new(),
        };
        self.shown = Some(Shown { moment, ready });
        Changes { names, since }
    }

    fn get(&self, type_url: &TypeUrl, name: &str) -> Lookup {
        let Some(shelf) = self.shelf(type_url) else { return Lookup::Absent };
        let Some(moment) = self.told() else {
            self.asked.borrow_mut().insert((type_url.clone(), name.into()));
            return Lookup::Loading;
        };
        let found = shelf.get(moment, name);
        found.map_or_else(|| self.absent(name), |found| Lookup::Found(sendable(found)))
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
                let found = names.iter().filter_map(|name| view.get(name));
                SetVersion::of(found.map(|found| (&*found.name, Version(found.version))))
            }),
        }
    }
}

fn changes(now: &Moment, before: &Moment) -> Vec<(TypeUrl, Arc<[Name]>)> {
    now.changes_since(before).flat_map(|(kind, names)| shelf::by_type(kind, names)).collect()
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
