//! What the registry manager runs.

use std::future::Future;
use std::pin::Pin;

use crate::UpdateSender;

/// One registry's adapter.
pub trait Adapter: Send + 'static {
    /// Follows the registry and says what changes, for ever. Dropping the future
    /// ends it at any moment, mid-request or mid-backoff. What goes wrong with
    /// the registry is said by [`UpdateSender::failed`] and tried again; to
    /// return is a bug, which the manager answers like a panic: by a restart
    /// with backoff.
    fn run(self: Box<Self>, updates: UpdateSender) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
