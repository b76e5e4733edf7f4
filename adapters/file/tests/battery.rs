//! The battery of every registry adapter, against a real directory.
//!
//! What its faults are here: a lost connection is the directory renamed away, a
//! gap is another directory put in its place, a slow answer is a file written in
//! pieces, and one that hangs is a file that is never finished.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use mainstem_file::{FileAdapter, FileConfig};
use mainstem_model::{ObjectRef, RegistryId, ServiceKey, TimeSpan};
use mainstem_registry::Adapter;
use mainstem_test_support::Scratch;
use mainstem_test_support::battery::{Fixture, TestService};
use tokio::task::JoinHandle;

struct Files {
    scratch: Scratch,
    /// Where changes are made now.
    current: PathBuf,
    slow: Option<Duration>,
    writers: Vec<JoinHandle<()>>,
    unfinished: Option<File>,
}

impl Files {
    fn new() -> Self {
        let scratch = Scratch::new("file-registry");
        let current = scratch.path().join("services");
        fs::create_dir(&current).unwrap();
        Self { scratch, current, slow: None, writers: Vec::new(), unfinished: None }
    }

    fn configured(&self) -> PathBuf {
        self.scratch.path().join("services")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.current.join(format!("{name}.yaml"))
    }

    /// Writes as careful programs do: whole, then renamed into place.
    fn write(&self, name: &str, text: &str) {
        let draft = self.current.join(format!(".{name}.draft"));
        fs::write(&draft, text).unwrap();
        fs::rename(draft, self.path(name)).unwrap();
    }

    fn move_current(&mut self, name: &str) {
        let to = self.scratch.path().join(name);
        fs::rename(&self.current, &to).unwrap();
        self.current = to;
    }
}

fn hostname(name: &str) -> String {
    format!("{name}.shop.svc.cluster.local")
}

fn text(service: &TestService) -> String {
    let TestService { name, port, target, ready, unready } = service;
    let mut text = format!(
        "services:\n- hostname: {}\n  ports: [{{ number: {port}, name: http, targetPort: {target} }}]\n  endpoints:\n",
        hostname(name)
    );
    for address in ready {
        text.push_str(&format!("  - {{ address: {address} }}\n"));
    }
    for address in unready {
        text.push_str(&format!("  - {{ address: {address}, health: unhealthy }}\n"));
    }
    text
}

impl Fixture for Files {
    fn registry(&self) -> RegistryId {
        RegistryId::new(mainstem_file::PROVIDER, "static")
    }

    fn adapter(&self) -> Box<dyn Adapter> {
        let mut config = FileConfig::new("static", self.configured());
        // Events must do: what they miss would come too late.
        config.rescan = TimeSpan::from_secs(3600);
        Box::new(FileAdapter::new(config))
    }

    fn key(&self, name: &str) -> ServiceKey {
        ServiceKey::new(hostname(name), "shop")
    }

    async fn put(&mut self, service: &TestService) {
        let text = text(service);
        let Some(slow) = self.slow else { return self.write(&service.name, &text) };
        let path = self.path(&service.name);
        self.writers.push(tokio::spawn(async move {
            let mut file = File::create(path).unwrap();
            // Ends after the host name: good YAML without ports and endpoints.
            let (first, second) = text.split_at(text.find("  ports").unwrap());
            file.write_all(first.as_bytes()).unwrap();
            tokio::time::sleep(slow).await;
            file.write_all(second.as_bytes()).unwrap();
        }));
    }

    async fn remove(&mut self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    async fn malform(&mut self, name: &str) {
        self.write(name, &format!("services:\n- hostname: {}\n  prots: []\n", hostname(name)));
    }

    fn malformed(&self, name: &str) -> ObjectRef {
        let name = format!("{name}.yaml#shop/{}", hostname(name));
        ObjectRef { kind: "Service", name: name.into() }
    }

    async fn cut(&mut self) {
        self.move_current("away");
    }

    async fn begin_gap(&mut self) {
        let copy = self.scratch.path().join("copy");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&self.current).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        self.current = copy;
    }

    async fn end_gap(&mut self) {
        fs::rename(self.configured(), self.scratch.path().join("old")).unwrap();
        self.move_current("services");
    }

    async fn slow(&mut self, by: Duration) {
        self.slow = Some(by);
    }

    async fn hang(&mut self) {
        let mut file = File::create(self.path("beta")).unwrap();
        file.write_all(b"services:\n- hostname: ").unwrap();
        self.unfinished = Some(file);
    }

    async fn hanging(&mut self) {
        assert!(self.unfinished.is_some(), "a file is being written");
    }

    async fn restore(&mut self) {
        self.slow = None;
        self.unfinished = None;
        for writer in self.writers.drain(..) {
            writer.await.unwrap();
        }
        if self.current != self.configured() {
            self.move_current("services");
        }
    }
}

mainstem_test_support::adapter_battery!(Files::new());
