//! Processes that take orders: one JSON value per line in, one per line out.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

/// A process of this program, in another role. Dropping it ends it.
pub struct Worker {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one. Its first answer says that it is ready.
    pub fn start<A: DeserializeOwned>(args: &[String]) -> (Worker, A) {
        let program = std::env::current_exe().unwrap();
        // The log of the control plane is written as ever, and read by nobody.
        let silent = std::env::var_os("BENCH_LOG").is_none();
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if silent { Stdio::null() } else { Stdio::inherit() })
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut worker = Worker { child, orders, answers };
        let first = worker.answer(args);
        (worker, first)
    }

    /// Gives an order and waits for what comes of it.
    pub fn ask<A: DeserializeOwned>(&mut self, order: &(impl Serialize + std::fmt::Debug)) -> A {
        self.order(order);
        self.answer(order)
    }

    /// Gives an order; the answer is to be taken later.
    pub fn order(&mut self, order: &impl Serialize) {
        let mut line = serde_json::to_string(order).unwrap();
        line.push('\n');
        self.orders.write_all(line.as_bytes()).unwrap();
        self.orders.flush().unwrap();
    }

    pub fn answer<A: DeserializeOwned>(&mut self, order: &(impl std::fmt::Debug + ?Sized)) -> A {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{order:?} was answered {line:?}: {error}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The orders that this process is given, until whoever gives them is gone.
pub fn orders<O: DeserializeOwned + Send + 'static>() -> mpsc::UnboundedReceiver<O> {
    let (sender, orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let order = serde_json::from_str(&line.unwrap()).unwrap();
            if sender.send(order).is_err() {
                return;
            }
        }
    });
    orders
}

pub fn reply(answer: &impl Serialize) {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, answer).unwrap();
    out.write_all(b"\n").unwrap();
    out.flush().unwrap();
}

/// The answer to orders that have none.
pub fn done() {
    reply(&Value::Null);
}
