//! What tests say to an agent.

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::Consul;
use crate::eventually::{TIMEOUT, eventually};
use crate::http_client::{good, read, send};

/// How many operations one transaction may have.
const TXN_LIMIT: usize = 64;

/// An ACL token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclToken {
    /// Names the token.
    pub accessor: String,
    /// What a client sends.
    pub secret: String,
}

impl Consul {
    /// Sends any request with the management token; the error is one of transport.
    pub async fn api(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), String> {
        self.http.json(method, path, body).await
    }

    /// As [`api`](Self::api), for what must succeed: the answer's body.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let what = format!("consul: {method} {path}");
        let answer = self.api(method, path, body).await;
        answer
            .and_then(|answer| good(&what, answer))
            .unwrap_or_else(|error| panic!("{error}\n{}", self.process().log_tail()))
    }

    /// Registers a service of this agent: the body of
    /// `/v1/agent/service/register`, e.g.
    /// `{"Name": "web", "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}}`.
    pub async fn register(&self, service: &Value) {
        self.call(Method::PUT, "/v1/agent/service/register", Some(service)).await;
    }

    /// Removes a service of this agent.
    pub async fn deregister(&self, service_id: &str) {
        let path = format!("/v1/agent/service/deregister/{service_id}");
        self.call(Method::PUT, &path, None).await;
    }

    /// Sets a TTL check of this agent (`service:ID` for a service's only one) to
    /// `passing`, `warning` or `critical`.
    pub async fn set_check(&self, check_id: &str, status: &str) {
        let path = format!("/v1/agent/check/update/{check_id}");
        self.call(Method::PUT, &path, Some(&json!({ "Status": status }))).await;
    }

    /// Registers a node, with a service and checks if given, straight in the
    /// catalog: the body of `/v1/catalog/register`.
    pub async fn catalog_register(&self, entry: &Value) {
        self.call(Method::PUT, "/v1/catalog/register", Some(entry)).await;
    }

    /// Removes a node, service or check from the catalog: the body of
    /// `/v1/catalog/deregister`.
    pub async fn catalog_deregister(&self, entry: &Value) {
        self.call(Method::PUT, "/v1/catalog/deregister", Some(entry)).await;
    }

    /// Carries out operations of `/v1/txn`, 64 at a time: the fast way to write
    /// thousands. Nodes must come before their services.
    pub async fn txn(&self, operations: &[Value]) {
        for chunk in operations.chunks(TXN_LIMIT) {
            let body = Value::from(chunk.to_vec());
            self.call(Method::PUT, "/v1/txn", Some(&body)).await;
        }
    }

    /// Makes both agents each other's peers, by the names of their datacenters.
    pub async fn peer_with(&self, other: &Self) {
        let [here, there] = [self, other].map(|consul| consul.datacenter().to_owned());
        let path = "/v1/peering/token";
        let token = other.call(Method::POST, path, Some(&json!({ "PeerName": here }))).await;
        let token = &token["PeeringToken"];
        let establish = json!({ "PeerName": there, "PeeringToken": token });
        // Refused while the other one has no certificate for its peers yet.
        eventually("the peer is known", TIMEOUT, async || {
            match self.api(Method::POST, "/v1/peering/establish", Some(&establish)).await? {
                (status, _) if status.is_success() => Ok(()),
                (status, body) => Err(format!("{status}: {body}")),
            }
        })
        .await;
        eventually("the peer is connected", TIMEOUT, async || {
            let peering = self.call(Method::GET, &format!("/v1/peering/{there}"), None).await;
            match &peering["State"] {
                state if state == "ACTIVE" => Ok(()),
                state => Err(state.to_string()),
            }
        })
        .await;
    }

    /// Exports these services, and no others, to a peer.
    pub async fn export_to(&self, peer: &str, services: &[&str]) {
        let exported = |name: &&str| json!({ "Name": name, "Consumers": [{ "Peer": peer }] });
        let services: Vec<Value> = services.iter().map(exported).collect();
        let entry = json!({ "Kind": "exported-services", "Name": "default", "Services": services });
        self.call(Method::PUT, "/v1/config", Some(&entry)).await;
    }

    /// Writes a key.
    pub async fn put_kv(&self, key: &str, value: impl Into<Bytes>) {
        let path = format!("/v1/kv/{key}");
        let request = self.http.request(Method::PUT, &path).body(value.into());
        let answer = async { read(send(request).await?).await }.await;
        answer
            .and_then(|answer| good(&path, answer))
            .unwrap_or_else(|error| panic!("consul: writing a key: {error}"));
    }

    /// Removes a key.
    pub async fn delete_kv(&self, key: &str) {
        self.call(Method::DELETE, &format!("/v1/kv/{key}"), None).await;
    }

    /// Makes a policy of these rules, or gives the one of that name new rules.
    pub async fn acl_policy(&self, name: &str, rules: &str) {
        let body = json!({ "Name": name, "Rules": rules });
        let found = self.api(Method::GET, &format!("/v1/acl/policy/name/{name}"), None).await;
        let path = match found {
            Ok((StatusCode::OK, policy)) => format!("/v1/acl/policy/{}", text(&policy, "ID")),
            _ => "/v1/acl/policy".to_owned(),
        };
        self.call(Method::PUT, &path, Some(&body)).await;
    }

    /// Makes a token with these policies.
    pub async fn acl_token(&self, policies: &[&str]) -> AclToken {
        let body = with_policies(policies);
        let token = self.call(Method::PUT, "/v1/acl/token", Some(&body)).await;
        AclToken { accessor: text(&token, "AccessorID"), secret: text(&token, "SecretID") }
    }

    /// Gives a token other policies: with none it stays valid and sees nothing.
    pub async fn set_policies(&self, token: &AclToken, policies: &[&str]) {
        let path = format!("/v1/acl/token/{}", token.accessor);
        self.call(Method::PUT, &path, Some(&with_policies(policies))).await;
    }

    /// Deletes a token: its holder is then told 403, "ACL not found".
    pub async fn revoke(&self, token: &AclToken) {
        let path = format!("/v1/acl/token/{}", token.accessor);
        self.call(Method::DELETE, &path, None).await;
    }

    /// The whole state as one archive.
    pub async fn snapshot(&self) -> Bytes {
        let response = self.http.get("/v1/snapshot").await;
        let response = response.unwrap_or_else(|error| panic!("consul: snapshot: {error}"));
        assert_eq!(response.status(), StatusCode::OK, "consul: snapshot");
        response.bytes().await.expect("the archive arrives whole")
    }

    /// Goes back to an earlier state; the index goes back with it.
    pub async fn restore(&self, snapshot: Bytes) {
        let request = self.http.request(Method::PUT, "/v1/snapshot").body(snapshot);
        let answer = async { read(send(request).await?).await }.await;
        answer
            .and_then(|answer| good("/v1/snapshot", answer))
            .unwrap_or_else(|error| panic!("consul: restore: {error}"));
    }
}

fn with_policies(policies: &[&str]) -> Value {
    let policies: Vec<Value> = policies.iter().map(|name| json!({ "Name": name })).collect();
    json!({ "Policies": policies })
}

fn text(body: &Value, member: &str) -> String {
    let value = body[member].as_str();
    value.unwrap_or_else(|| panic!("consul's answer has no {member}: {body}")).to_owned()
}
