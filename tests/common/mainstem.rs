//! The control plane under test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mainstem_test_support::{
    HttpClient, Process, Program, Scratch, TIMEOUT, eventually, free_port,
};
use serde_json::{Value, json};

/// A running `mainstem serve`. Ends with its value.
pub struct Mainstem {
    process: Process,
    admin: HttpClient,
    admin_address: SocketAddr,
    xds: SocketAddr,
    /// The configuration but for the registries.
    settings: Value,
    /// What it keeps across restarts, if it does.
    state: Option<Scratch>,
    /// Whether the test wants responses to be refused.
    refusals_expected: AtomicBool,
    scratch: Scratch,
}

/// Writes the configuration file; returns where it is.
fn write_config(scratch: &Scratch, settings: &Value, registries: &[Value]) -> PathBuf {
    let mut config = settings.clone();
    config["registries"] = json!(registries);
    scratch.write("mainstem.yaml", config.to_string())
}

/// Puts members where they belong, at any depth.
fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

impl Mainstem {
    /// Serves these registries, with xDS at `ip`, and waits until it is ready.
    pub async fn start(ip: Ipv4Addr, registries: &[Value]) -> Self {
        let mainstem = Self::launch(ip, registries).await;
        mainstem.ready().await;
        mainstem
    }

    /// As [`start`](Self::start), but waits only until it answers operators.
    pub async fn launch(ip: Ipv4Addr, registries: &[Value]) -> Self {
        Self::launch_with(ip, registries, json!({})).await
    }

    /// As [`launch`](Self::launch), with more of the configuration.
    pub async fn launch_with(ip: Ipv4Addr, registries: &[Value], settings: Value) -> Self {
        Self::launch_in(&[], ip, registries, settings).await
    }

    /// As [`launch_with`](Self::launch_with), with variables in its environment.
    pub async fn launch_in(
        environment: &[(&str, &str)],
        ip: Ipv4Addr,
        registries: &[Value],
        settings: Value,
    ) -> Self {
        let xds = SocketAddr::from((ip, free_port()));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let scratch = Scratch::new("mainstem");
        let mut own = json!({
            "cluster": "home",
            "xds": { "address": xds },
            "admin": { "address": admin },
        });
        if !ip.is_loopback() {
            own["xds"]["insecurePlaintextBeyondLoopback"] = json!(true);
        }
        merge(&mut own, settings);
        let file = write_config(&scratch, &own, registries);
        let program = environment
            .iter()
            .fold(Program::new(env!("CARGO_BIN_EXE_mainstem")), |program, (name, value)| {
                program.env(name, value)
            })
            .args(["serve", "--config"])
            .arg(file);
        let mainstem = Self {
            process: Process::spawn("mainstem", program, scratch.path()),
            admin: HttpClient::new(&format!("http://{admin}")),
            admin_address: admin,
            xds,
            settings: own,
            state: None,
            refusals_expected: AtomicBool::new(false),
            scratch,
        };
        mainstem.until_ok("/live").await;
        mainstem
    }

    /// As [`launch`](Self::launch), with last good states and control state in a
    /// directory of its own, or in one that is shared.
    pub async fn keeping(ip: Ipv4Addr, registries: &[Value], state: Option<&Path>) -> Self {
        let own = Scratch::new("state");
        let directory = state.unwrap_or(own.path());
        let settings = json!({ "state": { "directory": directory, "interval": "100ms" } });
        let mut mainstem = Self::launch_with(ip, registries, settings).await;
        mainstem.state = Some(own);
        mainstem
    }

    /// Where its last good states and control state are, with [`Self::keeping`].
    pub fn state_directory(&self) -> &Path {
        let directory = self.settings["state"]["directory"].as_str();
        Path::new(directory.expect("it keeps state"))
    }

    /// Kills it at once and starts it again at the same addresses; waits only
    /// until it answers operators.
    pub async fn kill_and_start(&self) {
        self.process.restart();
        self.until_ok("/live").await;
    }

    /// What the admin API says, without a process of its own.
    pub async fn ask(&self, path: &str) -> Value {
        let answer = self.admin.fetch(path, &[]).await.expect("the admin interface answers");
        serde_json::from_str(&answer.body).expect("the admin interface speaks JSON")
    }

    /// Replaces the configuration file's registries; the running server follows.
    pub fn configure(&self, registries: &[Value]) {
        write_config(&self.scratch, &self.settings, registries);
    }

