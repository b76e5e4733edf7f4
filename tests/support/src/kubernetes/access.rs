//! Users with limited rights.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Kubernetes, free_name};
use crate::eventually::{TIMEOUT, eventually};
use crate::http_client::HttpClient;

/// A service account with a token and the rights of one cluster role.
#[derive(Debug)]
pub struct RestrictedUser {
    kubernetes: Kubernetes,
    name: String,
    token: String,
}

impl Kubernetes {
    /// A user who may do what `rules` (of a ClusterRole) say, e.g.
    /// `[{"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]}]`.
    pub async fn restricted_user(&self, rules: &Value) -> RestrictedUser {
        let name = free_name(&self.servers.namespaces, "restricted");
        self.create(&json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": name, "namespace": "default" },
        }))
        .await;
        let token = self.service_account_token("default", &name, &[]).await;
        let user = RestrictedUser { kubernetes: self.clone(), name, token };
        user.grant(rules).await;
        user
    }

    /// A token of a service account that exists, for the given audiences (none:
    /// the API server's own), good for an hour.
    pub async fn service_account_token(
        &self,
        namespace: &str,
        name: &str,
        audiences: &[&str],
    ) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": { "audiences": audiences, "expirationSeconds": 3600 },
        });
        let answer = self.api(Method::POST, &path, Some(&body)).await;
        let request = self.expect(&path, answer);
        let token = request["status"]["token"].as_str();
        token.expect("a TokenRequest is answered with a token").to_owned()
    }
}

impl RestrictedUser {
    /// The user's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A kubeconfig file with the user's token.
    pub fn kubeconfig(&self) -> PathBuf {
        let url = self.kubernetes.url();
        self.kubernetes.kubeconfig_for(&self.token, &url)
    }

    /// Gives the user these rights in place of those held; in force on return.
    pub async fn grant(&self, rules: &Value) {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": self.name },
            "rules": rules,
        });
        self.kubernetes.apply(&role).await;
        self.kubernetes.apply(&self.binding()).await;
        self.wait_for_rules(rules).await;
    }

    /// Takes all rights away; the token stays valid. In force on return.
    pub async fn revoke(&self) {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": self.name },
        });
        self.kubernetes.delete(&self.binding()).await;
        self.kubernetes.delete(&role).await;
        self.wait_for_rules(&json!([])).await;
    }

    fn binding(&self) -> Value {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": self.name },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": self.name,
            },
            "subjects": [{
                "kind": "ServiceAccount",
                "name": self.name,
                "namespace": "default",
            }],
        })
    }

    /// Waits until the authorizer has seen the change, which it reads by watch:
    /// the user's own rules are those of the basic roles and then `rules`.
    async fn wait_for_rules(&self, rules: &Value) {
        let header = ("authorization", format!("Bearer {}", self.token));
        let ca = &self.kubernetes.servers.ca;
        let client = HttpClient::secured(&self.kubernetes.url(), Some(ca), None, Some(header));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": { "namespace": "default" },
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
        let wanted: Vec<Value> = rules.as_array().into_iter().flatten().map(shape).collect();
        eventually("the rights are in force", TIMEOUT, async || {
            let (_, review) = client.json(Method::POST, path, Some(&review)).await?;
            let held = review["status"]["resourceRules"].as_array();
            let mut held: Vec<Value> = held.into_iter().flatten().map(shape).collect();
            held.retain(|rule| !is_basic(rule));
            if held == wanted { Ok(()) } else { Err(format!("holds {held:?}")) }
        })
        .await;
    }
}

/// A rule's members that the review repeats as they were given.
fn shape(rule: &Value) -> Value {
    json!({
        "apiGroups": rule["apiGroups"],
        "resources": rule["resources"],
        "verbs": rule["verbs"],
    })
}

/// Rules that every authenticated user has: questions about oneself.
fn is_basic(rule: &Value) -> bool {
    let groups = ["authorization.k8s.io", "authentication.k8s.io"];
    groups.iter().any(|&group| rule["apiGroups"] == json!([group]))
}
