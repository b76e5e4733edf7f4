//! One resource: named, versioned, encoded once.

mod referred;

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use mainstem_proto::Encoded;
use mainstem_proto::google::protobuf::Any;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::names::{Name, TypeUrl};
use crate::version::Version;

/// Field numbers of `envoy.service.discovery.v3.Resource` and `google.protobuf.Any`.
mod field {
    /// `DeltaDiscoveryResponse.resources` and `DiscoveryResponse.resources` alike.
    pub const RESOURCES: u32 = 2;
    pub const VERSION: u32 = 1;
    pub const RESOURCE: u32 = 2;
    pub const NAME: u32 = 3;
    pub const ALIASES: u32 = 4;
    pub const TTL: u32 = 6;
    pub const ANY_TYPE_URL: u32 = 1;
    pub const ANY_VALUE: u32 = 2;
}

/// One named resource: immutable, encoded once, shared by every stream.
///
/// Its wire form is built when it is made:
///
/// ```text
/// delta: | resources{ name aliases ttl version | resource{ type_url | body } } |
/// SotW:                                        | resources{ type_url | body }  |
/// ```
///
/// `Resource.resource` and `DiscoveryResponse.resources` share a field number,
/// so the SotW form is the tail of the delta form, and the body is copied into
/// neither.
#[derive(Clone)]
pub struct Resource {
    type_url: TypeUrl,
    /// The message's own type, where it is not that by which it is asked for.
    message: Option<TypeUrl>,
    name: Name,
    version: Version,
    aliases: Box<[Name]>,
    ttl: Option<Duration>,
    /// All of the delta form that precedes the body.
    head: Bytes,
    /// Where in `head` the SotW form begins.
    any_at: usize,
    body: Encoded,
    body_len: usize,
    referred: OnceLock<Box<[Name]>>,
}

impl Resource {
    /// A resource of encoded content, versioned by its hash.
    pub fn new(type_url: &TypeUrl, name: impl Into<Name>, body: impl Into<Bytes>) -> Resource {
        let body = body.into();
        let version = Version::of(&body);
        Resource::with_version(type_url, name, version, body)
    }

    /// A resource whose content hash is known already.
    pub fn with_version(
        type_url: &TypeUrl,
        name: impl Into<Name>,
        version: Version,
        body: impl Into<Encoded>,
    ) -> Resource {
        let body = body.into();
        let resource = Resource {
            type_url: type_url.clone(),
            message: None,
            name: name.into(),
            version,
            aliases: Box::default(),
            ttl: None,
            head: Bytes::new(),
            any_at: 0,
            body_len: body.len(),
            body,
            referred: OnceLock::new(),
        };
        resource.headed()
    }

    /// A message as a resource, under the message's own type URL.
    pub fn of<T: prost::Name>(name: impl Into<Name>, message: &T) -> Resource {
        Resource::new(&TypeUrl::from(T::type_url().as_str()), name, message.encode_to_vec())
    }

    /// The same resource, whose message is of another type than that by which it
    /// is asked for, as the Mesh Configuration Protocol has it.
    #[must_use]
    pub fn with_message_type(self, message: TypeUrl) -> Resource {
        Resource { message: Some(message), ..self }.headed()
    }

    /// The same resource under further names, by any of which it may be asked for.
    #[must_use]
    pub fn with_aliases(self, aliases: impl IntoIterator<Item = Name>) -> Resource {
        Resource { aliases: aliases.into_iter().collect(), ..self }.headed()
    }

