//! Counts what is sent and what is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mainstem::metrics::Pushes;
use mainstem_xds::protocol::{Rejection, Response};
use mainstem_xds::{Client, PushObserver, RoundTrip, TypeUrl};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::process;

/// How long a round may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long after the last message nothing more is on its way.
const QUIET: Duration = Duration::from_secs(1);

/// What a server has sent, and what came back.
#[derive(Debug)]
pub struct Tally {
    pushes: AtomicUsize,
    bytes: AtomicU64,
    acks: AtomicUsize,
    rejections: AtomicUsize,
    /// How many acknowledgements the round awaits.
    awaited: AtomicUsize,
    all: Notify,
    last: Mutex<Instant>,
}

/// What became of one change after the other.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Rounds {
    /// Until the last ACK.
    pub times: Vec<Duration>,
    /// All rounds together.
    pub cpu: Duration,
    pub pushes: usize,
    pub bytes: u64,
}

/// What became of many changes at once.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stormed {
    pub changes: usize,
    pub lasted: Duration,
    /// From the last change to the last ACK.
    pub converged: Duration,
    pub cpu: Duration,
    pub pushes: usize,
    /// Messages without an ACK at the end.
    pub unanswered: usize,
    pub rejections: usize,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            pushes: AtomicUsize::default(),
            bytes: AtomicU64::default(),
            acks: AtomicUsize::default(),
            rejections: AtomicUsize::default(),
            awaited: AtomicUsize::new(usize::MAX),
            all: Notify::default(),
            last: Mutex::new(Instant::now()),
        }
    }
}

impl Tally {
    pub fn pushed(&self, bytes: usize) {
        self.pushes.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub fn acked(&self) {
        if self.acks.fetch_add(1, Relaxed) + 1 >= self.awaited.load(Relaxed) {
            *self.last.lock() = Instant::now();
            self.all.notify_one();
        }
    }

    /// Makes a change, waits until so many have accepted it, and again.
    pub async fn rounds(
        &self,
        rounds: usize,
        acks: usize,
        gap: Duration,
        mut change: impl FnMut(usize),
    ) -> Rounds {
        let (pushes, bytes) = (self.pushes.load(Relaxed), self.bytes.load(Relaxed));
        let mut done = Rounds::default();
        for round in 0..rounds {
            tokio::time::sleep(gap).await;
            let cpu = process::cpu();
            let before = self.acks.load(Relaxed);
            self.awaited.store(before + acks, Relaxed);
            let start = Instant::now();
            change(round);
            let all = tokio::time::timeout(PATIENCE, self.all.notified()).await;
            let came = self.acks.load(Relaxed) - before;
            assert!(all.is_ok(), "{came} of {acks} ACKs came");
            done.times.push(self.last.lock().duration_since(start));
            self.awaited.store(usize::MAX, Relaxed);
            done.cpu += process::cpu() - cpu;
        }
        done.pushes = self.pushes.load(Relaxed) - pushes;
        done.bytes = self.bytes.load(Relaxed) - bytes;
        done
    }

    /// Makes changes at a steady rate, then waits until all is told.
    pub async fn storm(
        &self,
        rate: u32,
        lasting: Duration,
        mut change: impl FnMut(usize),
    ) -> Stormed {
        let (pushes, rejections) = (self.pushes.load(Relaxed), self.rejections.load(Relaxed));
        let (cpu, start) = (process::cpu(), Instant::now());
        self.awaited.store(0, Relaxed);
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        let mut changes = 0;
        while start.elapsed() < lasting {
            ticks.tick().await;
            change(changes);
            changes += 1;
        }
        let (last, lasted) = (Instant::now(), start.elapsed());
        self.quiet().await;
        self.awaited.store(usize::MAX, Relaxed);
        Stormed {
            changes,
            lasted,
            converged: self.last.lock().saturating_duration_since(last),
            cpu: process::cpu() - cpu,
            pushes: self.pushes.load(Relaxed) - pushes,
            unanswered: self.unanswered(),
            rejections: self.rejections.load(Relaxed) - rejections,
        }
    }

    /// Waits until nothing has happened for a while; returns what was sent meanwhile.
    pub async fn quiet(&self) -> usize {
        let before = self.pushes.load(Relaxed);
        let mut seen = (before, self.acks.load(Relaxed));
        loop {
            tokio::time::sleep(QUIET).await;
            let now = (self.pushes.load(Relaxed), self.acks.load(Relaxed));
            if now == seen {
                return now.0 - before;
            }
            seen = now;
        }
    }

    fn unanswered(&self) -> usize {
        self.pushes.load(Relaxed) - self.acks.load(Relaxed) - self.rejections.load(Relaxed)
    }
}

/// The program's own metrics, and a tally beside them.
#[derive(Debug)]
pub struct Observer {
    pub tally: Arc<Tally>,
    pub metrics: Pushes,
}

impl PushObserver for Observer {
    fn connected(&self, client: &Client) {
        self.metrics.connected(client);
    }

    fn disconnected(&self, client: &Client) {
        self.metrics.disconnected(client);
    }

    fn refused(&self, status: &tonic::Status) {
        self.metrics.refused(status);
    }

    fn pushed(&self, client: &Client, response: &Response, waited: Duration) {
        self.metrics.pushed(client, response, waited);
        self.tally.pushed(response.message.len());
    }

    fn acked(&self, client: &Client, type_url: &TypeUrl, trip: RoundTrip) {
        self.metrics.acked(client, type_url, trip);
        self.tally.acked();
    }

    fn rejected(
        &self,
        client: &Client,
        type_url: &TypeUrl,
        trip: RoundTrip,
        rejection: &Rejection,
    ) {
        self.metrics.rejected(client, type_url, trip, rejection);
        self.tally.rejections.fetch_add(1, Relaxed);
    }

    fn expired_nonce(&self, client: &Client, type_url: &TypeUrl) {
        self.metrics.expired_nonce(client, type_url);
    }

    fn converged(&self, client: &Client, after: Duration) {
        self.metrics.converged(client, after);
    }
}
