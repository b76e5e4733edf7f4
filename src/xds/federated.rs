//! Names of the form `xdstp://AUTHORITY/TYPE/NAME?PARAMETERS` (xRFC TP1), by which gRPC
//! clients ask that follow several control planes (gRFC A47).
//!
//! ```text
//!  xdstp://mesh/envoy.config.listener.v3.Listener/web.shop:80 ─▶ what is named web.shop:80,
//!      under the name asked for, and referring to others by names of the same authority
//! ```
//!
//! A client asks for what it was referred to where the reference's authority leads, so
//! plain references would lead it to another control plane than this.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use mainstem_proto::any;
use mainstem_proto::envoy::config::cluster::v3::Cluster;
use mainstem_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mainstem_proto::envoy::config::listener::v3::Listener;
use mainstem_proto::envoy::config::route::v3::{
    RouteConfiguration, route::Action, route_action::ClusterSpecifier,
};
use mainstem_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use mainstem_translate::{Kind, Resource as Translated};
use mainstem_xds::{Name, Resource, Subscription, TypeUrl, Version};
use prost::{DecodeError, Message};

const SCHEME: &str = "xdstp://";

/// The authorities whose names mean what is here.
pub(super) type Authorities = Arc<BTreeSet<String>>;

/// Types and names.
pub(super) type Changed = Vec<(TypeUrl, Arc<[Name]>)>;

/// A name of this form, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Federated<'n> {
    authority: &'n str,
    /// The type, without the host of its URL.
    message: &'n str,
    /// The name by which the resource is known here.
    pub(super) plain: Cow<'n, str>,
}

impl<'n> Federated<'n> {
    /// Reads such a name; `None` for others.
    pub(super) fn parse(name: &'n str) -> Option<Self> {
        let path = name.strip_prefix(SCHEME)?.split('?').next()?;
        let (authority, rest) = path.split_once('/')?;
        let (message, name) = rest.split_once('/')?;
        Some(Self { authority, message, plain: decoded(name) })
    }

    /// Reads such a name, if it is of this type and of one of these authorities.
    pub(super) fn of(name: &'n str, type_url: &TypeUrl, ours: &Authorities) -> Option<Self> {
        let message = type_url.rsplit_once('/').map_or(&**type_url, |(_, message)| message);
        Self::parse(name).filter(|name| name.message == message && ours.contains(name.authority))
    }

    /// The resource under the name by which it was asked for. Its version is that of the
    /// plain one, from which all of it follows.
    ///
    /// # Errors
    /// Never of what was made here.
    pub(super) fn resource(
        &self,
        plain: &Translated,
        type_url: &TypeUrl,
        name: &str,
    ) -> Result<Resource, DecodeError> {
        let body = renamed(plain, name, self.authority)?;
        Ok(Resource::with_version(type_url, name, Version(plain.version), body))
    }
}

/// The message under another name, with references by names of that authority.
fn renamed(plain: &Translated, name: &str, authority: &str) -> Result<Vec<u8>, DecodeError> {
    let body = plain.body.to_bytes();
    let refer = |kind: Kind, name: &mut String| *name = reference(authority, kind, name);
    Ok(match plain.kind {
        Kind::Listener => {
            let mut listener = Listener::decode(body)?;
            name.clone_into(&mut listener.name);
            refer_to_routes(&mut listener, |name| refer(Kind::Route, name));
            listener.encode_to_vec()
        }
        Kind::Route => {
            let mut routes = RouteConfiguration::decode(body)?;
            name.clone_into(&mut routes.name);
            refer_to_clusters(&mut routes, |name| refer(Kind::Cluster, name));
            routes.encode_to_vec()
        }
        Kind::Cluster => {
            let mut cluster = Cluster::decode(body)?;
            let mut endpoints = std::mem::replace(&mut cluster.name, name.to_owned());
            if let Some(eds) = &mut cluster.eds_cluster_config {
                refer(Kind::LoadAssignment, &mut endpoints);
                eds.service_name = endpoints;
            }
            cluster.encode_to_vec()
        }
        Kind::LoadAssignment => {
            let mut assignment = ClusterLoadAssignment::decode(body)?;
            name.clone_into(&mut assignment.cluster_name);
            assignment.encode_to_vec()
        }
        Kind::ServiceEntry | Kind::Config => body.to_vec(),
    })
}

/// What is referred to from a listener is in the manager of its calls.
fn refer_to_routes(listener: &mut Listener, refer: impl FnOnce(&mut String)) {
    let manager = listener.api_listener.as_mut().and_then(|api| api.api_listener.as_mut());
    let Some(packed) = manager else { return };
    let Ok(mut manager) = packed.unpack::<HttpConnectionManager>() else { return };
    if let Some(RouteSpecifier::Rds(rds)) = &mut manager.route_specifier {
        refer(&mut rds.route_config_name);
    }
    *packed = any(&manager);
}

fn refer_to_clusters(routes: &mut RouteConfiguration, refer: impl Fn(&mut String)) {
    for route in routes.virtual_hosts.iter_mut().flat_map(|host| &mut host.routes) {
        if let Some(Action::Route(action)) = &mut route.action
            && let Some(ClusterSpecifier::Cluster(name)) = &mut action.cluster_specifier
        {
            refer(name);
        }
    }
}

