//! Starts children from one thread that lives as long as the process.
//!
//! The kernel sends the parent-death signal when the *thread* that forked ends,
//! and each test has its own thread, which ends before a shared server should.

use std::io;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

struct Request {
    command: Command,
    reply: Sender<(Command, io::Result<Child>)>,
}

static SPAWNER: LazyLock<Sender<Request>> = LazyLock::new(|| {
    let (requests, incoming) = channel::<Request>();
    thread::Builder::new()
        .name("spawner".into())
        .spawn(move || {
            for mut request in incoming {
                let child = request.command.spawn();
                // The caller waits for it.
                let _ = request.reply.send((request.command, child));
            }
        })
        .expect("a thread can be started");
    requests
});

/// Starts `command`, leaving it as it was, to be started again.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let (reply, answer) = channel();
    let placeholder = Command::new("true");
    let request = Request { command: std::mem::replace(command, placeholder), reply };
    SPAWNER.send(request).expect("the spawner never ends");
    let (used, child) = answer.recv().expect("the spawner answers");
    *command = used;
    child
}
