//! Running an adapter and reading what it says.

use std::time::Duration;

use mainstem_model::RegistryId;
use mainstem_registry::{Adapter, Interest, UpdateReceiver, Updates, channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::View;
use crate::TIMEOUT;

/// How soon a cancelled adapter must be gone.
const PROMPTLY: Duration = Duration::from_secs(2);

/// A running adapter and what it has said so far.
#[derive(Debug)]
pub struct Watch {
    /// What it has said.
    pub view: View,
    updates: Updates,
    receiver: UpdateReceiver,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Starts an adapter on a channel of its own.
    pub fn start(registry: RegistryId, adapter: Box<dyn Adapter>) -> Self {
        let (updates, receiver) = channel();
        let task = tokio::spawn(adapter.run(updates.sender(registry)));
        Self { view: View::default(), updates, receiver, task }
    }

    /// This is what anybody needs from now on.
    pub fn need(&self, interest: Interest) {
        self.updates.need(interest);
    }

    /// Reads on until `check` holds.
    ///
    /// # Panics
    ///
    /// If it does not within [`TIMEOUT`], or if the adapter ends.
    pub async fn until(&mut self, what: &str, check: impl Fn(&View) -> Result<(), String>) {
        self.until_while(what, check, |_| Ok(())).await;
    }

    /// Reads on until `check` holds; `always` must hold at every moment until then.
    ///
    /// # Panics
    ///
    /// If `check` does not hold within [`TIMEOUT`], `always` once does not, or
    /// the adapter ends.
    pub async fn until_while(
        &mut self,
        what: &str,
        check: impl Fn(&View) -> Result<(), String>,
        always: impl Fn(&View) -> Result<(), String>,
    ) {
        let end = Instant::now() + TIMEOUT;
        loop {
            if let Err(broken) = always(&self.view) {
                panic!("{what}: meanwhile {broken}");
            }
            let Err(missing) = check(&self.view) else { return };
            tokio::select! {
                batches = timeout_at(end, self.receiver.recv()) => match batches {
                    Ok(batches) => batches.into_iter().for_each(|(_, b)| self.view.apply(b)),
                    Err(_) => panic!("{what}: not within {TIMEOUT:?}: {missing}"),
                },
                ended = &mut self.task => panic!("{what}: the adapter ended: {ended:?}"),
            }
        }
    }

    /// Cancels the adapter and waits until it is gone; what it said until then
    /// is read.
    ///
    /// # Panics
    ///
    /// If it is not gone promptly.
    pub async fn cancel(&mut self) {
        self.task.abort();
        let ended = timeout(PROMPTLY, &mut self.task).await;
        let ended = ended.unwrap_or_else(|_| panic!("the adapter goes on {PROMPTLY:?} later"));
        assert!(ended.is_err_and(|error| error.is_cancelled()), "the adapter ended by itself");
        self.read();
    }

    /// Reads what waits; whether there was anything.
    pub fn read(&mut self) -> bool {
        let batches = self.receiver.try_recv();
        let any = !batches.is_empty();
        batches.into_iter().for_each(|(_, batch)| self.view.apply(batch));
        any
    }
}