    /// The same resource, which a client forgets unless it hears of it again within `ttl`.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Resource {
        Resource { ttl: Some(ttl), ..self }.headed()
    }

    /// The same resource for clients that do not know times to live.
    #[must_use]
    pub(crate) fn without_ttl(&self) -> Resource {
        Resource { ttl: None, ..self.clone() }.headed()
    }

    /// Its canonical name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The hash of its content.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Further names by which it may be asked for.
    pub fn aliases(&self) -> &[Name] {
        &self.aliases
    }

    /// How long a client keeps it without a heartbeat.
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// The encoded message.
    pub fn body(&self) -> &Encoded {
        &self.body
    }

    /// The type by which it is asked for.
    pub fn type_url(&self) -> &TypeUrl {
        &self.type_url
    }

    /// The message in an `Any`.
    pub fn any(&self) -> Any {
        Any {
            type_url: self.message.as_ref().unwrap_or(&self.type_url).to_string(),
            value: self.body.to_bytes(),
        }
    }

    /// Names of other resources that a client asks for again because this one
    /// is new or changed: a cluster's load assignment, a listener's route
    /// configurations.
    pub fn referred(&self) -> &[Name] {
        self.referred.get_or_init(|| referred::names(&self.type_url, &self.body.to_bytes()).into())
    }

    /// The wire form in a delta response, part after part from 0 on.
    pub(crate) fn delta_part(&self, at: usize) -> Option<&[u8]> {
        if at == 0 { Some(&self.head) } else { self.body_part(at - 1) }
    }

    /// Bytes of all [`delta_part`](Self::delta_part)s.
    pub(crate) fn delta_len(&self) -> usize {
        self.head.len() + self.body_len
    }

    /// The wire form in a SotW response, part after part from 0 on.
    pub(crate) fn sotw_part(&self, at: usize) -> Option<&[u8]> {
        if at == 0 { Some(&self.head[self.any_at..]) } else { self.body_part(at - 1) }
    }

    /// Bytes of all [`sotw_part`](Self::sotw_part)s.
    pub(crate) fn sotw_len(&self) -> usize {
        self.delta_len() - self.any_at
    }

    fn body_part(&self, at: usize) -> Option<&[u8]> {
        self.body.parts().get(at).map(|part| &**part)
    }

    /// With what precedes the body, written anew.
    fn headed(mut self) -> Resource {
        let any_head = any_head(self.message.as_ref().unwrap_or(&self.type_url), self.body_len);
        let any_len = any_head.len() + self.body_len;
        let mut fields = BytesMut::new();
        put_bytes(field::NAME, self.name.as_bytes(), &mut fields);
        for alias in &self.aliases {
            put_bytes(field::ALIASES, alias.as_bytes(), &mut fields);
        }
        if let Some(ttl) = self.ttl {
            put_bytes(field::TTL, &encoded_duration(ttl), &mut fields);
        }
        put_bytes(field::VERSION, self.version.to_string().as_bytes(), &mut fields);

        let any_field_len = bytes_head_len(field::RESOURCE, any_len) + any_len;
        let mut head = BytesMut::new();
        put_bytes_head(field::RESOURCES, fields.len() + any_field_len, &mut head);
        head.unsplit(fields);
        self.any_at = head.len();
        put_bytes_head(field::RESOURCE, any_len, &mut head);
        head.put_slice(&any_head);
        self.head = head.freeze();
        self
    }
}

/// Two resources are equal when a client could not tell them apart.
impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head && self.body == other.body
    }
}

impl Eq for Resource {}

/// Without the body, which may be a secret.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("type_url", &self.type_url)
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Writes the wire form, in a delta response, of a resource without a body: a
/// heartbeat of one held, or the answer that an alias names nothing.
pub(crate) fn bodiless(
    name: &str,
    aliases: &[Name],
    version: &str,
    ttl: Option<Duration>,
    out: &mut Vec<u8>,
) {
    let mut fields = BytesMut::new();
    put_bytes(field::NAME, name.as_bytes(), &mut fields);
    for alias in aliases {
        put_bytes(field::ALIASES, alias.as_bytes(), &mut fields);
    }
    if let Some(ttl) = ttl {
        put_bytes(field::TTL, &encoded_duration(ttl), &mut fields);
    }
    if !version.is_empty() {
        put_bytes(field::VERSION, version.as_bytes(), &mut fields);
    }
    put_bytes(field::RESOURCES, &fields, out);
}

/// A length-delimited field.
pub(crate) fn put_bytes(number: u32, bytes: &[u8], out: &mut impl BufMut) {
    put_bytes_head(number, bytes.len(), out);
    out.put_slice(bytes);
}

fn put_bytes_head(number: u32, len: usize, out: &mut impl BufMut) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

fn bytes_head_len(number: u32, len: usize) -> usize {
    key_len(number) + encoded_len_varint(len as u64)
}

fn any_head(type_url: &str, body_len: usize) -> BytesMut {
    let mut head = BytesMut::new();
    put_bytes(field::ANY_TYPE_URL, type_url.as_bytes(), &mut head);
    put_bytes_head(field::ANY_VALUE, body_len, &mut head);
    head
}

fn encoded_duration(duration: Duration) -> Vec<u8> {
    use prost::Message as _;
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(duration.subsec_nanos()).expect("below 10^9");
    prost_types::Duration { seconds, nanos }.encode_to_vec()
}

#[cfg(test)]
mod tests;
