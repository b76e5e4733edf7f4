//! An answer, a part at a time: a thousand clients have a gigabyte, which is never
//! in memory at once, and other tasks get their turn between two of them.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::Stream;
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse,
};
use prost::Message;
use tokio::task::yield_now;
use tonic::Status;

use super::client_config;
use super::matcher::Nodes;
use crate::clients::Connected;
use crate::server::Shared;

/// Bytes of a part beyond which another one begins.
const PART: usize = 1 << 20;
/// Bytes of the only message of an answer: no more than clients take by default.
const WHOLE: usize = 4 << 20;

/// What is still to be told to one request.
pub(super) struct Parts {
    shared: Arc<Shared>,
    nodes: Nodes,
    /// Without the contents of resources.
    bare: bool,
    clients: std::vec::IntoIter<Arc<Connected>>,
    /// Of the client that was looked at last.
    pieces: VecDeque<ClientConfig>,
    /// Whether anything was told: that nobody matches is, too.
    told: bool,
}

impl Parts {
    pub(super) fn of(shared: &Arc<Shared>, request: &ClientStatusRequest) -> Result<Parts, Status> {
        Ok(Parts {
            shared: shared.clone(),
            nodes: Nodes::read(&request.node_matchers)?,
            bare: request.exclude_resource_contents,
            clients: shared.clients.all().into_iter(),
            pieces: VecDeque::new(),
            told: false,
        })
    }

    /// All parts, each made when the one before is taken.
    pub(super) fn stream(self) -> impl Stream<Item = Result<ClientStatusResponse, Status>> {
        futures::stream::unfold(self, |mut parts| async {
            let part = parts.next().await?;
            Some((Ok(part), parts))
        })
    }

    /// All parts in one message: without contents if these make it too long.
    pub(super) async fn whole(mut self) -> Result<ClientStatusResponse, Status> {
        let mut whole = ClientStatusResponse::default();
        while let Some(part) = self.next().await {
            part.config.into_iter().for_each(|piece| join(&mut whole.config, piece));
            if whole.encoded_len() > WHOLE && !self.bare {
                self.bare = true;
                self.pieces.iter_mut().chain(&mut whole.config).for_each(strip);
            }
            if whole.encoded_len() > WHOLE {
                let why = "the status of so many clients does not fit into one message: \
                           ask about fewer nodes, or by StreamClientStatus";
                return Err(Status::resource_exhausted(why));
            }
        }
        Ok(whole)
    }

    async fn next(&mut self) -> Option<ClientStatusResponse> {
        let (mut part, mut bytes) = (ClientStatusResponse::default(), 0);
        loop {
            while let Some(piece) = self.pieces.pop_front() {
                bytes += piece.encoded_len();
                if bytes > PART && !part.config.is_empty() {
                    self.pieces.push_front(piece);
                    return Some(part);
                }
                self.told = true;
                part.config.push(piece);
            }
            let Some(client) = self.clients.next() else { break };
            if self.nodes.matches(&client.client().node()) {
                self.pieces = pieces(client_config(&*self.shared.source, &client, self.bare));
                yield_now().await;
            }
        }
        let last = !part.config.is_empty() || !self.told;
        self.told = true;
        last.then_some(part)
    }
}

/// A client's status in pieces that are no longer than a part; the first one has all of
/// its node, and they all have its scope. A larger resource is alone.
fn pieces(config: ClientConfig) -> VecDeque<ClientConfig> {
    let ClientConfig { node, generic_xds_configs, client_scope, .. } = config;
    let id = node.as_ref().map(|node| Node { id: node.id.clone(), ..Node::default() });
    let piece = |node| {
        let client_scope = client_scope.clone();
        ClientConfig { node, client_scope, ..ClientConfig::default() }
    };
    let (mut pieces, mut last, mut bytes) = (VecDeque::new(), piece(node), 0);
    for resource in generic_xds_configs {
        let len = resource.encoded_len();
        if bytes + len > PART && bytes > 0 {
            pieces.push_back(std::mem::replace(&mut last, piece(id.clone())));
            bytes = 0;
        }
        bytes += len;
        last.generic_xds_configs.push(resource);
    }
    pieces.push_back(last);
    pieces
}

/// Adds a piece to that of the same client, if that is the last one.
fn join(all: &mut Vec<ClientConfig>, piece: ClientConfig) {
    match all.last_mut().filter(|last| last.client_scope == piece.client_scope) {
        Some(last) => last.generic_xds_configs.extend(piece.generic_xds_configs),
        None => all.push(piece),
    }
}

fn strip(config: &mut ClientConfig) {
    config.generic_xds_configs.iter_mut().for_each(|resource| resource.xds_config = None);
}
