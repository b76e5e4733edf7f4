//! Reading and writing objects, as JSON.
//!
//! Each verb takes an object whose `apiVersion`, `kind` and `metadata` say which
//! one is meant; the path comes from the API server's discovery.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::Kubernetes;
use crate::eventually::{TIMEOUT, eventually};
use crate::http_client::{good, read, send};

/// What discovery tells of a kind.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    plural: String,
    namespaced: bool,
}

/// How the body of a write is meant.
#[derive(Debug, Clone, Copy)]
enum Content {
    Object,
    MergePatch,
    Apply,
}

impl Content {
    fn media_type(self) -> &'static str {
        match self {
            Self::Object => "application/json",
            Self::MergePatch => "application/merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

impl Kubernetes {
    /// Sends any request with all rights; the error is one of transport.
    pub async fn api(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), String> {
        self.client.json(method, path, body).await
    }

    /// Creates an object, and writes its status too if it has one.
    pub async fn create(&self, object: &Value) -> Value {
        let path = self.collection(object).await;
        let created = self.write(Method::POST, &path, Content::Object, object).await;
        if object.get("status").is_some() { self.patch_status(object).await } else { created }
    }

    /// Creates the object or makes it so (server-side apply, with force), and
    /// writes its status too if it has one.
    pub async fn apply(&self, object: &Value) -> Value {
        let path = format!("{}?fieldManager=test&force=true", self.path(object).await);
        let mut main = object.clone();
        let status = main.as_object_mut().and_then(|main| main.remove("status"));
        let applied = self.write(Method::PATCH, &path, Content::Apply, &main).await;
        match status {
            Some(_) => self.patch_status(object).await,
            None => applied,
        }
    }

    /// Applies every document of a YAML text.
    pub async fn apply_yaml(&self, yaml: &str) {
        for object in documents(yaml) {
            self.apply(&object).await;
        }
    }

    /// Changes what the object says (a merge patch: `null` removes, lists are
    /// replaced), its status apart.
    pub async fn patch(&self, object: &Value) -> Value {
        let path = self.path(object).await;
        self.write(Method::PATCH, &path, Content::MergePatch, object).await
    }

    /// Changes the status to what the object says (a merge patch).
    pub async fn patch_status(&self, object: &Value) -> Value {
        let path = format!("{}/status", self.path(object).await);
        let status = json!({ "status": object["status"] });
        self.write(Method::PATCH, &path, Content::MergePatch, &status).await
    }

    /// Deletes the object at once, without grace.
    pub async fn delete(&self, object: &Value) {
        let path = format!("{}?gracePeriodSeconds=0", self.path(object).await);
        self.write(Method::DELETE, &path, Content::Object, &json!({})).await;
    }

    /// Marks the object for deletion with a grace period, as the kubelet leaves a
    /// Pod that it is ending; [`delete`](Self::delete) then removes it.
    pub async fn delete_gracefully(&self, object: &Value, seconds: u32) {
        let path = format!("{}?gracePeriodSeconds={seconds}", self.path(object).await);
        self.write(Method::DELETE, &path, Content::Object, &json!({})).await;
    }

    /// The object as it is; `None` if there is none.
    pub async fn get(&self, object: &Value) -> Option<Value> {
        let path = self.path(object).await;
        match self.api(Method::GET, &path, None).await {
            Ok((StatusCode::NOT_FOUND, _)) => None,
            answer => Some(self.expect(&format!("GET {path}"), answer)),
        }
    }

    /// All objects of a kind, in one namespace or in all; with the list's
    /// `metadata`.
    pub async fn list(&self, api_version: &str, kind: &str, namespace: Option<&str>) -> Value {
        let object = json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": { "namespace": namespace },
        });
        let path = self.collection(&object).await;
        let answer = self.api(Method::GET, &path, None).await;
        self.expect(&format!("GET {path}"), answer)
    }

    /// Applies CustomResourceDefinitions (YAML) and waits until their kinds are
    /// served.
    pub async fn install_crds(&self, yaml: &str) {
        for crd in documents(yaml) {
            self.apply(&crd).await;
            let name = crd["metadata"]["name"].as_str().unwrap_or_default();
            eventually(&format!("{name} is served"), TIMEOUT, async || {
                let crd = self.get(&crd).await.ok_or("it is gone")?;
                let conditions = crd["status"]["conditions"].as_array();
                let established = conditions.into_iter().flatten().any(|condition| {
                    condition["type"] == "Established" && condition["status"] == "True"
                });
                if established { Ok(()) } else { Err(format!("{}", crd["status"])) }
            })
            .await;
        }
    }

    async fn write(&self, method: Method, path: &str, content: Content, body: &Value) -> Value {
        let what = format!("{method} {path}");
        let request = self
            .client
            .request(method, path)
            .header(CONTENT_TYPE, content.media_type())
            .body(body.to_string());
        let answer = async { read(send(request).await?).await }.await;
        self.expect(&what, answer)
    }

    pub(super) fn expect(&self, what: &str, answer: Result<(StatusCode, Value), String>) -> Value {
        answer
            .and_then(|answer| good(what, answer))
            .unwrap_or_else(|error| panic!("kubernetes: {error}"))
    }

    /// The path of the object itself.
    pub(super) async fn path(&self, object: &Value) -> String {
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_else(|| panic!("the object has no name: {object}"));
        format!("{}/{name}", self.collection(object).await)
    }

    /// The path of all objects of its kind, in its namespace if it has one.
    async fn collection(&self, object: &Value) -> String {
        let api_version = member(object, "apiVersion");
        let resource = self.resource(api_version, member(object, "kind")).await;
        let root = group_root(api_version);
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) if resource.namespaced => {
                format!("{root}/namespaces/{namespace}/{}", resource.plural)
            }
            _ => format!("{root}/{}", resource.plural),
        }
    }

    /// What discovery says of a kind. A kind just defined is served a moment
    /// later, so an unknown one is asked for again.
    async fn resource(&self, api_version: &str, kind: &str) -> Resource {
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some(known) = self.resources.lock().get(&key) {
            return known.clone();
        }
        let root = group_root(api_version);
        let what = format!("the API server knows {kind} of {api_version}");
        let resource = eventually(&what, TIMEOUT, async || {
            let list = good(&root, self.api(Method::GET, &root, None).await?)?;
            find_kind(&list, kind).ok_or_else(|| format!("{root} has no {kind}"))
        })
        .await;
        self.resources.lock().insert(key, resource.clone());
        resource
    }
}

fn find_kind(list: &Value, kind: &str) -> Option<Resource> {
    let resources = list["resources"].as_array()?;
    resources.iter().find_map(|resource| {
        let plural = resource["name"].as_str()?;
        // `pods/status` and such are subresources, some of the same kind.
        let wanted = resource["kind"] == kind && !plural.contains('/');
        wanted.then(|| Resource {
            plural: plural.to_owned(),
            namespaced: resource["namespaced"] == true,
        })
    })
}

fn group_root(api_version: &str) -> String {
    let prefix = if api_version.contains('/') { "apis" } else { "api" };
    format!("/{prefix}/{api_version}")
}

fn member<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_else(|| panic!("the object has no {name}: {object}"))
}

fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)
        .unwrap_or_else(|error| panic!("the YAML cannot be read: {error}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}
