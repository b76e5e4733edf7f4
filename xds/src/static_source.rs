//! Resources kept in memory, which can be changed while they are served.

mod log;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use self::log::ChangeLog;
use crate::names::{Name, TypeUrl};
use crate::resource::Resource;
use crate::source::{Changes, Client, Lookup, Refusal, ResourceSource, ResourceView};

/// Decides which client may see which resource; constant over time.
pub type Filter = dyn Fn(&Client, &Resource) -> bool + Send + Sync;

/// Resources kept in memory: for tests, for small servers, and as the example
/// of a source.
///
/// Clones share their content.
#[derive(Clone)]
pub struct StaticSource {
    shared: Arc<Shared>,
}

struct Shared {
    held: Mutex<Held>,
    generation: watch::Sender<u64>,
    filter: Option<Box<Filter>>,
}

struct Held {
    content: Arc<Content>,
    log: ChangeLog,
}

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
struct Content {
    types: BTreeMap<TypeUrl, Arc<OfType>>,
}

#[derive(Debug, Clone, Default)]
struct OfType {
    by_name: BTreeMap<Name, Arc<Resource>>,
    canonical: BTreeMap<Name, Name>,
}

/// Changes that clients see at once.
#[derive(Debug, Default)]
pub struct Batch {
    edits: Vec<(TypeUrl, Name, Option<Resource>)>,
}

impl Batch {
    /// Adds a resource, or replaces the one of its name.
    pub fn set(&mut self, resource: Resource) -> &mut Self {
        self.edits.push((resource.type_url().clone(), resource.name().clone(), Some(resource)));
        self
    }

    /// Removes a resource.
    pub fn remove(&mut self, type_url: &TypeUrl, name: &str) -> &mut Self {
        self.edits.push((type_url.clone(), name.into(), None));
        self
    }
}

impl StaticSource {
    /// A source without resources.
    pub fn new() -> StaticSource {
        StaticSource::build(None)
    }

    /// A source that shows each client what the filter lets through.
    pub fn filtered(
        filter: impl Fn(&Client, &Resource) -> bool + Send + Sync + 'static,
    ) -> StaticSource {
        StaticSource::build(Some(Box::new(filter)))
    }

    fn build(filter: Option<Box<Filter>>) -> StaticSource {
        let held = Held { content: Arc::default(), log: ChangeLog::default() };
        let shared = Shared { held: Mutex::new(held), generation: watch::Sender::new(0), filter };
        StaticSource { shared: Arc::new(shared) }
    }

    /// Adds or replaces one resource.
    pub fn set(&self, resource: Resource) {
        self.update(|batch| {
            batch.set(resource);
        });
    }

    /// Removes one resource.
    pub fn remove(&self, type_url: &TypeUrl, name: &str) {
        self.update(|batch| {
            batch.remove(type_url, name);
        });
    }

    /// Makes several changes that no client sees apart. What changes no
    /// content is no change.
    pub fn update(&self, edit: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::default();
        edit(&mut batch);
        let mut held = self.shared.held.lock();
        let mut names: BTreeMap<TypeUrl, Vec<Name>> = BTreeMap::new();
        let content = Arc::make_mut(&mut held.content);
        for (type_url, name, resource) in batch.edits {
            let changed = content.apply(&type_url, &name, resource.map(Arc::new));
            names.entry(type_url).or_default().extend(changed);
        }
        names.retain(|_, names| !names.is_empty());
        if !names.is_empty() {
            let generation = held.log.push(names, Instant::now());
            self.shared.generation.send_replace(generation);
        }
    }
}

impl Default for StaticSource {
    fn default() -> Self {
        StaticSource::new()
    }
}

impl Content {
    /// Puts a resource or nothing under a name; returns all names that have
    /// something else now.
    fn apply(
        &mut self,
        type_url: &TypeUrl,
        name: &Name,
        resource: Option<Arc<Resource>>,
    ) -> Vec<Name> {
        let of_type = self.types.entry(type_url.clone()).or_default();
        if of_type.by_name.get(name) == resource.as_ref() {
            return Vec::new();
        }
        let of_type = Arc::make_mut(of_type);
        let before = match &resource {
            Some(resource) => of_type.by_name.insert(name.clone(), resource.clone()),
            None => of_type.by_name.remove(name),
        };
        let mut changed = vec![name.clone()];
        for alias in before.iter().flat_map(|before| before.aliases()) {
            of_type.canonical.remove(alias);
            changed.push(alias.clone());
        }
        for alias in resource.iter().flat_map(|resource| resource.aliases()) {
            of_type.canonical.insert(alias.clone(), name.clone());
            changed.push(alias.clone());
        }
        changed
    }

    fn get(&self, type_url: &TypeUrl, name: &str) -> Option<&Arc<Resource>> {
        let of_type = self.types.get(type_url)?;
        let canonical = of_type.canonical.get(name).map_or(name, |canonical| canonical);
        of_type.by_name.get(canonical)
    }
}

