//! What is measured, in which order.

mod change;
mod scale;
mod start;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::Run;
use crate::child::Worker;
use crate::control;
use crate::floor;
use crate::process::Usage;
use crate::report::{Figure, Report};
use crate::sidecars::{self, Connected, Protocol, Received};
use crate::world::{Proxies, World};

/// How much is measured.
struct Plan {
    run: Run,
    services: usize,
    proxies: Vec<usize>,
    /// Fresh servers per number of proxies.
    starts: usize,
    /// Changes per number of proxies, for each thousand of them.
    changes: usize,
    storm: Duration,
    scales: Vec<usize>,
}

impl Plan {
    fn of(run: &Run) -> Plan {
        let mut plan = if run.quick {
            Plan {
                run: run.clone(),
                services: 40,
                proxies: vec![20],
                starts: 1,
                changes: 1,
                storm: Duration::from_millis(500),
                scales: vec![20, 40],
            }
        } else {
            Plan {
                run: run.clone(),
                services: 1000,
                proxies: vec![100, 1000, 5000],
                starts: 3,
                changes: 60,
                storm: Duration::from_secs(20),
                scales: vec![1000, 10_000, 100_000],
            }
        };
        if !run.proxies.is_empty() {
            plan.proxies.clone_from(&run.proxies);
        }
        plan
    }

    fn wants(&self, part: &str) -> bool {
        self.run.only.is_empty() || self.run.only.iter().any(|only| only == part)
    }

    fn protocols(&self) -> Vec<Protocol> {
        let only = self.run.protocol.as_deref();
        let all = [(Protocol::Delta, "delta"), (Protocol::Sotw, "sotw")];
        all.into_iter()
            .filter(|(_, name)| only.is_none_or(|only| only == *name))
            .map(|(p, _)| p)
            .collect()
    }

    fn kinds(&self) -> Vec<Proxies> {
        let only = self.run.kind.as_deref();
        let all = [Proxies::Identical, Proxies::Diverse];
        all.into_iter().filter(|kind| only.is_none_or(|only| only == kind.name())).collect()
    }

    fn world(&self, kind: Proxies) -> World {
        World {
            services: self.services,
            endpoints: 10,
            namespaces: 50,
            private: false,
            places: kind == Proxies::Diverse,
        }
    }
}

/// One setting.
#[derive(Clone, Copy)]
struct Setting {
    protocol: Protocol,
    kind: Proxies,
    count: usize,
}

impl Setting {
    fn name(self) -> String {
        let protocol = match self.protocol {
            Protocol::Delta => "delta",
            Protocol::Sotw => "SotW",
        };
        format!("{protocol}, {} {}", self.count, self.kind.name())
    }
}

/// Measures and prints.
pub fn run(run: &Run) {
    let plan = Plan::of(run);
    let mut report = Report::default();
    for protocol in plan.protocols() {
        for kind in plan.kinds() {
            for count in plan.proxies.iter().copied() {
                let mut bench = Bench::new(Setting { protocol, kind, count });
                bench.measure(&plan, &mut report);
            }
        }
    }
    if plan.wants("scale") {
        scale::services(&plan, &mut report);
    }
    if plan.wants("memory") {
        scale::endpoints(&plan, &mut report);
    }
    match run.output.as_deref() {
        Some("json") => println!("{}", report.json()),
        _ => println!("{}", report.table()),
    }
}

/// The processes of one setting.
struct Bench {
    setting: Setting,
    sidecars: Worker,
    files: TempDir,
}

impl Bench {
    fn new(setting: Setting) -> Bench {
        let (sidecars, ()) = Worker::start(&["sidecars".to_owned()]);
        Bench { setting, sidecars, files: tempfile::tempdir().unwrap() }
    }

    fn measure(&mut self, plan: &Plan, report: &mut Report) {
        let started = self.starts(plan, report);
        self.rest(plan, started, report);
    }

    /// Connects proxies to a server.
    fn connect(&mut self, set: &str, address: SocketAddr, count: usize, warm: bool) -> Connected {
        self.connect_like(None, set, address, count, warm)
    }

    /// The same with answers as large as those of another set.
    fn connect_like(
        &mut self,
        like: Option<&str>,
        set: &str,
        address: SocketAddr,
        count: usize,
        warm: bool,
    ) -> Connected {
        let Setting { protocol, kind: proxies, .. } = self.setting;
        self.sidecars.ask(&sidecars::Order::Connect {
            set: set.to_owned(),
            address,
            protocol,
            proxies,
            count,
            warm,
            like: like.map(str::to_owned),
        })
    }

    /// What the first proxy of a set was sent since the last time, in files.
    fn record(&mut self, set: &str) -> Vec<PathBuf> {
        let into = tempfile::tempdir_in(&self.files).unwrap().keep();
        self.sidecars.ask(&sidecars::Order::Record { set: set.to_owned(), into })
    }

    fn disconnect(&mut self, set: &str) {
        let () = self.sidecars.ask(&sidecars::Order::Disconnect { set: set.to_owned() });
    }

    fn received(&mut self, set: &str) -> Received {
        self.sidecars.ask(&sidecars::Order::Received { set: set.to_owned() })
    }

    fn figure(&self, what: &'static str, value: f64, unit: &'static str) -> Figure {
        Figure::new(&self.setting.name(), what, value, unit)
    }
}

/// A server under measurement.
struct Server {
    worker: Worker,
    address: SocketAddr,
}

fn control(world: &World) -> Server {
    let (worker, address) = Worker::start(&world.args());
    Server { worker, address }
}

fn floor() -> Server {
    let (worker, address) = Worker::start(&["floor".to_owned()]);
    Server { worker, address }
}

impl Server {
    fn usage(&mut self) -> Usage {
        self.worker.ask(&control::Order::Usage)
    }

    fn await_streams(&mut self, streams: usize) {
        let () = self.worker.ask(&floor::Order::Await { streams });
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The value that so many percent do not exceed.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[(times.len() - 1) * percent / 100]
}
