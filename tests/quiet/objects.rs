//! One of each kind of object under a name, in Kubernetes, Consul and a file, so
//! that each kind can be written again with and without consequence.

use serde_json::{Value, json};

use super::common::{Workload, World};

/// The agent's name.
const NODE: &str = "node-dc1";

/// The objects that make the service `name`: in Kubernetes with a pod of its own
/// on a node of its own, and with entries, in Consul, and in a file.
pub struct Objects<'a> {
    world: &'a World,
    name: &'static str,
    pod: &'a Workload,
    /// Of Consul and of the file: an endpoint of several would have the fields
    /// of the first.
    machines: &'a [Workload; 2],
}

impl<'a> Objects<'a> {
    /// Makes them all.
    pub async fn put(
        world: &'a World,
        name: &'static str,
        pod: &'a Workload,
        machines: &'a [Workload; 2],
    ) -> Self {
        let objects = Self { world, name, pod, machines };
        let kubernetes = &world.kubernetes;
        world.put_service(name).await;
        for object in [objects.node(), objects.pod()] {
            kubernetes.create(&object).await;
        }
        kubernetes.apply(&objects.slice("v1")).await;
        for entry in [objects.entry(1), objects.selecting_entry(), objects.workload_entry(1)] {
            kubernetes.apply(&entry).await;
        }
        objects.register(1).await;
        objects.put_file(1);
        objects
    }

    /// The clusters: of the Service with what joins it, of the ServiceEntry with
    /// endpoints of its own, and of the one that selects a WorkloadEntry.
    pub fn clusters(&self) -> [String; 3] {
        let of = |host: String| format!("outbound|80||{host}");
        [
            of(self.world.host(self.name)),
            of(format!("entry.{}", self.name)),
            of(format!("selecting.{}", self.name)),
        ]
    }

    fn metadata(&self, name: &str) -> Value {
        json!({ "name": name, "namespace": self.world.namespace })
    }

    fn pod_name(&self) -> String {
        format!("{}-1", self.name)
    }

    fn node_name(&self) -> String {
        format!("node-of-{}", self.name)
    }

