//! What a process costs, and where it runs.

use std::fs;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Bytes resident now.
    pub resident: u64,
    /// Bytes resident at most.
    pub peak: u64,
}

/// Keeps this process on one core; a machine that has not got it keeps its freedom.
pub fn pin(core: usize) {
    let mut set = CpuSet::new();
    if set.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

pub fn usage() -> Usage {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    };
    Usage { cpu: cpu(), resident: field("VmRSS:"), peak: field("VmHWM:") }
}

/// User and system time of all threads, to the nanosecond.
pub fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}
