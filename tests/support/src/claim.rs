//! Numbers that belong to one test process while it lives: ports, subnets.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::ops::Range;
use std::process;

use parking_lot::Mutex;

use crate::scratch;

/// Below the range from which Linux takes the ports of outgoing connections, so
/// that no client takes a port between its claim and the server's bind.
const PORTS: Range<u32> = 17_000..32_000;

/// A number is ours while its file is locked; the kernel unlocks it when the
/// process ends, however it ends.
static HELD: Mutex<BTreeSet<(&'static str, u32)>> = Mutex::new(BTreeSet::new());
static FILES: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A TCP port on loopback that is free, and that no other test, in this process
/// or another, is given while this process lives.
pub fn free_port() -> u16 {
    let port = claim("port", PORTS, |port| {
        let port = u16::try_from(port).expect("the range of ports fits");
        TcpListener::bind(("0.0.0.0", port)).is_ok()
    });
    u16::try_from(port).expect("the range of ports fits")
}

/// A number of `range` that `usable` agrees to, for this process alone.
pub(crate) fn claim(kind: &'static str, range: Range<u32>, usable: impl Fn(u32) -> bool) -> u32 {
    let span = range.end - range.start;
    // Processes begin at different places, so that they seldom meet.
    let first = process::id().wrapping_mul(61) % span;
    (0..span)
        .map(|step| range.start + (first + step) % span)
        .find(|&number| take(kind, number) && usable(number))
        .unwrap_or_else(|| panic!("every {kind} of {range:?} is taken"))
}

/// Locks the number's file. A number that proves unusable stays locked: it will
/// not become usable soon.
fn take(kind: &'static str, number: u32) -> bool {
    if !HELD.lock().insert((kind, number)) {
        return false;
    }
    let path = scratch::root().join(format!("{kind}-{number}.lock"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .unwrap_or_else(|error| panic!("opening {}: {error}", path.display()));
    let ours = file.try_lock().is_ok();
    if ours {
        FILES.lock().push(file);
    }
    ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_can_be_bound() {
        let ports: BTreeSet<u16> = (0..50).map(|_| free_port()).collect();

        assert_eq!(ports.len(), 50);
        for port in ports {
            TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        }
    }

    #[test]
    fn a_number_locked_by_another_process_is_passed_over() {
        let kind: &str = Box::leak(format!("lesson-{}", process::id()).into_boxed_str());
        let path = |number| scratch::root().join(format!("{kind}-{number}.lock"));
        let file = File::create(path(1)).expect("create");
        // Another open file description conflicts just as another process does.
        file.lock().expect("lock");

        assert_eq!(claim(kind, 1..3, |_| true), 2);

        for number in [1, 2] {
            std::fs::remove_file(path(number)).expect("remove");
        }
    }
}
