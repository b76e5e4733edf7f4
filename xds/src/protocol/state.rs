//! What both variants of the protocol have in common, for the stream around them.

use std::sync::Arc;
use std::time::Instant;

use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::{DeltaState, FullSets, ProtocolError, Response, SotwState, Verdict};
use crate::clients::Protocol;
use crate::limits::Limits;
use crate::names::{Name, Subscription, TypeUrl};
use crate::source::{Changes, Client, ResourceView};
use crate::version::Version;

/// A request of either variant.
pub(crate) trait Request: prost::Message + Default + Send + 'static {
    type State: State<Request = Self>;

    fn take_node(&mut self) -> Option<Node>;
    fn type_url(&self) -> &str;
    fn set_type_url(&mut self, type_url: &str);
}

/// The state of one stream, of either variant.
pub(crate) trait State: Send + 'static {
    type Request;
    const PROTOCOL: Protocol;

    fn open(
        client: &Client,
        limits: Arc<Limits>,
        identifier: Arc<str>,
        salt: u32,
        sets: Arc<FullSets>,
    ) -> Self;
    fn on_request(
        &mut self,
        request: Self::Request,
        view: &dyn ResourceView,
        now: Instant,
    ) -> Result<Verdict, ProtocolError>;
    fn on_changes(&mut self, changes: &Changes, now: Instant);
    fn next(&mut self, view: &dyn ResourceView, now: Instant) -> Option<Response>;
    fn has_more(&self) -> bool;
    fn deadline(&self, now: Instant) -> Option<Instant>;
    fn subscription(&self, type_url: &str) -> Option<&Subscription>;
    fn pending(&self, type_url: &TypeUrl) -> usize;
    fn refused(&self, type_url: &TypeUrl) -> impl Iterator<Item = (&Name, Version)>;
}

macro_rules! requests {
    ($($request:ty => $state:ty),*) => { $(
        impl Request for $request {
            type State = $state;

            fn take_node(&mut self) -> Option<Node> {
                self.node.take()
            }

            fn type_url(&self) -> &str {
                &self.type_url
            }

            fn set_type_url(&mut self, type_url: &str) {
                type_url.clone_into(&mut self.type_url);
            }
        }
    )* };
}

requests!(DiscoveryRequest => SotwState, DeltaDiscoveryRequest => DeltaState);

macro_rules! states {
    ($($state:ty, $request:ty, $protocol:expr, $open:expr);*) => { $(
        impl State for $state {
            type Request = $request;
            const PROTOCOL: Protocol = $protocol;

            fn open(
                client: &Client,
                limits: Arc<Limits>,
                identifier: Arc<str>,
                salt: u32,
                sets: Arc<FullSets>,
            ) -> Self {
                $open(client, limits, identifier, salt, sets)
            }

            fn on_request(
                &mut self,
                request: Self::Request,
                view: &dyn ResourceView,
                now: Instant,
            ) -> Result<Verdict, ProtocolError> {
                <$state>::on_request(self, request, view, now)
            }

            fn on_changes(&mut self, changes: &Changes, now: Instant) {
                <$state>::on_changes(self, changes, now);
            }

            fn next(&mut self, view: &dyn ResourceView, now: Instant) -> Option<Response> {
                <$state>::next(self, view, now)
            }

            fn has_more(&self) -> bool {
                <$state>::has_more(self)
            }

            fn deadline(&self, now: Instant) -> Option<Instant> {
                <$state>::deadline(self, now)
            }

            fn subscription(&self, type_url: &str) -> Option<&Subscription> {
                self.subscriptions().find(|(of, _)| ***of == *type_url).map(|(_, subscription)| subscription)
            }

            fn pending(&self, type_url: &TypeUrl) -> usize {
                <$state>::pending(self, type_url)
            }

            fn refused(&self, type_url: &TypeUrl) -> impl Iterator<Item = (&Name, Version)> {
                <$state>::refused(self, type_url)
            }
        }
    )* };
}

states!(
    SotwState, DiscoveryRequest, Protocol::Sotw, SotwState::new;
    DeltaState, DeltaDiscoveryRequest, Protocol::Delta,
        |client, limits, identifier, salt, _| DeltaState::new(client, limits, identifier, salt)
);
