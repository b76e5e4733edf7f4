//! Looking at objects without following a cluster.

use mainstem_model::{RegistryId, Rejected, Value};
use serde::Deserialize;

use crate::PROVIDER;
use crate::api::Kind;
use crate::config::KubernetesConfig;
use crate::convert::Settings;
use crate::objects;
use crate::store::Store;

/// What a cluster's objects come to.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// What a registry of this configuration would bring.
    pub values: Vec<Value>,
    /// The objects that are not understood, and why.
    pub rejected: Vec<Rejected>,
}

/// Reads objects as `kubectl get -o json` writes them (a `v1.List`), as a registry
/// would that finds them in its cluster. Objects of kinds that none follows are
/// left out, as they are there.
///
/// # Errors
///
/// If the bytes are not JSON, or no list of objects.
pub fn check(config: &KubernetesConfig, list: &[u8]) -> Result<Checked, serde_json::Error> {
    let list: List = serde_json::from_slice(list)?;
    let registry = RegistryId::new(PROVIDER, config.cluster.as_str());
    let mut store = Store::new(Settings::new(registry, config), config);
    for object in list.items {
        if let Some(kind) = kind(&object) {
            store.apply(kind, objects::read(kind, object));
        }
    }
    let (values, rejected) = store.all();
    Ok(Checked { values, rejected })
}

#[derive(Debug, Deserialize)]
struct List {
    items: Vec<serde_json::Value>,
}

fn kind(object: &serde_json::Value) -> Option<Kind> {
    let name = object["kind"].as_str()?;
    Kind::ALL.into_iter().find(|kind| kind.name() == name)
}

#[cfg(test)]
mod tests {
    use mainstem_model::{Key, ServiceKey};
    use pretty_assertions::assert_eq;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_comes_to_its_values_and_to_the_objects_that_are_not_understood() {
        let service = |name: &str, port: u32| {
            json!({ "kind": "Service", "metadata": { "name": name, "namespace": "shop" },
                    "spec": { "clusterIP": "10.0.0.1", "ports": [{ "port": port }] } })
        };
        let secret = json!({ "kind": "Secret", "metadata": { "name": "s", "namespace": "shop" } });
        let list = json!({ "items": [service("web", 80), secret, service("bad", 70_000)] });
        let checked = check(&KubernetesConfig::new("eu"), list.to_string().as_bytes()).unwrap();
        let keys: Vec<_> = checked.values.iter().map(Value::key).collect();
        let rejected: Vec<_> =
            checked.rejected.iter().map(|rejected| rejected.object.to_string()).collect();
        let web = ServiceKey::new("web.shop.svc.cluster.local", "shop");
        assert_eq!(keys, [Key::Service(web)]);
        assert_eq!(rejected, ["Service shop/bad"]);
    }
}
