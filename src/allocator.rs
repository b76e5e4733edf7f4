//! The allocator of the process: mimalloc, since glibc's was 1.6 times slower
//! under churn.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay`: after how many milliseconds freed pages go back to
/// the system. The bindings do not name it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Gives what is freed back to the system at once.
///
/// By default pages go back when something is allocated some time later. After a
/// thousand proxies have connected nothing is for long, and all that their first
/// answers took would stay. `MIMALLOC_PURGE_DELAY` (milliseconds) wins.
pub fn give_back_at_once() {
    // SAFETY: sets a number of the allocator, which it allows at any time.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 0);
    }
}