    /// The same with other settings besides those that it was started with.
    pub fn configure_with(&self, registries: &[Value], more: Value) {
        let mut settings = self.settings.clone();
        merge(&mut settings, more);
        write_config(&self.scratch, &settings, registries);
    }

    /// Ends it as a rolling restart does, and waits until it has ended.
    pub async fn stop(&self) {
        self.process.terminate();
        self.process.wait_exit(TIMEOUT).await;
    }

    /// Starts it again at the same addresses, and waits until it is ready.
    pub async fn start_again(&self) {
        self.process.restart();
        self.ready().await;
    }

    /// Waits until every registry has synced or passed its deadline.
    pub async fn ready(&self) {
        self.until_ok("/ready").await;
    }

    async fn until_ok(&self, path: &str) {
        self.process
            .wait_until(&format!("answers {path}"), TIMEOUT, async || {
                match self.admin.fetch(path, &[]).await {
                    Ok(answer) if answer.status == 200 => Ok(()),
                    Ok(answer) => Err(answer.body),
                    Err(error) => Err(error),
                }
            })
            .await;
    }

    /// Where it serves xDS.
    pub fn xds(&self) -> SocketAddr {
        self.xds
    }

    /// Where it serves operators.
    pub fn admin(&self) -> SocketAddr {
        self.admin_address
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The log lines about responses that clients refused.
    pub fn refusals(&self) -> Vec<String> {
        let log = self.process.log();
        let refused = log.lines().filter(|line| line.contains("response refused"));
        refused.map(str::to_owned).collect()
    }

    /// For tests in which a client refuses something: in all others it is a
    /// failure if one does.
    pub fn expect_refusals(&self) {
        self.refusals_expected.store(true, Ordering::Relaxed);
    }

    /// The command `mainstem ARGS --admin …`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstem"));
        command.args(args).args(["--admin", &self.admin_address.to_string()]);
        command
    }

    /// What the command line says: `mainstem ARGS --admin … -o json`.
    ///
    /// # Panics
    /// When the command fails, with what it printed.
    pub fn cli(&self, args: &[&str]) -> Value {
        let text = self.table(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// What the command line prints: `mainstem ARGS --admin …`.
    ///
    /// # Panics
    /// When the command fails, with what it printed.
    pub fn table(&self, args: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_mainstem"))
            .args(args)
            .args(["--admin", &self.admin_address.to_string()])
            .output()
            .expect("the binary under test starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mainstem {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The Prometheus metrics, as text.
    pub async fn metrics(&self) -> String {
        self.admin.fetch("/metrics", &[]).await.expect("the admin interface answers").body
    }

    /// What `mainstem registries` says of one.
    pub fn registry(&self, id: &str) -> Value {
        let all = self.cli(&["registries"]);
        let rows = all.as_array().unwrap_or_else(|| panic!("a list: {all}"));
        let found = rows.iter().find(|row| row["name"] == id);
        found.unwrap_or_else(|| panic!("{id} in {all}")).clone()
    }

    /// Waits until the registry is `live`, `stale` or `syncing`.
    pub async fn until_registry(&self, id: &str, state: &str) {
        eventually(&format!("{id} is {state}"), TIMEOUT, async || {
            let registry = self.registry(id);
            if registry["state"] == state { Ok(()) } else { Err(registry.to_string()) }
        })
        .await;
    }

    /// A bootstrap as `mainstem bootstrap ARGS` prints it; for this control plane,
    /// unless `args` say for which.
    pub fn bootstrap(&self, args: &[&str]) -> String {
        let own = ["--xds-address".to_owned(), self.xds.to_string()];
        let named = args.contains(&"--xds-address");
        let output = Command::new(env!("CARGO_BIN_EXE_mainstem"))
            .arg("bootstrap")
            .args(own.iter().filter(|_| !named))
            .args(args)
            .output()
            .expect("the binary under test starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mainstem bootstrap {args:?}: {said}");
        String::from_utf8(output.stdout).expect("a bootstrap is text")
    }
}

impl Drop for Mainstem {
    fn drop(&mut self) {
        if !thread::panicking() && !self.refusals_expected.load(Ordering::Relaxed) {
            assert_eq!(self.refusals(), Vec::<String>::new(), "see `expect_refusals`");
        }
    }
}
