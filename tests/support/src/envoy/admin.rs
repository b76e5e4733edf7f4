//! What tests ask Envoy's admin interface.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Envoy;
use crate::http_client::HttpClient;

impl Envoy {
    /// Reads a page of the admin interface; an answer other than 200 is an error.
    pub async fn admin_get(&self, path: &str) -> Result<String, String> {
        let base = self.admin_url();
        let path = path.to_owned();
        match &self.namespace {
            Some(namespace) => namespace.run(async move || get(&base, &path).await).await,
            None => get(&base, &path).await,
        }
    }

    /// `/config_dump` with endpoints.
    pub async fn config_dump(&self) -> Value {
        self.json("/config_dump?include_eds").await
    }

    /// `/clusters` as JSON: each cluster's endpoints with their health.
    pub async fn clusters(&self) -> Value {
        self.json("/clusters?format=json").await
    }

    /// `/listeners` as JSON.
    pub async fn listeners(&self) -> Value {
        self.json("/listeners?format=json").await
    }

    /// The counter or gauge of that full name; `None` if there is none (yet).
    pub async fn stat(&self, name: &str) -> Option<u64> {
        self.stats(&format!("^{}$", name.replace('.', "\\."))).await.remove(name)
    }

    /// The counters and gauges whose names match a regular expression.
    pub async fn stats(&self, filter: &str) -> BTreeMap<String, u64> {
        let filter: String = url_encode(filter);
        let page = self.json(&format!("/stats?format=json&filter={filter}")).await;
        let stats = page["stats"].as_array().into_iter().flatten();
        stats
            .filter_map(|stat| Some((stat["name"].as_str()?.to_owned(), stat["value"].as_u64()?)))
            .collect()
    }

    /// The addresses (`IP:PORT`) of a cluster's endpoints, sorted; none if there
    /// is no such cluster.
    pub async fn endpoints(&self, cluster: &str) -> Vec<String> {
        let clusters = self.clusters().await;
        let statuses = clusters["cluster_statuses"].as_array().into_iter().flatten();
        let mut addresses: Vec<String> = statuses
            .filter(|status| status["name"] == cluster)
            .flat_map(|status| status["host_statuses"].as_array().into_iter().flatten())
            .map(|host| {
                let address = &host["address"]["socket_address"];
                let ip = address["address"].as_str().unwrap_or_default();
                format!("{ip}:{}", address["port_value"])
            })
            .collect();
        addresses.sort();
        addresses
    }

    async fn json(&self, path: &str) -> Value {
        let text = self
            .admin_get(path)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.process().log_tail()));
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("envoy: {path} is no JSON: {error}"))
    }
}

async fn get(base: &str, path: &str) -> Result<String, String> {
    let response = HttpClient::new(base).get(path).await?;
    let status = response.status();
    let text = response.text().await.map_err(|error| error.to_string())?;
    if status.is_success() { Ok(text) } else { Err(format!("envoy: {path}: {status}: {text}")) }
}

/// Everything but letters and digits, as a query wants it.
fn url_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
