//! From Consul's service names to host names.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use mainstem_model::{Hostname, NamespaceName};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const SERVICE: &str = "{service}";

/// What else is replaced.
const PLACES: [&str; 4] = ["datacenter", "peer", "namespace", "partition"];

/// A host name in which `{service}` and where it is registered are to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostnameTemplate(String);

/// A text that is no host name template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostnameTemplateError {
    /// All services would share one name.
    #[error("hostname template {0:?} lacks {{service}}")]
    NoService(String),
    /// A placeholder that nothing replaces.
    #[error(
        "hostname template {template:?} has the placeholder {{{name}}}; known are {{service}}, {{datacenter}}, {{peer}}, {{namespace}} and {{partition}}"
    )]
    Placeholder {
        /// The template.
        template: String,
        /// The placeholder's name.
        name: String,
    },
}

impl Default for HostnameTemplate {
    fn default() -> Self {
        Self("{service}.service.{datacenter}.consul".to_owned())
    }
}

impl HostnameTemplate {
    /// As Consul's DNS names what a peer exports.
    pub fn of_peers() -> Self {
        Self("{service}.service.{peer}.peer.consul".to_owned())
    }

    /// The host name of a service, with these placeholders replaced: lower case,
    /// underscores as hyphens. `None` where that is no DNS name.
    pub fn hostname(&self, service: &str, places: &[(&str, &str)]) -> Option<Hostname> {
        let replaced = |name: String, (place, value): &(&str, &str)| name.replace(place, value);
        let name = places.iter().fold(self.0.replace(SERVICE, service), replaced);
        let name = name.to_lowercase().replace('_', "-");
        let name = name.trim_end_matches('.');
        is_dns_name(name).then(|| Hostname::from(name))
    }
}

/// The namespace in a name of the shape `*.NS.svc.SUFFIX`.
pub(crate) fn namespace_of(hostname: &Hostname) -> Option<NamespaceName> {
    let labels: Vec<&str> = hostname.as_str().split('.').collect();
    let svc = (2..labels.len().saturating_sub(1)).find(|&at| labels[at] == "svc")?;
    Some(NamespaceName::from(labels[svc - 1]))
}

/// Whether the text is a DNS name of lower-case letters, digits and hyphens (RFC 1123).
pub(crate) fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

impl FromStr for HostnameTemplate {
    type Err = HostnameTemplateError;

    fn from_str(template: &str) -> Result<Self, Self::Err> {
        let mut rest = template;
        while let Some((_, after)) = rest.split_once('{') {
            let name = after.split_once('}').map_or(after, |(name, _)| name);
            if name != "service" && !PLACES.contains(&name) {
                let (template, name) = (template.to_owned(), name.to_owned());
                return Err(HostnameTemplateError::Placeholder { template, name });
            }
            rest = after;
        }
        if !template.contains(SERVICE) {
            return Err(HostnameTemplateError::NoService(template.to_owned()));
        }
        Ok(Self(template.to_owned()))
    }
}

impl fmt::Display for HostnameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for HostnameTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostnameTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for HostnameTemplate {
    fn schema_name() -> Cow<'static, str> {
        "HostnameTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "\\{service\\}" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("{service}.service.{datacenter}.consul", "web", Some("web.service.dc1.consul"))]
    #[case("{service}.shop.svc.cluster.local", "Web_API", Some("web-api.shop.svc.cluster.local"))]
    #[case(
        "{service}.service.{namespace}.ns.{partition}.ap.{datacenter}.dc.consul",
        "web",
        Some("web.service.billing.ns.a.ap.dc1.dc.consul")
    )]
    #[case("{service}.", "a.b", Some("a.b"))]
    #[case("{service}.x", "web app", None)]
    #[case("{service}.x", "-web", None)]
    #[case("{service}.x", "", None)]
    #[case("{service}.x", "ünï", None)]
    fn a_service_name_becomes_a_dns_name_or_nothing(
        #[case] template: HostnameTemplate,
        #[case] service: &str,
        #[case] expected: Option<&str>,
    ) {
        let places = [("{datacenter}", "DC1"), ("{namespace}", "billing"), ("{partition}", "a")];
        assert_eq!(template.hostname(service, &places), expected.map(Hostname::from));
    }

    #[test]
    fn a_name_that_dns_cannot_carry_is_none() {
        let template = HostnameTemplate::default();
        assert_eq!(template.hostname(&"a".repeat(64), &[]), None);
        assert_eq!(template.hostname(&vec!["abcdefg"; 40].join("."), &[]), None);
    }

    #[rstest]
    #[case("web.shop.svc.cluster.local", Some("shop"))]
    #[case("a.web.shop.svc.x", Some("shop"))]
    #[case("web.shop.svc", None)]
    #[case("shop.svc.cluster.local", None)]
    #[case("web.service.dc1.consul", None)]
    fn a_kubernetes_shaped_name_names_its_namespace(
        #[case] hostname: &str,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(namespace_of(&hostname.into()), expected.map(NamespaceName::from));
    }
}