impl ResourceSource for StaticSource {
    fn connect(&self, client: &Arc<Client>) -> Result<Box<dyn ResourceView>, Refusal> {
        // Subscribed before the generation is read, so that no change is missed.
        let changes = WatchStream::from_changes(self.shared.generation.subscribe());
        let mut held = self.shared.held.lock();
        let reader = held.log.join();
        drop(held);
        Ok(Box::new(View {
            shared: self.shared.clone(),
            client: client.clone(),
            reader,
            changes,
            now: None,
        }))
    }
}

struct View {
    shared: Arc<Shared>,
    client: Arc<Client>,
    reader: log::Reader,
    changes: WatchStream<u64>,
    now: Option<Arc<Content>>,
}

impl View {
    fn visible(&self, resource: &Resource) -> bool {
        self.shared.filter.as_ref().is_none_or(|filter| filter(&self.client, resource))
    }
}

impl ResourceView for View {
    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.changes.poll_next_unpin(context) {
            Poll::Ready(Some(_)) => Poll::Ready(()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn advance(&mut self) -> Changes {
        let mut held = self.shared.held.lock();
        self.now = Some(held.content.clone());
        held.log.read(&self.reader)
    }

    fn release(&mut self) {
        self.now = None;
    }

    fn get(&self, type_url: &TypeUrl, name: &str) -> Lookup {
        let found = self.now.as_ref().and_then(|content| content.get(type_url, name));
        match found.filter(|resource| self.visible(resource)) {
            Some(resource) => Lookup::Found(resource.clone()),
            None => Lookup::Absent,
        }
    }

    fn list(&self, type_url: &TypeUrl) -> Box<dyn Iterator<Item = Arc<Resource>> + '_> {
        let of_type = self.now.as_ref().and_then(|content| content.types.get(type_url));
        let all = of_type.into_iter().flat_map(|of_type| of_type.by_name.values());
        Box::new(all.filter(|resource| self.visible(resource)).cloned())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.shared.held.lock().log.leave(&self.reader);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::poll_fn;

    use pretty_assertions::assert_eq;

    use super::*;

    fn resource(name: &str, body: &str) -> Resource {
        Resource::new(&TypeUrl::CLUSTER, name, body.to_owned())
    }

    fn view(source: &StaticSource) -> Box<dyn ResourceView> {
        source.connect(&Arc::new(Client::default())).unwrap()
    }

    fn advance(view: &mut Box<dyn ResourceView>) -> Vec<String> {
        let changes = view.advance();
        changes.names.iter().flat_map(|(_, names)| names.iter().map(ToString::to_string)).collect()
    }

    #[test]
    fn a_view_hears_of_each_change_once() {
        let source = StaticSource::new();
        source.set(resource("before", "1"));
        let mut view = view(&source);
        assert_eq!(advance(&mut view), Vec::<String>::new());
        source.set(resource("b", "1"));
        source.set(resource("a", "1"));
        source.set(resource("a", "2"));
        source.set(resource("before", "1"));
        assert_eq!(advance(&mut view), ["a", "b"]);
        source.remove(&TypeUrl::CLUSTER, "a");
        source.remove(&TypeUrl::CLUSTER, "never");
        assert_eq!(advance(&mut view), ["a"]);
        assert_eq!(advance(&mut view), Vec::<String>::new());
    }

    #[test]
    fn a_view_stays_at_its_moment() {
        let source = StaticSource::new();
        source.set(resource("a", "1"));
        let mut view = view(&source);
        view.advance();
        source.set(resource("a", "2"));
        let body = |view: &dyn ResourceView| {
            view.get(&TypeUrl::CLUSTER, "a").found().unwrap().body().to_bytes()
        };
        assert_eq!(body(&*view), "1");
        view.advance();
        assert_eq!(body(&*view), "2");
    }

    #[test]
    fn an_alias_finds_its_resource_and_changes_with_it() {
        let source = StaticSource::new();
        let mut view = view(&source);
        source.set(resource("a", "1").with_aliases(["x".into()]));
        assert_eq!(advance(&mut view), ["a", "x"]);
        assert_eq!(view.get(&TypeUrl::CLUSTER, "x").found().unwrap().name(), &Name::from("a"));
        source.set(resource("a", "1").with_aliases(["y".into()]));
        assert_eq!(advance(&mut view), ["a", "x", "y"]);
        assert_eq!(view.get(&TypeUrl::CLUSTER, "x"), Lookup::Absent);
    }

    #[test]
    fn a_filtered_resource_is_absent() {
        let source = StaticSource::filtered(|_, resource| &**resource.name() != "secret");
        let mut view = view(&source);
        source.set(resource("secret", "1"));
        source.set(resource("open", "1"));
        view.advance();
        assert_eq!(view.get(&TypeUrl::CLUSTER, "secret"), Lookup::Absent);
        assert_eq!(view.list(&TypeUrl::CLUSTER).count(), 1);
    }

    #[tokio::test]
    async fn a_change_wakes_a_view() {
        let source = StaticSource::new();
        let mut view = view(&source);
        view.advance();
        source.set(resource("a", "1"));
        poll_fn(|context| view.poll_changed(context)).await;
        assert_eq!(advance(&mut view), ["a"]);
    }
}
