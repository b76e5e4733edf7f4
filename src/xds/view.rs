//! What one client sees: the moments of its attachment, one after the other.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::BoxFuture;
use mainstem_translate::{Attached, Kind, Moment, Resource as Translated};
use mainstem_xds::{
    Changes, Lookup, Name, NameSet, Resource, ResourceFailure, ResourceView, SetVersion, TypeUrl,
    Version,
};

use super::{Shared, Wake};

/// One client's view. Between [`advance`](ResourceView::advance)s it holds the
/// moment that it showed last, since the next one is told apart from it; while
/// nothing changes that is the one that its whole group holds.
pub(super) struct View {
    shared: Arc<Shared>,
    attached: Arc<Attached>,
    wake: Arc<Wake>,
    shown: Option<Shown>,
    /// What was asked for while nothing could be answered.
    asked: RefCell<BTreeSet<(TypeUrl, Name)>>,
}

struct Shown {
    moment: Arc<Moment>,
    /// Whether it was worth serving.
    ready: bool,
}

impl View {
    pub(super) fn new(shared: Arc<Shared>, attached: Arc<Attached>, wake: Arc<Wake>) -> Self {
        Self { shared, attached, wake, shown: None, asked: RefCell::default() }
    }

    /// The moment shown, if it may be told.
    fn told(&self) -> Option<&Moment> {
        self.shown.as_ref().filter(|shown| shown.ready).map(|shown| &*shown.moment)
    }

    /// What is said of a name that means nothing. gRPC takes the mere lack of what
    /// it never had for a delay, and its calls would wait 15 seconds.
    fn absent(&self, name: &str) -> Lookup {
        let proxy = self.attached.proxy();
        if !proxy.is_grpc() {
            return Lookup::Absent;
        }
        let message = format!("nothing of the name {name:?} is visible in {}", proxy.namespace);
        Lookup::Failed(ResourceFailure { code: tonic::Code::NotFound, message: message.into() })
    }

    /// Everything that there is now, and everything that was asked for before.
    fn everything(&self, moment: &Moment) -> Vec<(TypeUrl, Arc<[Name]>)> {
        let asked = self.asked.take();
        let all = Kind::ALL.into_iter().map(|kind| {
            let type_url = TypeUrl::from(kind.type_url());
            let held = moment.view(kind).iter().map(|resource| resource.name.clone());
            let asked =
                asked.iter().filter(|(of, _)| *of == type_url).map(|(_, name)| name.clone());
            let names: BTreeSet<Name> = held.chain(asked).collect();
            (type_url, names.into_iter().collect())
        });
        all.collect()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.shared.wakes.lock().remove(&self.attached.id());
    }
}

impl ResourceView for View {
    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.wake.notify.notified())
    }

    fn advance(&mut self) -> Changes {
        let since = self.wake.since.lock().take();
        // Asked first: a moment read later is at least as new.
        let ready = self.shared.ready.load(Ordering::Acquire);
        let moment = self.attached.moment();
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
        let Some(kind) = Kind::of_type_url(type_url) else { return Lookup::Absent };
        let Some(moment) = self.told() else {
            self.asked.borrow_mut().insert((type_url.clone(), name.into()));
            return Lookup::Loading;
        };
        let found = moment.view(kind).get(name);
        found.map_or_else(|| self.absent(name), |found| Lookup::Found(sendable(found)))
    }

    fn list(&self, type_url: &TypeUrl) -> Box<dyn Iterator<Item = Arc<Resource>> + '_> {
        match (Kind::of_type_url(type_url), self.told()) {
            (Some(kind), Some(moment)) => Box::new(moment.view(kind).iter().map(sendable)),
            _ => Box::new(std::iter::empty()),
        }
    }

    fn complete(&self, type_url: &TypeUrl) -> bool {
        self.told().is_some() || Kind::of_type_url(type_url).is_none()
    }

    fn set_version(&self, type_url: &TypeUrl, names: Option<&NameSet>) -> SetVersion {
        let Some(kind) = Kind::of_type_url(type_url) else { return SetVersion::default() };
        let Some(moment) = self.told() else { return SetVersion::default() };
        let view = moment.view(kind);
        match names {
            None => SetVersion::from_sum(view.version()),
            Some(names) => {
                let found = names.iter().filter_map(|name| view.get(name));
                SetVersion::of(found.map(|found| (&*found.name, Version(found.version))))
            }
        }
    }
}

fn changes(now: &Moment, before: &Moment) -> Vec<(TypeUrl, Arc<[Name]>)> {
    let changes = now.changes_since(before);
    changes.map(|(kind, names)| (TypeUrl::from(kind.type_url()), names.into())).collect()
}

/// The resource in the server's form, made once for all streams.
fn sendable(resource: &Arc<Translated>) -> Arc<Resource> {
    let form = resource.form(|of| {
        let type_url = TypeUrl::from(of.kind.type_url());
        let (name, version) = (of.name.clone(), Version(of.version));
        Arc::new(Resource::with_version(&type_url, name, version, of.body.clone()))
    });
    form.expect("this is the only form that is made of translated resources")
}
