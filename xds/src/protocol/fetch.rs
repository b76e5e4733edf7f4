//! One answer without a stream, as REST polling and the Fetch methods give it.

use std::sync::Arc;

use mainstem_proto::envoy::service::discovery::v3::DiscoveryRequest;

use super::wire::{Envelope, Message};
use crate::names::{Name, NameSet, Subscription, TypeUrl, WILDCARD, normalized};
use crate::resource::Resource;
use crate::source::{Lookup, ResourceFailure, ResourceView};
use crate::version::SetVersion;

/// What a client of one answer is given.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) version: SetVersion,
    resources: Vec<Arc<Resource>>,
    errors: Vec<(Name, ResourceFailure)>,
}

/// Something asked for is not known yet; an answer would say that it does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not loaded yet")]
pub(crate) struct NotLoaded(String);

/// What a request without a stream asks for.
fn asked(request: &DiscoveryRequest) -> Subscription {
    let names = &request.resource_names;
    if names.is_empty() || names.iter().any(|name| name == WILDCARD) {
        return Subscription::new(true, NameSet::default());
    }
    Subscription::new(false, names.iter().map(|name| Name::from(normalized(name))).collect())
}

/// All that a request asks for. Its nonce and its version do not matter here.
pub(crate) fn fetch(
    view: &mut dyn ResourceView,
    type_url: &TypeUrl,
    request: &DiscoveryRequest,
) -> Result<Fetched, NotLoaded> {
    let asked = asked(request);
    view.subscribed(type_url, &asked);
    if asked.wildcard() {
        if !view.complete(type_url) {
            return Err(NotLoaded(type_url.short().to_owned()));
        }
        let resources = view.list(type_url).collect();
        return Ok(Fetched {
            version: view.set_version(type_url, None),
            resources,
            errors: Vec::new(),
        });
    }
    let mut fetched =
        Fetched { version: SetVersion::default(), resources: Vec::new(), errors: Vec::new() };
    for name in asked.iter() {
        match view.get(type_url, name) {
            Lookup::Found(resource) => fetched.resources.push(resource),
            Lookup::Absent => {}
            Lookup::Loading => return Err(NotLoaded(name.to_string())),
            Lookup::Failed(failure) => fetched.errors.push((name.clone(), failure)),
        }
    }
    // Two aliases may name one resource.
    fetched.resources.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    fetched.resources.dedup_by(|a, b| a.name() == b.name());
    fetched.version = SetVersion::of(
        fetched.resources.iter().map(|resource| (&**resource.name(), resource.version())),
    );
    Ok(fetched)
}

impl Fetched {
    /// A `DiscoveryResponse`.
    pub(crate) fn message(&self, type_url: &TypeUrl, identifier: &str) -> Message {
        let mut message = Message::sotw();
        self.resources.iter().cloned().for_each(|resource| message.push(resource));
        let envelope = Envelope {
            type_url,
            version: Some(self.version.to_string()),
            errors: &self.errors,
            identifier: Some(identifier).filter(|name| !name.is_empty()),
            ..Envelope::default()
        };
        message.write(|out| envelope.sotw(out));
        message
    }
}
