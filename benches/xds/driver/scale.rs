//! What grows with the mesh.

use super::{Bench, Plan, Setting, control, micros, percentile};
use crate::control::Order;
use crate::observer::Rounds;
use crate::report::{Figure, Report};
use crate::sidecars::Protocol;
use crate::world::{Proxies, World};
use std::time::Duration;

const TURN: usize = 10;
const GAP: Duration = Duration::from_millis(5);

/// 100 proxies that see 1,000 services, of ever more that there are.
pub fn services(plan: &Plan, report: &mut Report) {
    let (seen, count) = if plan.run.quick { (20, 10) } else { (1000, 100) };
    let setting = Setting { protocol: Protocol::Delta, kind: Proxies::Identical, count };
    let mut meshes: Vec<_> = plan
        .scales
        .iter()
        .map(|services| {
            let world = World {
                services: *services,
                endpoints: 10,
                namespaces: services / seen,
                private: true,
                places: false,
            };
            let mut bench = Bench::new(setting);
            let server = control(&world);
            bench.connect("control", server.address, count, true);
            (*services, bench, server, Rounds::default())
        })
        .collect();
    for turn in 0..=plan.changes.div_ceil(2) {
        for (_, _, server, rounds) in &mut meshes {
            let order = Order::Changes { rounds: TURN, acks: count, gap: GAP };
            let of_turn: Rounds = server.worker.ask(&order);
            if turn > 0 {
                rounds.times.extend(of_turn.times);
                rounds.cpu += of_turn.cpu;
                rounds.pushes += of_turn.pushes;
            }
        }
    }
    let (mut times, mut costs) = (Vec::new(), Vec::new());
    for (services, _, _, rounds) in &meshes {
        let of = format!("{services} services, {count} proxies that see {seen}");
        let time = micros(percentile(&rounds.times, 50));
        let cost = micros(rounds.cpu) / rounds.times.len() as f64;
        report.add(Figure::new(&of, "change to last ACK, p50", time / 1e3, "ms"));
        report.add(Figure::new(&of, "CPU per change", cost / 1e3, "ms"));
        times.push((*services as f64, time));
        costs.push((*services as f64, cost));
    }
    for (what, points) in [("slope of p50", times), ("slope of CPU per change", costs)] {
        report.add(Figure::new("log-log over services", what, slope(&points), "").at_most(0.1));
    }
}

/// What an endpoint keeps resident, with nobody connected.
pub fn endpoints(plan: &Plan, report: &mut Report) {
    let services = if plan.run.quick { 1000 } else { 10_000 };
    let resident = |endpoints: usize| {
        let world = World { services, endpoints, namespaces: 50, private: false, places: false };
        control(&world).usage().resident as f64
    };
    let each = (resident(10) - resident(0)) / (10 * services) as f64;
    let of = format!("{} endpoints, no proxies", 10 * services);
    report.add(Figure::new(&of, "resident per endpoint", each, "B").at_most(250.0));
}

/// Of the line through the logarithms that fits best.
fn slope(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let above: f64 = logs.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    above / logs.iter().map(|(x, _)| (x - mx).powi(2)).sum::<f64>()
}
