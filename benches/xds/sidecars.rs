//! The proxies: all in one process on one core, each with a connection of its own.

mod http2;
mod proxy;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use prost::Message as _;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, LocalSet};

use self::http2::Http2;
pub use self::proxy::Protocol;
use self::proxy::{Proxy, Shared};
use crate::world::Proxies;
use crate::{child, process};

/// Connections being opened at a time: a listener's queue holds so many.
const OPENING: usize = 256;
const READ: usize = 256 << 10;

#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Connects a set of proxies; answered when they are warm, or just open.
    Connect {
        set: String,
        address: SocketAddr,
        protocol: Protocol,
        proxies: Proxies,
        count: usize,
        warm: bool,
        /// Whose answers theirs shall be as large as, of another set.
        like: Option<String>,
    },
    /// Connects a set again, each proxy with what it holds; answered when
    /// nothing has arrived for a second.
    Reconnect { set: String },
    /// Ends the connections of a set.
    Disconnect { set: String },
    /// What all proxies of a set have received so far.
    Received { set: String },
    /// What each proxy of a set holds of load assignments.
    Digests { set: String },
    /// Writes what the first proxy of a set has been sent into files, and
    /// forgets it.
    Record { set: String, into: PathBuf },
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Connected {
    /// Until the last was warm.
    pub took: Duration,
    pub received: Received,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Received {
    pub messages: usize,
    /// On the wire, HTTP/2 included.
    pub bytes: u64,
    /// Streams that the server ended.
    pub lost: usize,
}

/// Runs until the driver is gone.
pub fn run() {
    process::pin(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, obey());
}

async fn obey() {
    tokio::task::spawn_local(stay_awake());
    let mut fleet = Fleet::default();
    child::done();
    let mut orders = child::orders();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Connect { set, address, protocol, proxies, count, warm, like } => {
                let all = (0..count).map(|n| {
                    let node = proxies.node(n).encode_to_vec();
                    Rc::new(RefCell::new(Proxy::new(protocol, node)))
                });
                let all: Vec<_> = all.collect();
                if let Some(like) = like {
                    let theirs = &fleet.sets[&like].proxies;
                    for (one, other) in all.iter().zip(theirs) {
                        one.borrow_mut().answer_like(&other.borrow());
                    }
                }
                let shared = fleet.shared.clone();
                let set = fleet.add(set, address, all);
                child::reply(&set.connect(&shared, warm).await);
            }
            Order::Reconnect { set } => {
                let set = fleet.sets.get_mut(&set).unwrap();
                set.counts = Rc::default();
                let mut connected = set.connect(&fleet.shared, false).await;
                connected.received = set.settle().await;
                child::reply(&connected);
            }
            Order::Disconnect { set } => {
                fleet.sets.get_mut(&set).unwrap().disconnect();
                child::done();
            }
            Order::Received { set } => child::reply(&fleet.sets[&set].counts.received.get()),
            Order::Digests { set } => child::reply(&fleet.digests(&set)),
            Order::Record { set, into } => {
                let recorded = fleet.sets[&set].counts.recorded.take();
                let files = recorded.iter().enumerate().map(|(n, message)| {
                    let file = into.join(format!("{n}.message"));
                    std::fs::write(&file, message).unwrap();
                    file
                });
                child::reply(&files.collect::<Vec<_>>());
            }
        }
    }
}

/// Keeps this core from sleeping: waking it would be the work of whoever sends,
/// and in a mesh proxies sleep elsewhere.
async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

/// All proxies.
#[derive(Default)]
struct Fleet {
    shared: Rc<RefCell<Shared>>,
    sets: BTreeMap<String, Set>,
}

/// Proxies of one server.
struct Set {
    address: SocketAddr,
    proxies: Vec<Rc<RefCell<Proxy>>>,
    connections: Vec<JoinHandle<()>>,
    counts: Rc<Counts>,
}

#[derive(Default)]
struct Counts {
    received: Cell<Received>,
    open: Cell<usize>,
    warm: Cell<usize>,
    /// Something was counted.
    more: Notify,
    recorded: RefCell<Vec<Vec<u8>>>,
}

impl Fleet {
    fn add(
        &mut self,
        name: String,
        address: SocketAddr,
        proxies: Vec<Rc<RefCell<Proxy>>>,
    ) -> &mut Set {
        let set = Set { address, proxies, connections: Vec::new(), counts: Rc::default() };
        if let Some(mut old) = self.sets.insert(name.clone(), set) {
            old.disconnect();
        }
        self.sets.get_mut(&name).unwrap()
    }

