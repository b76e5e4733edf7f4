//! From the node of a request to a proxy.

use mainstem_model::{ClusterId, Locality, Proxy};
use mainstem_proto::envoy::config::core::v3::Node;
use mainstem_proto::google::protobuf::{Struct, Value, value};
use mainstem_xds::Refusal;
use serde_json::Value as Json;

/// The proxy that a node describes; without a cluster of its own it is in `cluster`.
///
/// # Errors
/// A [`Refusal`] that says what the node id should look like.
pub fn proxy(node: &Node, cluster: &ClusterId) -> Result<Proxy, Refusal> {
    let locality = node
        .locality
        .as_ref()
        .map(|locality| Locality::new(&locality.region, &locality.zone, &locality.sub_zone));
    let metadata = node.metadata.as_ref().map_or(Json::Null, json_of_struct);
    let mut proxy = Proxy::parse(&node.id, metadata, locality.unwrap_or_default(), cluster)
        .map_err(|error| {
            Refusal::InvalidNode(format!("{error}; `mainstem bootstrap` writes one"))
        })?;
    // gRPC's clients of all languages begin so: `gRPC C-core linux`, `gRPC Go`, …
    if node.user_agent_name.starts_with("gRPC") && proxy.metadata.generator.is_none() {
        proxy.metadata.generator = Some("grpc".to_owned());
    }
    Ok(proxy)
}

fn json_of_struct(from: &Struct) -> Json {
    from.fields.iter().map(|(name, value)| (name.clone(), json_of(value))).collect()
}

/// The protocol's decoder bounds how deep values nest.
fn json_of(from: &Value) -> Json {
    match &from.kind {
        None | Some(value::Kind::NullValue(_)) => Json::Null,
        Some(value::Kind::BoolValue(value)) => Json::Bool(*value),
        // Whole numbers stay whole: ports are read from here.
        Some(value::Kind::NumberValue(value)) => whole(*value).map_or_else(
            || serde_json::Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Json::from,
        ),
        Some(value::Kind::StringValue(value)) => Json::String(value.clone()),
        Some(value::Kind::StructValue(value)) => json_of_struct(value),
        Some(value::Kind::ListValue(list)) => list.values.iter().map(json_of).collect(),
    }
}

fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation)]
    let whole = (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Interception, NodeIdError};
    use mainstem_proto::reflect;
    use serde_json::json;

    fn node(json: &Json) -> Node {
        reflect::from_json(json).unwrap()
    }

    #[test]
    fn a_node_is_read_with_its_metadata_and_locality() {
        let node = node(&json!({
            "id": "sidecar~10.0.0.1~web.shop~shop.svc.cluster.local",
            "locality": {"region": "eu", "zone": "eu-1", "sub_zone": "a"},
            "metadata": {
                "CLUSTER_ID": "vm",
                "INTERCEPTION_MODE": "NONE",
                "LABELS": {"app": "web"},
                "POD_PORTS": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            },
        }));
        let proxy = proxy(&node, &"home".into()).unwrap();
        assert_eq!(proxy.cluster.as_str(), "vm");
        assert_eq!(proxy.locality, Locality::new("eu", "eu-1", "a"));
        assert_eq!(proxy.interception(), Interception::None);
        assert_eq!(proxy.labels().get("app"), Some("web"));
        assert_eq!(proxy.metadata.pod_ports.unwrap()[0].container_port, 8080);
    }

    #[test]
    fn a_grpc_client_is_known_by_its_user_agent_unless_it_says_what_it_wants() {
        let is_grpc = |user_agent: &str, metadata: Json| {
            let id = "sidecar~10.0.0.1~web.shop~x";
            let json = json!({"id": id, "user_agent_name": user_agent, "metadata": metadata});
            proxy(&node(&json), &"home".into()).unwrap().is_grpc()
        };
        assert!(is_grpc("gRPC C-core linux", json!({})));
        assert!(is_grpc("", json!({"GENERATOR": "grpc"})));
        assert!(!is_grpc("envoy", json!({})));
        assert!(!is_grpc("gRPC Node Pure JS", json!({"GENERATOR": "api"})));
    }

    #[test]
    fn a_node_without_a_cluster_is_at_home_and_a_malformed_id_is_refused_with_a_hint() {
        let bare = node(&json!({"id": "router~10.0.0.1~gw.edge~x"}));
        assert_eq!(proxy(&bare, &"home".into()).unwrap().cluster.as_str(), "home");
        let error = proxy(&node(&json!({"id": "envoy-1"})), &"home".into()).unwrap_err();
        let form = NodeIdError::Form("envoy-1".to_owned());
        let text = format!("{form}; `mainstem bootstrap` writes one");
        assert_eq!(error, Refusal::InvalidNode(text));
    }
}
