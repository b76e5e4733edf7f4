//! What a cluster says of the service behind it.

use mainstem_model::Service;
use mainstem_proto::envoy::config::core::v3::Metadata;

use crate::message::{list, nested, object, text};

/// `istio` names the service, as Istio's telemetry reads it; `mainstem` names
/// who says that it exists: registry, kind and name of each. Revisions are left
/// out: they change without content.
pub(super) fn of(service: &Service) -> Metadata {
    let named = object([
        ("host", text(service.hostname().as_str())),
        ("name", text(name(service))),
        ("namespace", text(service.namespace().as_str())),
    ]);
    let origins = service.origins.iter().map(|sourced| {
        let origin = &sourced.origin;
        text(format!("{} {} {}", origin.registry, origin.object.kind, origin.object.name))
    });
    let filters = [
        ("istio".to_owned(), object([("services", list([nested(named)]))])),
        ("mainstem".to_owned(), object([("origins", list(origins))])),
    ];
    Metadata { filter_metadata: filters.into(), ..Metadata::default() }
}

/// `web` of `web.shop.svc.cluster.local` in `shop`; else the host name.
pub(crate) fn name(service: &Service) -> &str {
    let host = service.hostname().as_str();
    let Some((name, rest)) = host.split_once('.') else { return host };
    let in_namespace = rest.strip_prefix(service.namespace().as_str());
    if in_namespace.is_some_and(|rest| rest.starts_with(".svc.")) { name } else { host }
}
