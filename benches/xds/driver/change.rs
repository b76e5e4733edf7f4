//! Changes told to warm proxies: one at a time, in a storm, none, and after a
//! reconnection.

use std::thread::sleep;
use std::time::Duration;

use super::start::Started;
use super::{Bench, Plan, Server, floor, micros, millis, percentile};
use crate::control::Order;
use crate::floor::Order as FloorOrder;
use crate::observer::{Rounds, Stormed};
use crate::report::Report;
use crate::sidecars::{self, Connected, Protocol};

const SET: &str = "control";
/// Changes of one kind before the other server has its turn.
const TURN: usize = 5;
/// Between two changes.
const GAP: Duration = Duration::from_millis(5);
/// Before memory is read.
const SETTLE: Duration = Duration::from_secs(2);

impl Bench {
    pub fn rest(&mut self, plan: &Plan, mut started: Started, report: &mut Report) {
        // Two sets of 5,000 are left out where only changes count.
        if plan.wants("memory") {
            self.memory(&mut started, report);
        }
        if plan.wants("change") {
            self.changes(plan, &mut started.server, report);
            self.nothing(&mut started.server, report);
        }
        if plan.wants("storm") && self.setting.count <= 1000 {
            self.storm(plan, &mut started.server, report);
        }
        if plan.wants("start") && self.setting.protocol == Protocol::Delta {
            self.reconnect(started.bytes, report);
        }
        assert_eq!(self.received(SET).lost, 0, "the server ended streams");
    }

    /// What idle proxies keep resident, beyond a server without any.
    fn memory(&mut self, started: &mut Started, report: &mut Report) {
        let count = self.setting.count;
        let mut bare = floor();
        let before = bare.usage().resident;
        self.connect("floor", bare.address, count, false);
        bare.await_streams(count);
        sleep(SETTLE);
        let per_proxy =
            |after: u64, before: u64| (after.saturating_sub(before)) as f64 / 1024.0 / count as f64;
        let floor = per_proxy(bare.usage().resident, before);
        let ours = per_proxy(started.server.usage().resident, started.empty.resident);
        let mut figure = self.figure("resident per idle proxy", ours, "KiB").beside(floor);
        // The resources themselves, which all share, count for little from here on.
        if count >= 1000 {
            figure = figure.at_most(60.0);
        }
        report.add(figure);
        self.disconnect("floor");
    }

    /// One endpoint at a time, in turn with the floor.
    fn changes(&mut self, plan: &Plan, server: &mut Server, report: &mut Report) {
        let acks = self.setting.count;
        self.record(SET);
        let warm_up: Rounds = server.worker.ask(&Order::Changes { rounds: TURN, acks, gap: GAP });
        assert_eq!(warm_up.pushes, TURN * acks, "each change is one message to each proxy");
        let message = self.record(SET).pop().unwrap();
        let mut bare = floor();
        self.connect_like(Some(SET), "floor", bare.address, acks, false);
        bare.await_streams(acks);
        let [mut ours, mut floors] = [Rounds::default(), Rounds::default()];
        let rounds = (plan.changes * 1000 / acks).clamp(plan.changes.div_ceil(2), 4 * plan.changes);
        for turn in 0..=rounds.div_ceil(TURN) {
            let order = Order::Changes { rounds: TURN, acks, gap: GAP };
            let of_ours: Rounds = server.worker.ask(&order);
            let message = message.clone();
            let order = FloorOrder::Changes { rounds: TURN, acks, gap: GAP, message };
            let of_floor: Rounds = bare.worker.ask(&order);
            // The first turn warms up.
            if turn > 0 {
                ours.add(of_ours);
                floors.add(of_floor);
            }
        }
        self.disconnect("floor");
        self.report_changes(&ours, &floors, report);
    }

    fn report_changes(&self, ours: &Rounds, floor: &Rounds, report: &mut Report) {
        let time = |rounds: &Rounds, percent| millis(percentile(&rounds.times, percent));
        let each = |rounds: &Rounds| micros(rounds.cpu) / rounds.pushes as f64;
        report.add(
            self.figure("change to last ACK, p50", time(ours, 50), "ms")
                .beside(time(floor, 50))
                .within(2.0),
        );
        report.add(
            self.figure("change to last ACK, p99", time(ours, 99), "ms").beside(time(floor, 99)),
        );
        let cpu = self.figure("CPU per change and proxy", each(ours), "µs").beside(each(floor));
        report.add(if self.setting.protocol == Protocol::Delta { cpu.within(1.5) } else { cpu });
        let bytes = ours.bytes as f64 / ours.pushes as f64;
        report.add(self.figure("bytes per change and proxy", bytes, "B"));
    }

    fn nothing(&self, server: &mut Server, report: &mut Report) {
        let pushes: usize = server.worker.ask(&Order::Nothing { rounds: 100 });
        let figure = self.figure("sent for 100 changes of no content", pushes as f64, "");
        report.add(figure.at_most(0.0));
    }

    /// Changes at 100 a second; in the end every proxy holds what its like is given
    /// that comes afterwards.
    fn storm(&mut self, plan: &Plan, server: &mut Server, report: &mut Report) {
        let order = Order::Storm { rate: 100, lasting: plan.storm };
        let stormed: Stormed = server.worker.ask(&order);
        let rate = stormed.changes as f64 / stormed.lasted.as_secs_f64();
        report.add(self.figure("storm, changes a second", rate, "/s"));
        let converged = stormed.converged.as_secs_f64();
        report.add(self.figure("storm, last change to last ACK", converged, "s").at_most(0.2));
        let messages = stormed.pushes as f64 / self.setting.count as f64 / stormed.changes as f64;
        report.add(self.figure("storm, messages per change and proxy", messages, ""));
        let cpu = stormed.cpu.as_secs_f64() / stormed.lasted.as_secs_f64();
        report.add(self.figure("storm, share of the core", 100.0 * cpu, "%"));
        self.connect("fresh", server.address, self.setting.count, true);
        let (held, fresh) = (self.digests(SET), self.digests("fresh"));
        let behind = held.iter().zip(&fresh).filter(|(held, fresh)| held != fresh).count();
        self.disconnect("fresh");
        let lost = stormed.unanswered + stormed.rejections + behind;
        report.add(self.figure("storm, lost, refused or behind", lost as f64, "").at_most(0.0));
    }

    fn digests(&mut self, set: &str) -> Vec<String> {
        self.sidecars.ask(&sidecars::Order::Digests { set: set.to_owned() })
    }

    /// All proxies once more, with what they hold.
    fn reconnect(&mut self, cold: f64, report: &mut Report) {
        self.disconnect(SET);
        sleep(SETTLE);
        let again: Connected =
            self.sidecars.ask(&sidecars::Order::Reconnect { set: SET.to_owned() });
        let bytes = again.received.bytes as f64 / self.setting.count as f64;
        let share = 100.0 * bytes / cold;
        report.add(self.figure("reconnection, share of cold bytes", share, "%").at_most(5.0));
    }
}

impl Rounds {
    fn add(&mut self, other: Rounds) {
        self.times.extend(other.times);
        self.cpu += other.cpu;
        self.pushes += other.pushes;
        self.bytes += other.bytes;
    }
}
