//! Many proxies at once on a fresh server; the same bytes without protocol.

use std::time::Duration;

use super::{Bench, Plan, Server, control, floor, millis, percentile};
use crate::floor::Order;
use crate::process::Usage;
use crate::report::Report;
use crate::sidecars::{Connected, Protocol};

/// A control plane with all its proxies warm.
pub struct Started {
    pub server: Server,
    /// Before anybody connected.
    pub empty: Usage,
    /// Bytes that each proxy received.
    pub bytes: f64,
}

struct Taken {
    times: Vec<Duration>,
    cpu: Vec<Duration>,
}

impl Bench {
    /// Starts fresh servers in turn with the floor; the last one goes on.
    pub fn starts(&mut self, plan: &Plan, report: &mut Report) -> Started {
        let count = self.setting.count;
        let rounds = if plan.wants("start") && count < 5000 { plan.starts } else { 1 };
        let [mut ours, mut floors] = [(); 2].map(|()| Taken { times: Vec::new(), cpu: Vec::new() });
        let mut last = None;
        let mut peak = 0;
        for _ in 0..rounds {
            drop(last.take());
            let mut server = control(&plan.world(self.setting.kind));
            let empty = server.usage();
            let connected = self.connect("control", server.address, count, true);
            let after = server.usage();
            ours.note(&connected, after.cpu - empty.cpu);
            peak = after.peak;
            if plan.wants("start") {
                self.bare_start(&mut floors);
            }
            let bytes = connected.received.bytes as f64 / count as f64;
            last = Some(Started { server, empty, bytes });
        }
        let started = last.unwrap();
        if plan.wants("start") {
            self.report_start(&ours, &floors, started.bytes, peak, report);
        }
        started
    }

    /// The bytes of a start, as one proxy was sent them, to all.
    fn bare_start(&mut self, taken: &mut Taken) {
        let greeting = self.record("control");
        let mut server = floor();
        let () = server.worker.ask(&Order::Greet(greeting));
        let before = server.usage();
        let connected = self.connect("floor", server.address, self.setting.count, true);
        taken.note(&connected, server.usage().cpu - before.cpu);
        self.disconnect("floor");
    }

    fn report_start(
        &self,
        ours: &Taken,
        floor: &Taken,
        bytes: f64,
        peak: u64,
        report: &mut Report,
    ) {
        let time = |taken: &Taken| millis(percentile(&taken.times, 50));
        let cpu = |taken: &Taken| millis(percentile(&taken.cpu, 50)) / self.setting.count as f64;
        let mut took = self.figure("cold start to last warm", time(ours), "ms").beside(time(floor));
        if self.setting.count == 1000 {
            took = took.within(2.0);
        }
        report.add(took);
        report.add(self.figure("cold start, CPU per proxy", cpu(ours), "ms").beside(cpu(floor)));
        let mut received = self.figure("cold start, bytes per proxy", bytes / 1e6, "MB");
        if self.setting.protocol == Protocol::Delta {
            received = received.at_most(1.25);
        }
        report.add(received);
        report.add(self.figure("cold start, peak RSS", peak as f64 / 1e6, "MB"));
    }
}

impl Taken {
    fn note(&mut self, connected: &Connected, cpu: Duration) {
        self.times.push(connected.took);
        self.cpu.push(cpu);
    }
}
