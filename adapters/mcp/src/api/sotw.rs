//! State-of-the-world ADS: every answer is the complete set of its type.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mainstem_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use mainstem_proto::google::protobuf::Any;
use mainstem_proto::istio;
use prost::Message;
use tokio::sync::mpsc;
use tonic::Streaming;
use xxhash_rust::xxh3::xxh3_128;

use super::{Door, Held, LARGEST_ANSWER, McpError, received};
use crate::convert::Kind;

/// A stream on which complete sets come.
pub(crate) struct Sotw {
    address: String,
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    answers: Streaming<DiscoveryResponse>,
    kinds: BTreeMap<Kind, Known>,
}

/// What is known of a kind.
#[derive(Debug, Default)]
struct Known {
    /// The objects of the newest set.
    names: BTreeSet<String>,
    /// The version of the newest set that was taken.
    taken: String,
    /// That of the newest set.
    newest: String,
}

impl Sotw {
    pub(super) async fn open(
        door: Door<'_>,
        held: impl Fn(&Kind) -> Held,
    ) -> Result<Self, McpError> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let mut kinds = BTreeMap::new();
        for kind in &door.config.kinds {
            let Held { versions, version } = held(kind);
            let _ = requests.send(DiscoveryRequest {
                node: Some(door.node()),
                type_url: kind.type_url().to_owned(),
                version_info: version.clone(),
                ..DiscoveryRequest::default()
            });
            let names = versions.into_keys().collect();
            kinds.insert(kind.clone(), Known { names, newest: version.clone(), taken: version });
        }
        let request = door.requests(outgoing)?;
        let mut client = AggregatedDiscoveryServiceClient::new(door.channel.clone())
            .max_decoding_message_size(LARGEST_ANSWER);
        let answers = client.stream_aggregated_resources(request).await;
        let answers = answers.map_err(|status| door.refused(status))?.into_inner();
        Ok(Self { address: door.config.address.clone(), requests, answers, kinds })
    }

    pub(super) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, McpError> {
        let answer = received(&self.address, self.answers.message().await)?;
        let Some(known) = self.kinds.get_mut(&Kind::of(&answer.type_url)) else {
            let DiscoveryResponse { type_url, nonce, .. } = answer;
            return Ok(DeltaDiscoveryResponse { type_url, nonce, ..Default::default() });
        };
        known.newest.clone_from(&answer.version_info);
        let DiscoveryResponse { type_url, nonce, resources, .. } = answer;
        let told = DeltaDiscoveryResponse { type_url, nonce, ..Default::default() };
        Ok(complete(told, resources.into_iter().map(named).collect(), &mut known.names))
    }

    /// Accepts the set, whatever objects of it are malformed: a NACK would refuse all of
    /// them, and a source that answers it with a set without the culprits would delete these.
    pub(super) fn accept(&mut self, answer: &DeltaDiscoveryResponse) {
        let known = self.kinds.get_mut(&Kind::of(&answer.type_url));
        let version_info = known.map(|known| {
            known.taken.clone_from(&known.newest);
            known.taken.clone()
        });
        // A stream that has ended shows when it is read.
        let _ = self.requests.send(DiscoveryRequest {
            type_url: answer.type_url.clone(),
            version_info: version_info.unwrap_or_default(),
            response_nonce: answer.nonce.clone(),
            ..DiscoveryRequest::default()
        });
    }

    pub(super) fn version(&self, kind: &Kind) -> String {
        self.kinds.get(kind).map(|known| known.taken.clone()).unwrap_or_default()
    }
}

/// What a complete set says that is not of `names`, which become its own: its objects, and
/// those that it lacks. An object that does not say which it is may be any that the set
/// lacks: none goes then.
pub(super) fn complete(
    told: DeltaDiscoveryResponse,
    mut resources: Vec<Resource>,
    names: &mut BTreeSet<String>,
) -> DeltaDiscoveryResponse {
    let nameless = resources.iter_mut().filter(|resource| resource.name.is_empty());
    let nameless = nameless.zip(1..).map(|(resource, at)| resource.name = format!("#{at}")).count();
    let there: BTreeSet<String> = resources.iter().map(|resource| resource.name.clone()).collect();
    let gone = |name: &&String| nameless == 0 || name.starts_with('#');
    let removed_resources = names.difference(&there).filter(gone).cloned().collect();
    match nameless {
        0 => *names = there,
        _ => names.extend(there),
    }
    DeltaDiscoveryResponse { resources, removed_resources, ..told }
}

/// An object by the name that it says itself, `NAMESPACE/NAME`, and by its content.
fn named(any: Any) -> Resource {
    let metadata = istio::Resource::decode(any.value.clone()).ok().and_then(|one| one.metadata);
    let name = metadata.map(|metadata| metadata.name).unwrap_or_default();
    let version = format!("{:032x}", xxh3_128(&any.value));
    Resource { name, version, resource: Some(any), ..Resource::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_proto::istio::Metadata;

    fn any(name: &str, label: &str) -> Any {
        let labels = [("l".to_owned(), label.to_owned())].into();
        let metadata = Metadata { name: name.to_owned(), labels, ..Metadata::default() };
        let resource = istio::Resource { metadata: Some(metadata), body: None };
        Any { type_url: String::new(), value: resource.encode_to_vec().into() }
    }

    fn told(names: &mut BTreeSet<String>, resources: Vec<Any>) -> (Vec<String>, Vec<String>) {
        let resources = resources.into_iter().map(named).collect();
        let told = complete(DeltaDiscoveryResponse::default(), resources, names);
        (told.resources.into_iter().map(|r| r.name).collect(), told.removed_resources)
    }

    #[test]
    fn what_a_set_lacks_is_gone() {
        let mut names = BTreeSet::new();
        let ab = told(&mut names, vec![any("s/a", "1"), any("s/b", "1")]);
        assert_eq!(ab, (vec!["s/a".to_owned(), "s/b".to_owned()], vec![]));
        assert_eq!(told(&mut names, vec![any("s/a", "2")]).1, ["s/b"]);
        assert_eq!(told(&mut names, vec![]).1, ["s/a"]);
        assert_eq!(told(&mut names, vec![]).1, Vec::<String>::new());
    }

    #[test]
    fn an_object_without_a_name_may_be_any_that_is_missed() {
        let mut names = BTreeSet::new();
        told(&mut names, vec![any("s/a", "1"), any("s/b", "1")]);
        let broken = Any { type_url: String::new(), value: vec![0xff, 0xff].into() };
        let (said, gone) = told(&mut names, vec![any("s/a", "1"), broken]);
        assert_eq!((said, gone), (vec!["s/a".to_owned(), "#1".to_owned()], vec![]));
        // Once it is mended, what is missed is gone after all, and the flaw with it.
        assert_eq!(told(&mut names, vec![any("s/a", "1")]).1, ["#1", "s/b"]);
    }

    #[test]
    fn a_version_is_that_of_the_content() {
        let version = |label| named(any("s/a", label)).version;
        assert_eq!(version("1"), version("1"));
        assert_ne!(version("1"), version("2"));
    }
}
