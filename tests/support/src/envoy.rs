//! A real Envoy.

mod admin;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use crate::eventually::TIMEOUT;
use crate::network::NetNs;
use crate::process::{Process, Program};
use crate::scratch::Scratch;
use crate::tools;

/// One of the versions that `make tools` brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvoyVersion(&'static str);

impl EnvoyVersion {
    /// The one that tests use unless they name another; `ENVOY_BIN` replaces it.
    pub const DEFAULT: Self = Self("1.40.0");
    /// The oldest that this project promises to work with.
    pub const OLDEST: Self = Self("1.36.4");
    /// All, newest first: the last patch of each release.
    pub const ALL: [Self; 5] =
        [Self::DEFAULT, Self("1.39.3"), Self("1.38.3"), Self("1.37.0"), Self::OLDEST];
    /// The newest and the oldest.
    pub const ENDS: [Self; 2] = [Self::DEFAULT, Self::OLDEST];

    /// The versions for a test whose whole matrix is for `make test-all`: all of
    /// them there, else the newest and the oldest.
    pub fn matrix() -> Vec<Self> {
        if tools::full_matrix() { Self::ALL.to_vec() } else { Self::ENDS.to_vec() }
    }

    /// Its number.
    pub fn number(self) -> &'static str {
        self.0
    }

    /// Its binary.
    pub fn binary(self) -> PathBuf {
        if self == Self::DEFAULT {
            tools::binary("ENVOY_BIN", "bin/envoy")
        } else {
            let path = tools::in_tools(&format!("envoy-{}/envoy", self.0));
            tools::existing(path, "ENVOY_BIN for the default version only")
        }
    }
}

/// How an Envoy is to run.
#[derive(Debug, Clone)]
pub struct EnvoyOptions<'a> {
    /// Which Envoy.
    pub version: EnvoyVersion,
    /// The network namespace that it runs in, else the test's own.
    pub namespace: Option<&'a NetNs>,
    /// The user that it runs as, by whom interception knows its traffic.
    pub uid: Option<u32>,
    /// The group that it runs under, for the same, when it must stay root: a
    /// transparent listener needs the right to set socket marks.
    pub gid: Option<u32>,
    /// More arguments, such as `--service-node` or `--log-level`, but
    /// `--component-log-level`.
    pub args: Vec<String>,
}

impl Default for EnvoyOptions<'_> {
    fn default() -> Self {
        Self {
            version: EnvoyVersion::DEFAULT,
            namespace: None,
            uid: None,
            gid: None,
            args: Vec::new(),
        }
    }
}

/// A running Envoy whose admin interface answers.
///
/// The admin interface gets a port of its own, whatever the bootstrap says.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    namespace: Option<NetNs>,
    admin: SocketAddr,
    _scratch: Scratch,
}

impl Envoy {
    /// Starts Envoy with a bootstrap (YAML or JSON) and waits until its admin
    /// interface answers, which it does before any xDS answer has come.
    pub async fn start(bootstrap: &str, version: EnvoyVersion) -> Self {
        let options = EnvoyOptions { version, ..EnvoyOptions::default() };
        Self::start_with(bootstrap, options).await
    }

    /// As [`start`](Self::start), with options.
    pub async fn start_with(bootstrap: &str, options: EnvoyOptions<'_>) -> Self {
        let scratch = Scratch::new("envoy");
        let address_file = scratch.path().join("admin-address");
        let mut program = Program::new(options.version.binary())
            .arg("-c")
            .arg(readable(scratch.write("bootstrap.yaml", bootstrap)))
            .args(["--config-yaml", &admin_config(options.namespace)])
            .arg("--admin-address-path")
            .arg(&address_file)
            .args(["--disable-hot-restart", "--concurrency", "1"])
            // At `info` it lists a hundred lines of extensions.
            .args(["--component-log-level", "main:warning"])
            .args(&options.args);
        if let Some(namespace) = options.namespace {
            program = program.in_namespace(namespace.name());
        }
        if let Some(uid) = options.uid {
            open_to_all(scratch.path());
            program = program.as_user(uid);
        }
        if let Some(gid) = options.gid {
            program = program.as_group(gid);
        }
        let process = Process::spawn("envoy", program, scratch.path());
        let port = process
            .wait_until("writes its admin address", TIMEOUT, async || {
                let text = std::fs::read_to_string(&address_file).unwrap_or_default();
                let address: Result<SocketAddr, _> = text.trim().parse();
                address.map(|address| address.port())
            })
            .await;
        let ip = options.namespace.map_or(Ipv4Addr::LOCALHOST, NetNs::ip);
        let envoy = Self {
            process,
            namespace: options.namespace.cloned(),
            admin: SocketAddr::from((ip, port)),
            _scratch: scratch,
        };
        envoy
            .process
            .wait_until("answers on its admin interface", TIMEOUT, async || {
                envoy.admin_get("/server_info").await
            })
            .await;
        envoy
    }

    /// Checks a bootstrap without running it: what Envoy says against it.
    pub async fn validate(bootstrap: &str, version: EnvoyVersion) -> Result<(), String> {
        let scratch = Scratch::new("envoy-validate");
        let path = scratch.write("bootstrap.yaml", bootstrap);
        let output = Command::new(version.binary())
            .args(["--mode", "validate", "--log-level", "warning", "-c"])
            .arg(path)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(TIMEOUT, output)
            .await
            .expect("envoy validates in time")
            .unwrap_or_else(|error| panic!("starting envoy: {error}"));
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Waits until Envoy is live: all that its bootstrap asks for has come.
    pub async fn ready(&self) {
        self.process.wait_until("is live", TIMEOUT, async || self.admin_get("/ready").await).await;
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// `http://ADDRESS` of the admin interface.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Lets connections drain, as a shutdown does, and waits for the end.
    pub async fn quit(&self) {
        self.process.signal(nix::sys::signal::Signal::SIGTERM);
        self.process.wait_exit(Duration::from_secs(10)).await;
    }
}

fn admin_config(namespace: Option<&NetNs>) -> String {
    // Within a namespace loopback would be out of the test's reach.
    let address = if namespace.is_some() { "0.0.0.0" } else { "127.0.0.1" };
    format!("admin: {{ address: {{ socket_address: {{ address: {address}, port_value: 0 }} }} }}")
}

/// Lets another user read the file.
fn readable(path: PathBuf) -> PathBuf {
    set_mode(&path, 0o644);
    path
}

/// Lets another user write to the directory.
fn open_to_all(dir: &std::path::Path) {
    set_mode(dir, 0o777);
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions)
        .unwrap_or_else(|error| panic!("opening {}: {error}", path.display()));
}

#[cfg(test)]
mod tests;
