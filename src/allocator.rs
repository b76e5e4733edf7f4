//! The allocator of the process, and the runtime that keeps it tidy.
//!
//! mimalloc, since glibc's was 1.6 times slower under churn. It gives freed pages
//! back when something is allocated some time later. After a thousand proxies have
//! connected nothing is for long, and all that their first answers took would stay:
//! so threads tidy up before they rest.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How often a thread looks for pages that have been free for a while.
const TIDY: Duration = Duration::from_secs(1);

thread_local! {
    static TIDIED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The server's runtime: a worker for each core that the process may use.
///
/// # Errors
/// When the system refuses threads or an event queue.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().on_thread_park(tidy).build()
}

/// Gives back to the system what has been free for a while. Not what was freed just
/// now: it will be needed again.
fn tidy() {
    let now = Instant::now();
    if TIDIED.get().is_some_and(|before| now - before < TIDY) {
        return;
    }
    TIDIED.set(Some(now));
    // SAFETY: it may be called at any time; what is in use is not touched.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(false);
    }
}
