//! What a cluster says of the service behind it.

use std::collections::BTreeMap;

use mainstem_model::Service;
use mainstem_proto::envoy::config::core::v3::Metadata;

use crate::endpoint::Audience;
use crate::message::{list, nested, object, text};

/// `mainstem` names who says that the service exists: registry, kind and name of
/// each. Revisions are left out: they change without content. `istio` names the
/// service for the telemetry of Istio's proxy; nobody else reads it, and it makes a
/// cluster a third longer.
pub(super) fn of(service: &Service, audience: Audience) -> Metadata {
    let origins = service.origins.iter().map(|sourced| {
        let origin = &sourced.origin;
        text(format!("{} {} {}", origin.registry, origin.object.kind, origin.object.name))
    });
    let mut filters =
        BTreeMap::from([("mainstem".to_owned(), object([("origins", list(origins))]))]);
    if audience == Audience::IstioProxy {
        let named = object([
            ("host", text(service.hostname().as_str())),
            ("name", text(name(service))),
            ("namespace", text(service.namespace().as_str())),
        ]);
        filters.insert("istio".to_owned(), object([("services", list([nested(named)]))]));
    }
    Metadata { filter_metadata: filters, ..Metadata::default() }
}

/// `web` of `web.shop.svc.cluster.local` in `shop`; else the host name.
pub(crate) fn name(service: &Service) -> &str {
    let host = service.hostname().as_str();
    let Some((name, rest)) = host.split_once('.') else { return host };
    let in_namespace = rest.strip_prefix(service.namespace().as_str());
    if in_namespace.is_some_and(|rest| rest.starts_with(".svc.")) { name } else { host }
}
