//! Following one kind: a list, then a watch from there, for ever.

use std::time::Duration;

use futures::StreamExt;
use kube::core::WatchEvent;
use mainstem_registry::{Backoff, Churn};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{Event, reason};
use crate::api::{Api, ApiError, Kind, Question};
use crate::config::KubernetesConfig;
use crate::objects::{self, Item};

/// The longest wait between tries: the probe ends it early when the API server
/// is back.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How much longer than it was asked to last a watch may stay silent.
const GRACE: Duration = Duration::from_secs(10);

/// A watch that ends sooner than this and has said nothing is no progress.
const BRIEF: Duration = Duration::from_secs(1);

/// How often a kind that was there must be found missing before it is gone: an
/// API server that starts might not know all kinds yet.
const ABSENCES: u32 = 2;

/// Follows one kind.
pub(super) struct Follower<'a> {
    kind: Kind,
    api: &'a Api,
    config: &'a KubernetesConfig,
    events: mpsc::Sender<Event>,
    churn: &'a Churn,
    /// Where the collection is, once known.
    path: Option<String>,
    /// The revision up to which everything was said; `None` before a list.
    position: Option<String>,
    /// How often the kind was missing since it was last there.
    absences: u32,
    was_there: bool,
}

/// Why a watch ended.
enum End {
    /// It said something, or lasted.
    Progress,
    /// It ended at once.
    Nothing,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        kind: Kind,
        api: &'a Api,
        config: &'a KubernetesConfig,
        events: mpsc::Sender<Event>,
        churn: &'a Churn,
    ) -> Self {
        Self {
            kind,
            api,
            config,
            events,
            churn,
            path: None,
            position: None,
            absences: 0,
            was_there: false,
        }
    }

    /// Follows the kind; each new generation opens the watch anew, from where it
    /// stands.
    pub(super) async fn run(mut self, mut generation: watch::Receiver<u64>) {
        loop {
            let number = *generation.borrow_and_update();
            tokio::select! {
                changed = generation.changed() => if changed.is_err() { return },
                () = self.pursue(number) => {}
            }
        }
    }

    async fn pursue(&mut self, generation: u64) {
        let mut backoff = Backoff::new(Duration::from_millis(100), LONGEST_WAIT);
        loop {
            match self.step(generation).await {
                Ok(End::Progress) => backoff.reset(),
                Ok(End::Nothing) => backoff.wait().await,
                Err(error) if error.is_gone() => {
                    self.churn.reset();
                    self.position = None;
                    backoff.wait().await;
                }
                Err(error) if error.is_absent() && self.kind.path().is_none() => {
                    self.path = None;
                    backoff.wait().await;
                }
                Err(error) => {
                    let (kind, reached) = (self.kind, error.reached());
                    self.say(Event::Troubled { kind, reason: reason(&error), reached }).await;
                    backoff.wait().await;
                }
            }
        }
    }

    /// Finds the kind, lists it and watches it, as far as that is not done yet,
    /// until the watch ends.
    async fn step(&mut self, generation: u64) -> Result<End, ApiError> {
        let path = match &self.path {
            Some(path) => path.clone(),
            None => match self.api.find(self.kind).await? {
                Some(path) => path,
                None => return Ok(self.absent().await),
            },
        };
        self.path = Some(path.clone());
        let position = match &self.position {
            Some(position) if !self.is_ahead(&path, position).await? => position.clone(),
            _ => self.list(&path).await?,
        };
        self.watch(&path, &position, generation).await
    }

    /// Whether the store has not come as far as `position`, since it was restored
    /// from a backup or is another one. A watch from there would stay silent until
    /// the store gets there, and skip what happens meanwhile.
    async fn is_ahead(&self, path: &str, position: &str) -> Result<bool, ApiError> {
        let store = self.api.probe(self.kind, path).await?;
        Ok(match (store.parse::<u64>(), position.parse::<u64>()) {
            (Ok(store), Ok(position)) => position > store,
            // Revisions of another kind of store say nothing of their order.
            _ => false,
        })
    }

    async fn absent(&mut self) -> End {
        self.absences += 1;
        if !self.was_there || self.absences >= ABSENCES {
            self.was_there = false;
            self.position = None;
            self.say(Event::Absent(self.kind)).await;
        }
        sleep(self.config.discovery_interval.duration()).await;
        End::Progress
    }

    /// Lists all objects; only a complete list is said.
    async fn list(&mut self, path: &str) -> Result<String, ApiError> {
        let mut items: Vec<Item> = Vec::new();
        let mut token = None;
        loop {
            let page = self.api.list(self.kind, path, token).await?;
            items.extend(page.items.into_iter().map(|value| objects::read(self.kind, value)));
            if page.metadata.r#continue.is_empty() {
                self.say(Event::Listed(self.kind, items)).await;
                let revision = page.metadata.resource_version;
                self.position = Some(revision.clone());
                return Ok(revision);
            }
            token = Some(page.metadata.r#continue);
        }
    }

    async fn watch(
        &mut self,
        path: &str,
        position: &str,
        generation: u64,
    ) -> Result<End, ApiError> {
        let mut events = self.api.watch(self.kind, path, position).await?;
        self.absences = 0;
        self.was_there = true;
        self.say(Event::Following(self.kind, generation)).await;
        let opened = Instant::now();
        let mut end = End::Nothing;
        let longest = self.config.watch_timeout.duration() + GRACE;
        // A watch that is silent for longer than it was to last lost its connection.
        while let Ok(Some(event)) = timeout(longest, events.next()).await {
            self.event(event?).await?;
            end = End::Progress;
        }
        if opened.elapsed() >= BRIEF {
            end = End::Progress;
        }
        Ok(end)
    }

    async fn event(&mut self, event: WatchEvent<Value>) -> Result<(), ApiError> {
        let (event, revision) = match event {
            WatchEvent::Added(value) | WatchEvent::Modified(value) => {
                let item = objects::read(self.kind, value);
                let revision = item.revision.to_string();
                (Event::Changed(self.kind, Box::new(item)), revision)
            }
            WatchEvent::Deleted(value) => {
                let item = objects::read(self.kind, value);
                let revision = item.revision.to_string();
                (Event::Deleted(self.kind, item.name), revision)
            }
            WatchEvent::Bookmark(bookmark) => {
                self.position = Some(bookmark.metadata.resource_version);
                return Ok(());
            }
            WatchEvent::Error(status) => {
                return Err(ApiError::Answered {
                    question: Question::Watch,
                    kind: self.kind,
                    code: status.code,
                    message: status.message,
                });
            }
        };
        self.say(event).await;
        // Only now: a follower that is stopped while it waits asks for it again.
        self.position = Some(revision);
        Ok(())
    }

    async fn say(&self, event: Event) {
        // The keeper ends together with the followers.
        let _ = self.events.send(event).await;
    }
}