    fn node(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": self.node_name(), "labels": {
                "topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "eu-1",
            }},
            "status": heartbeat("Ready", "lastHeartbeatTime", 1),
        })
    }

    fn pod(&self) -> Value {
        let ip = self.pod.host.ip();
        let mut status = heartbeat("Ready", "lastProbeTime", 1);
        status["phase"] = json!("Running");
        status["podIP"] = json!(ip);
        status["podIPs"] = json!([{ "ip": ip }]);
        let mut metadata = self.metadata(&self.pod_name());
        metadata["labels"] = json!({ "app": self.name });
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {
                "nodeName": self.node_name(),
                "containers": [{
                    "name": "app", "image": "app", "ports": [{ "containerPort": 8080 }],
                }],
            },
            "status": status,
        })
    }

    /// With a second endpoint, which is not ready.
    fn slice(&self, note: &str) -> Value {
        let mut slice = self.world.slice(self.name, &[(self.pod, true)]);
        let unready = json!({ "addresses": ["10.9.0.5"], "conditions": { "ready": false } });
        slice["endpoints"].as_array_mut().expect("a list").push(unready);
        slice["metadata"]["annotations"] =
            json!({ "endpoints.kubernetes.io/last-change-trigger-time": note });
        slice["endpoints"][0]["targetRef"] = json!({
            "kind": "Pod", "namespace": self.world.namespace, "name": self.pod_name(),
        });
        slice
    }

    fn entry(&self, weight: u32) -> Value {
        let endpoints = [("10.9.0.1", weight), ("10.9.0.2", 1)]
            .map(|(address, weight)| json!({ "address": address, "weight": weight }));
        self.service_entry("entry", json!({ "endpoints": endpoints }))
    }

    fn selecting_entry(&self) -> Value {
        let labels = json!({ "vm": self.name });
        self.service_entry("selecting", json!({ "workloadSelector": { "labels": labels } }))
    }

    fn service_entry(&self, prefix: &str, mut spec: Value) -> Value {
        spec["hosts"] = json!([format!("{prefix}.{}", self.name)]);
        spec["ports"] = json!([{ "number": 80, "name": "http", "protocol": "HTTP" }]);
        spec["resolution"] = json!("STATIC");
        json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "ServiceEntry",
            "metadata": self.metadata(&format!("{prefix}-{}", self.name)), "spec": spec,
        })
    }

    fn workload_entry(&self, weight: u32) -> Value {
        json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "WorkloadEntry",
            "metadata": self.metadata(&format!("vm-{}", self.name)),
            "spec": { "address": "10.9.0.3", "labels": { "vm": self.name }, "weight": weight },
        })
    }

    /// Writes the Service's status, and an annotation of somebody else.
    pub async fn touch_service(&self) {
        let mut service = self.world.service(self.name);
        service["metadata"]["annotations"] = json!({ "example.com/note": "changed" });
        self.world.kubernetes.apply(&service).await;
        service["status"] = heartbeat("Checked", "lastTransitionTime", 2);
        service["status"]["conditions"][0]["reason"] = json!("R");
        service["status"]["conditions"][0]["message"] = json!("m");
        self.world.kubernetes.patch_status(&service).await;
    }

    /// Lets traffic to the endpoint that is not ready, or no more.
    pub async fn publish_not_ready(&self, publish: bool) {
        let mut service = self.world.service(self.name);
        service["spec"] = json!({ "publishNotReadyAddresses": publish });
        self.world.kubernetes.patch(&service).await;
    }

    /// Writes what controllers note in a slice.
    pub async fn touch_slice(&self) {
        self.world.kubernetes.apply(&self.slice("v2")).await;
    }

    /// Gives the endpoints another order, and other conditions of the same meaning.
    pub async fn reorder_slice(&self) {
        let mut slice = self.slice("v2");
        slice["endpoints"][0]["conditions"] = json!({ "ready": true, "serving": true });
        slice["endpoints"].as_array_mut().expect("a list").reverse();
        self.world.kubernetes.apply(&slice).await;
    }

    /// Takes the endpoint that is not ready out of the slice.
    pub async fn shrink_slice(&self) {
        let mut slice = self.slice("v1");
        slice["endpoints"].as_array_mut().expect("a list").pop();
        self.world.kubernetes.apply(&slice).await;
    }

    /// Puts it there again, ready.
    pub async fn fill_slice(&self) {
        let mut slice = self.slice("v1");
        slice["endpoints"][1]["conditions"]["ready"] = json!(true);
        self.world.kubernetes.apply(&slice).await;
    }

    /// Writes a heartbeat of the pod.
    pub async fn touch_pod(&self) {
        let mut pod = self.pod();
        pod["status"]["conditions"] = heartbeat("Ready", "lastProbeTime", 2)["conditions"].clone();
        pod["status"]["message"] = json!("still well");
        self.world.kubernetes.patch_status(&pod).await;
        pod["metadata"]["annotations"] = json!({ "example.com/note": "changed" });
        pod.as_object_mut().expect("an object").remove("spec");
        self.world.kubernetes.patch(&pod).await;
    }

    /// Says that the pod is elsewhere than its node.
    pub async fn move_pod(&self) {
        let mut pod = self.pod();
        pod["metadata"]["labels"]["istio-locality"] = json!("us.us-1");
        pod.as_object_mut().expect("an object").remove("spec");
        self.world.kubernetes.patch(&pod).await;
    }

    /// Writes a heartbeat of the node.
    pub async fn touch_node(&self) {
        let mut node = self.node();
        node["status"] = heartbeat("Ready", "lastHeartbeatTime", 2);
        node["status"]["allocatable"] = json!({ "pods": "100" });
        self.world.kubernetes.patch_status(&node).await;
        node["metadata"]["annotations"] = json!({ "example.com/note": "changed" });
        self.world.kubernetes.patch(&node).await;
        self.world.kubernetes.apply(&json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": self.metadata(&self.node_name()),
            "spec": { "holderIdentity": self.node_name(), "renewTime": "2026-01-01T00:02:00.000000Z" },
        })).await;
    }

    /// Moves the node.
    pub async fn move_node(&self) {
        let mut node = self.node();
        node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!("eu-2");
        self.world.kubernetes.patch(&node).await;
    }

    /// Writes the status of the ServiceEntries.
    pub async fn touch_entries(&self) {
        for mut entry in [self.entry(1), self.selecting_entry()] {
            entry["status"] = json!({ "validationMessages": [{ "type": { "code": "IST0134" } }] });
            self.world.kubernetes.patch_status(&entry).await;
            entry["metadata"]["annotations"] = json!({ "example.com/note": "changed" });
            self.world.kubernetes.patch(&entry).await;
        }
    }

    /// Gives one of the ServiceEntry's endpoints another weight.
    pub async fn weigh_entry(&self) {
        self.world.kubernetes.apply(&self.entry(5)).await;
    }

    /// Writes the WorkloadEntry's status, as a health check does.
    pub async fn touch_workload_entry(&self) {
        let mut entry = self.workload_entry(1);
        entry["status"] = heartbeat("Synced", "lastProbeTime", 2);
        self.world.kubernetes.patch_status(&entry).await;
        entry["metadata"]["annotations"] = json!({ "example.com/note": "changed" });
        self.world.kubernetes.patch(&entry).await;
    }

    /// Gives the WorkloadEntry another address.
    pub async fn move_workload_entry(&self) {
        let mut entry = self.workload_entry(1);
        entry["spec"]["address"] = json!("10.9.0.4");
        self.world.kubernetes.apply(&entry).await;
    }

    /// Registers the machine in Consul.
    pub async fn register(&self, weight: u32) {
        self.world.register_weighted(self.name, &self.machines[0], weight).await;
    }

    /// The same state of the check, with another output, and a key beside the
    /// catalog: new indexes, the same content.
    pub async fn touch_registration(&self) {
        self.world.set_check(&self.machines[0], "passing").await;
        let check = json!({
            "Node": NODE, "CheckID": format!("check:{}", self.machines[0].name), "Name": "check",
            "ServiceID": self.machines[0].name, "Status": "passing", "Output": "still well",
        });
        let entry = json!({ "Node": NODE, "SkipNodeUpdate": true, "Check": check });
        self.world.consul.catalog_register(&entry).await;
        self.world.consul.put_kv("unrelated", "value").await;
    }

    /// Writes the file.
    pub fn put_file(&self, weight: u32) {
        self.world.put_file(self.name, &[(&self.machines[1], weight, "healthy")]);
    }

    /// Writes the file as it was, touches it, and writes the same in other words.
    pub fn touch_file(&self) {
        self.put_file(1);
        let file = self.world.file(self.name);
        let text = std::fs::read_to_string(&file).expect("the file was written");
        let touched = std::fs::File::options().append(true).open(&file).expect("it is there");
        touched.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("it is ours");
        let document: Value = serde_json::from_str(&text).expect("JSON was written");
        let other = format!("# The same, indented.\n{document:#}\n");
        std::fs::write(&file, other).expect("the directory is ours");
    }
}

/// A status with one condition that holds, and when that was written.
fn heartbeat(kind: &str, field: &str, minute: u8) -> Value {
    let at = format!("2026-01-01T00:{minute:02}:00Z");
    json!({ "conditions": [{ "type": kind, "status": "True", field: at }] })
}
