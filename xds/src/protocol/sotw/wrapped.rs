//! Resources with a time to live, which this protocol wraps.

use std::sync::Arc;
use std::time::Duration;

use mainstem_proto::envoy::service::discovery::v3::Resource as Wrapped;
use mainstem_proto::google::protobuf::Any;
use mainstem_proto::{any, google::protobuf};
use prost::Message as _;

use super::kind::{Fill, Kind};
use crate::names::Name;
use crate::protocol::heartbeat::Beat;
use crate::protocol::wire::Message;
use crate::resource::{Resource, put_bytes};
use crate::version::Version;

impl Kind {
    /// Adds a resource to a response, in the wrapper if it has a time to live of
    /// which the client knows.
    pub(super) fn put(&mut self, resource: &Arc<Resource>, fill: &Fill, message: &mut Message) {
        match resource.ttl().filter(|_| fill.ttl) {
            None => message.push(resource.clone()),
            Some(ttl) => {
                self.heartbeats.sent(resource, fill.now);
                let (name, version) = (resource.name(), resource.version());
                message.write(|out| wrapped(name, version, ttl, Some(resource.any()), out));
            }
        }
    }
}

/// Adds a heartbeat to a response.
pub(super) fn put_beat(name: &Name, beat: &Beat, message: &mut Message) {
    message.write(|out| wrapped(name, beat.version, beat.ttl, None, out));
}

fn wrapped(name: &Name, version: Version, ttl: Duration, body: Option<Any>, out: &mut Vec<u8>) {
    const RESOURCES: u32 = 2;
    let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(ttl.subsec_nanos()).expect("below 10^9");
    let wrapped = Wrapped {
        name: name.to_string(),
        version: version.to_string(),
        ttl: Some(protobuf::Duration { seconds, nanos }),
        resource: body,
        ..Wrapped::default()
    };
    put_bytes(RESOURCES, &any(&wrapped).encode_to_vec(), out);
}
