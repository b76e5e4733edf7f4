//! A thread with its own async runtime, in a network namespace if need be.

use std::fs::File;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

use crate::network::NetNs;

/// Runs a server until it is dropped, apart from the test's runtime.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts what `open` returns and comes back when `open` is done.
    ///
    /// # Panics
    ///
    /// With the error of `open`.
    pub(crate) fn start<Serve: Future<Output = ()>>(
        namespace: Option<&NetNs>,
        open: impl AsyncFnOnce() -> Result<Serve, String> + Send + 'static,
    ) -> Self {
        let (opened, outcome) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let namespace = namespace.map(NetNs::file);
        let thread = thread::spawn(move || {
            enter(namespace.as_ref());
            block_on(async {
                match open().await {
                    Ok(serve) => {
                        opened.send(Ok(())).expect("the starter waits");
                        tokio::select! {
                            () = serve => {}
                            _ = stopped => {}
                        }
                    }
                    Err(error) => opened.send(Err(error)).expect("the starter waits"),
                }
            });
        });
        match outcome.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => panic!("the background thread ended early"),
        }
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Dropping the sender ends the thread's select.
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs `work` to its end on a thread within `namespace`.
pub(crate) async fn run_in<T: Send + 'static>(
    namespace: &NetNs,
    work: impl AsyncFnOnce() -> T + Send + 'static,
) -> T {
    let namespace = namespace.file();
    let (done, result) = oneshot::channel();
    thread::spawn(move || {
        enter(Some(&namespace));
        // The caller may have gone.
        let _ = done.send(block_on(work()));
    });
    result.await.expect("the work does not panic")
}

/// Moves this thread alone into the namespace.
fn enter(namespace: Option<&File>) {
    if let Some(file) = namespace {
        setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
        .block_on(work)
}