fn reference(authority: &str, kind: Kind, name: &str) -> String {
    let type_url = kind.type_url();
    let message = type_url.rsplit_once('/').map_or(type_url, |(_, message)| message);
    let mut path = format!("{SCHEME}{authority}/{message}/");
    for byte in name.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b':' | b'*' => path.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => path.push(char::from(byte)),
            _ => write!(path, "%{byte:02X}").expect("a text takes any text"),
        }
    }
    path
}

/// Without percent-encoding, if that makes a text.
fn decoded(name: &str) -> Cow<'_, str> {
    if !name.contains('%') {
        return Cow::Borrowed(name);
    }
    let mut parts = name.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let Some(byte) = byte else { return Cow::Borrowed(name) };
        bytes.push(byte);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(name), Cow::Owned)
}

/// The names of this form that a client asks for, by what they mean.
#[derive(Debug, Default)]
pub(super) struct Asked(Vec<(TypeUrl, BTreeMap<String, Vec<Name>>)>);

impl Asked {
    /// The client asks for this from now on, of one type.
    pub(super) fn follow(
        &mut self,
        type_url: &TypeUrl,
        subscription: &Subscription,
        ours: &Authorities,
    ) {
        self.0.retain(|(of, _)| of != type_url);
        let mut names: BTreeMap<String, Vec<Name>> = BTreeMap::new();
        for name in subscription.iter() {
            if let Some(federated) = Federated::of(name, type_url, ours) {
                names.entry(federated.plain.into_owned()).or_default().push(name.clone());
            }
        }
        if !names.is_empty() {
            self.0.push((type_url.clone(), names));
        }
    }

    /// What changed, also by the names that the client asks for.
    pub(super) fn widen(&self, changed: Changed) -> Changed {
        if self.0.is_empty() {
            return changed;
        }
        let widened = changed.into_iter().map(|(type_url, names)| {
            let asked = self.0.iter().find(|(of, _)| *of == type_url).map(|(_, asked)| asked);
            let further = names.iter().filter_map(|name| asked?.get(&**name)).flatten();
            let all: BTreeSet<Name> = names.iter().chain(further).cloned().collect();
            (type_url, all.into_iter().collect())
        });
        widened.collect()
    }
}

#[cfg(test)]
mod tests {
    use mainstem_xds::NameSet;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    use super::*;

    const LISTENER: &str = "xdstp://mesh/envoy.config.listener.v3.Listener/";

    fn ours() -> Authorities {
        Arc::new(["mesh".to_owned()].into())
    }

    #[rstest]
    #[case("web.shop:80", Some("web.shop:80"))]
    #[case("web.shop%3A80?b=1&a=2", Some("web.shop:80"))]
    #[case("outbound%7C80%7C%7Cweb.shop", Some("outbound|80||web.shop"))]
    #[case("web%", Some("web%"))]
    #[case("web%é", Some("web%é"))]
    #[case("web%FF", Some("web%FF"))]
    fn a_name_of_ours_means_the_plain_name_in_it(
        #[case] name: &str,
        #[case] expected: Option<&str>,
    ) {
        let name = format!("{LISTENER}{name}");
        let found = Federated::of(&name, &TypeUrl::LISTENER, &ours());
        assert_eq!(found.map(|found| found.plain.into_owned()).as_deref(), expected);
    }

    #[rstest]
    #[case::plain("web.shop:80")]
    #[case::another_authority("xdstp://other/envoy.config.listener.v3.Listener/web.shop:80")]
    #[case::another_type("xdstp://mesh/envoy.config.cluster.v3.Cluster/web.shop:80")]
    #[case::no_name("xdstp://mesh/envoy.config.listener.v3.Listener")]
    fn another_name_means_nothing_else(#[case] name: &str) {
        assert_eq!(Federated::of(name, &TypeUrl::LISTENER, &ours()), None);
    }

    #[test]
    fn a_reference_means_what_it_was_made_of() {
        let name = reference("mesh", Kind::Cluster, "outbound|80||web.shop");
        assert_eq!(
            name,
            "xdstp://mesh/envoy.config.cluster.v3.Cluster/outbound%7C80%7C%7Cweb.shop"
        );
        let read = Federated::of(&name, &TypeUrl::CLUSTER, &ours()).unwrap();
        assert_eq!(read.plain, "outbound|80||web.shop");
    }

    #[test]
    fn what_changes_changes_under_every_name_that_is_asked_for() {
        let mut asked = Asked::default();
        let name: Name = format!("{LISTENER}web%3A80").into();
        let subscription =
            Subscription::new(false, [name.clone(), "db:80".into()].into_iter().collect());
        asked.follow(&TypeUrl::LISTENER, &subscription, &ours());
        let changed = |names: &[&str]| -> Changed {
            vec![(TypeUrl::LISTENER, names.iter().map(|name| Name::from(*name)).collect())]
        };
        assert_eq!(asked.widen(changed(&["db:80"])), changed(&["db:80"]));
        assert_eq!(asked.widen(changed(&["web:80"])), changed(&["web:80", &name]));
        asked.follow(&TypeUrl::LISTENER, &Subscription::new(false, NameSet::default()), &ours());
        assert_eq!(asked.widen(changed(&["web:80"])), changed(&["web:80"]));
    }
}