    fn digests(&self, set: &str) -> Vec<String> {
        const ENDPOINTS: usize = 1;
        let shared = self.shared.borrow();
        let digests = self.sets[set]
            .proxies
            .iter()
            .map(|proxy| format!("{:032x}", proxy.borrow().digest(ENDPOINTS, &shared)));
        digests.collect()
    }
}

impl Set {
    async fn connect(&mut self, shared: &Rc<RefCell<Shared>>, warm: bool) -> Connected {
        let start = Instant::now();
        let turns = Rc::new(Semaphore::new(OPENING));
        for (n, proxy) in self.proxies.iter().enumerate() {
            let connection = Connection {
                proxy: proxy.clone(),
                shared: shared.clone(),
                counts: self.counts.clone(),
                recorded: n == 0,
                warm: false,
            };
            let run = connection.run(self.address, turns.clone());
            self.connections.push(tokio::task::spawn_local(run));
        }
        let counts = &self.counts;
        let reached = if warm { &counts.warm } else { &counts.open };
        while reached.get() < self.proxies.len() {
            counts.more.notified().await;
            assert_eq!(counts.received.get().lost, 0, "the server ended streams");
        }
        Connected { took: start.elapsed(), received: counts.received.get() }
    }

    /// Waits until nothing has arrived for a second.
    async fn settle(&self) -> Received {
        loop {
            let before = self.counts.received.get();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.counts.received.get();
            if now.bytes == before.bytes {
                return now;
            }
        }
    }

    fn disconnect(&mut self) {
        self.connections.drain(..).for_each(|connection| connection.abort());
    }
}

/// One connection of one proxy.
struct Connection {
    proxy: Rc<RefCell<Proxy>>,
    shared: Rc<RefCell<Shared>>,
    counts: Rc<Counts>,
    /// Whether to keep what is received.
    recorded: bool,
    warm: bool,
}

thread_local! {
    /// All connections read into this one; what is left over is theirs to keep.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

impl Connection {
    async fn run(mut self, address: SocketAddr, turns: Rc<Semaphore>) {
        let turn = turns.acquire().await.unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        drop(turn);
        let mut http2 = Http2::open(self.proxy.borrow().path());
        let first = self.proxy.borrow_mut().open(&mut self.shared.borrow_mut());
        first.iter().for_each(|message| http2.send(message));
        self.flush(&stream, &mut http2);
        self.counts.open.set(self.counts.open.get() + 1);
        self.counts.more.notify_one();
        while self.serve(&stream, &mut http2).await {}
        let received = self.counts.received.get();
        self.counts.received.set(Received { lost: received.lost + 1, ..received });
        self.counts.more.notify_one();
    }

    /// Reads and writes once; returns whether the connection is still open.
    async fn serve(&mut self, stream: &TcpStream, http2: &mut Http2) -> bool {
        let interest = if http2.out.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        let Ok(ready) = stream.ready(interest).await else { return false };
        if ready.is_readable() {
            let open = BUFFER.with_borrow_mut(|buffer| match stream.try_read(buffer) {
                Ok(0) => false,
                Ok(length) => self.receive(&buffer[..length], http2),
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            });
            if !open {
                return false;
            }
        }
        self.flush(stream, http2)
    }

    fn receive(&mut self, bytes: &[u8], http2: &mut Http2) -> bool {
        let mut received = self.counts.received.get();
        received.bytes += bytes.len() as u64;
        let ended = http2.receive(bytes, |http2, message| {
            received.messages += 1;
            if self.recorded {
                self.counts.recorded.borrow_mut().push(message.to_vec());
            }
            let mut proxy = self.proxy.borrow_mut();
            for answer in proxy.take(message, &mut self.shared.borrow_mut()) {
                http2.send(&answer);
            }
        });
        self.counts.received.set(received);
        if !self.warm && self.proxy.borrow().warm {
            self.warm = true;
            self.counts.warm.set(self.counts.warm.get() + 1);
            self.counts.more.notify_one();
        }
        ended.is_ok()
    }

    fn flush(&self, stream: &TcpStream, http2: &mut Http2) -> bool {
        while !http2.out.is_empty() {
            match stream.try_write(&http2.out) {
                Ok(length) => drop(http2.out.drain(..length)),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }
}
