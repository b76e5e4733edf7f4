//! One answer without a stream, as REST polling and the Fetch methods give it.

use std::sync::Arc;

use mainstem_proto::envoy::service::discovery::v3::DiscoveryRequest;
use mainstem_proto::google::rpc::Status;
use xxhash_rust::xxh3::xxh3_64;

use super::refusal;
use super::wire::{Envelope, Message};
use super::{Nonce, Rejection, Response};
use crate::names::{
    Name, NameSet, Subscription, TypeUrl, WILDCARD, collection, is_collection, normalized,
};
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

/// All that a request asks for. What it says of an earlier answer does not matter here.
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
            Lookup::Absent if is_collection(name) => {
                let is_member = |resource: &Arc<Resource>| {
                    collection(resource.name()).is_some_and(|of| of == **name)
                };
                fetched.resources.extend(view.list(type_url).filter(is_member));
            }
            Lookup::Absent => fetched.resources.extend(view.parts(type_url, name)),
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
    /// The nonce of this answer: equal content has an equal one, since nothing is kept
    /// of an answer until the client says what it makes of it.
    pub(crate) fn nonce(&self) -> Nonce {
        Nonce::new(0, xxh3_64(self.version.to_string().as_bytes()))
    }

    /// Whether a request answers this.
    pub(crate) fn is_answered_by(&self, request: &DiscoveryRequest) -> bool {
        self.nonce().matches(&request.response_nonce)
    }

    /// What a client says that refuses this.
    pub(crate) fn rejection(&self, error: &Status) -> Rejection {
        let names = self.resources.iter().map(|resource| resource.name().clone()).collect();
        Rejection::of(error, |message| refusal::judge(names, message).culprits)
    }

    /// A `DiscoveryResponse`.
    pub(crate) fn response(&self, type_url: &TypeUrl, identifier: &str) -> Response {
        let nonce = self.nonce();
        let mut message = Message::sotw();
        self.resources.iter().cloned().for_each(|resource| message.push(resource));
        let envelope = Envelope {
            type_url,
            nonce: Some(nonce),
            version: Some(self.version.to_string()),
            errors: &self.errors,
            identifier: Some(identifier).filter(|name| !name.is_empty()),
            ..Envelope::default()
        };
        message.write(|out| envelope.sotw(out));
        let resources = self.resources.len();
        Response { type_url: type_url.clone(), nonce, message, resources, removed: 0 }
    }
}
