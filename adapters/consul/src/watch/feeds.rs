//! The blocking queries of a session.

use std::sync::Arc;

use mainstem_registry::Churn;
use tokio::sync::mpsc;

use super::follow::{Feed, News};
use super::session::Event;
use crate::api::{Answer, Api, ApiError, Ask, Check, RawInstance};
use crate::index::CatalogIndex;

/// How a feed asks and whom it tells.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub api: Arc<Api>,
    pub events: mpsc::Sender<Event>,
    pub churn: Arc<Churn>,
}

impl Line {
    /// The session may be gone; then nobody needs to know.
    pub(super) async fn say(&self, event: Event) {
        let _ = self.events.send(event).await;
    }
}

/// The registrations, of which only the index counts.
#[derive(Debug)]
pub(super) struct RegistrationsFeed(pub Line);

impl Feed for RegistrationsFeed {
    type Value = ();

    const NEWS: News = News::Index;

    async fn ask(&self, index: CatalogIndex, ask: Ask) -> Result<Answer<()>, ApiError> {
        self.0.api.services_changed(index, ask).await
    }

    async fn went_back(&self) {
        self.0.say(Event::WentBack).await;
    }

    async fn say(&self, answer: Result<Answer<()>, ApiError>) {
        self.0.say(Event::Registered(answer.map(|answer| answer.index))).await;
    }
}

/// A hot service's instances.
#[derive(Debug)]
pub(super) struct ServiceFeed(pub Line, pub Arc<str>);

impl Feed for ServiceFeed {
    type Value = Vec<RawInstance>;

    const NEWS: News = News::Bytes;

    async fn ask(
        &self,
        index: CatalogIndex,
        ask: Ask,
    ) -> Result<Answer<Vec<RawInstance>>, ApiError> {
        self.0.api.instances(&self.1, index, ask).await
    }

    fn jumped(&self) {
        self.0.churn.jumped();
    }

    async fn say(&self, answer: Result<Answer<Vec<RawInstance>>, ApiError>) {
        self.0.say(Event::Service(self.1.clone(), answer)).await;
    }
}

/// The checks that do not pass.
#[derive(Debug)]
pub(super) struct ChecksFeed(pub Line);

impl Feed for ChecksFeed {
    type Value = Vec<Check>;

    const NEWS: News = News::Bytes;

    async fn ask(&self, index: CatalogIndex, _: Ask) -> Result<Answer<Vec<Check>>, ApiError> {
        self.0.api.troubled_checks(index).await
    }

    fn jumped(&self) {
        self.0.churn.jumped();
    }

    async fn say(&self, answer: Result<Answer<Vec<Check>>, ApiError>) {
        self.0.say(Event::Checks(answer)).await;
    }
}

/// The nodes, of which only the index counts.
#[derive(Debug)]
pub(super) struct NodesFeed(pub Line);

impl Feed for NodesFeed {
    type Value = ();

    const NEWS: News = News::Index;

    async fn ask(&self, index: CatalogIndex, _: Ask) -> Result<Answer<()>, ApiError> {
        self.0.api.nodes_changed(index).await
    }

    async fn say(&self, answer: Result<Answer<()>, ApiError>) {
        self.0.say(Event::Nodes(answer)).await;
    }
}
