//! What a client asks for again when a resource changes, read from encoded bytes.
//!
//! Only the few fields on the way are looked at, so that this costs about as
//! much as skipping over the message.

use mainstem_proto::type_url;
use prost::encoding::decode_varint;

use crate::names::Name;

const HTTP_CONNECTION_MANAGER: &[u8] =
    b"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// `Cluster`: the load assignment's name, which is the service name of its EDS
/// configuration or else its own. `Listener`: the route configurations of its
/// HTTP connection managers.
pub(super) fn names(type_url: &str, body: &[u8]) -> Vec<Name> {
    let mut names = match type_url {
        type_url::CLUSTER => load_assignment(body).into_iter().collect(),
        type_url::LISTENER => route_configurations(body),
        _ => Vec::new(),
    };
    names.sort_unstable();
    names.dedup();
    names
}

fn load_assignment(cluster: &[u8]) -> Option<Name> {
    const NAME: u32 = 1;
    const EDS_CLUSTER_CONFIG: u32 = 3;
    const SERVICE_NAME: u32 = 2;
    let eds = last(cluster, EDS_CLUSTER_CONFIG)?;
    let service = last(eds, SERVICE_NAME).filter(|name| !name.is_empty());
    service.or_else(|| last(cluster, NAME)).and_then(text)
}

fn route_configurations(listener: &[u8]) -> Vec<Name> {
    const FILTER_CHAINS: u32 = 3;
    const API_LISTENER: u32 = 19;
    const API_LISTENER_ANY: u32 = 1;
    const DEFAULT_FILTER_CHAIN: u32 = 25;
    const FILTERS: u32 = 3;
    const TYPED_CONFIG: u32 = 4;
    let mut managers = Vec::new();
    for (number, value) in Fields(listener) {
        match number {
            FILTER_CHAINS | DEFAULT_FILTER_CHAIN => {
                let filters = all(value, FILTERS).filter_map(|filter| last(filter, TYPED_CONFIG));
                managers.extend(filters);
            }
            API_LISTENER => managers.extend(last(value, API_LISTENER_ANY)),
            _ => {}
        }
    }
    managers.into_iter().filter_map(route_configuration).collect()
}

fn route_configuration(any: &[u8]) -> Option<Name> {
    const TYPE_URL: u32 = 1;
    const VALUE: u32 = 2;
    const RDS: u32 = 3;
    const ROUTE_CONFIG_NAME: u32 = 2;
    last(any, TYPE_URL).filter(|url| url.ends_with(HTTP_CONNECTION_MANAGER))?;
    last(last(last(any, VALUE)?, RDS)?, ROUTE_CONFIG_NAME).and_then(text)
}

fn text(bytes: &[u8]) -> Option<Name> {
    std::str::from_utf8(bytes).ok().map(Name::from)
}

fn last(message: &[u8], number: u32) -> Option<&[u8]> {
    all(message, number).last()
}

fn all(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Fields(message).filter(move |(found, _)| *found == number).map(|(_, value)| value)
}

/// The length-delimited fields of an encoded message, up to the first byte
/// that is none.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = decode_varint(&mut self.0).ok()?;
            let number = u32::try_from(key >> 3).ok()?;
            let skip = match key & 7 {
                0 => {
                    decode_varint(&mut self.0).ok()?;
                    continue;
                }
                1 => 8,
                2 => usize::try_from(decode_varint(&mut self.0).ok()?).ok()?,
                5 => 4,
                _ => return None,
            };
            let (value, rest) = self.0.split_at_checked(skip)?;
            self.0 = rest;
            if key & 7 == 2 {
                return Some((number, value));
            }
        }
    }
}
