//! A TCP proxy that misbehaves on demand, in front of any server.

mod relay;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::background::Background;
use crate::claim::free_port;

/// What the proxy does to connections, those that are open included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: bytes pass.
    None,
    /// New connections are refused, open ones are cut.
    Refuse,
    /// Connections stay open and new ones are accepted, but nothing passes.
    BlackHole,
    /// Answers come this much later; requests pass at once.
    Delay(Duration),
    /// Each connection is cut after so many bytes of answers.
    CutAfter(u64),
}

/// Listens on a free port of loopback and passes everything to one server. Runs
/// on a thread of its own.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    orders: watch::Sender<Order>,
    applied: watch::Receiver<Order>,
    open: Arc<AtomicUsize>,
    _background: Background,
}

/// What is asked of the proxy; a new `cut` number ends all connections older
/// than it, a new `number` starts the counting of `CutAfter` afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    number: u64,
    cut: u64,
    fault: Fault,
}

impl FaultProxy {
    /// A proxy to `upstream`, passing everything until told otherwise.
    pub fn start(upstream: SocketAddr) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let first = Order { number: 0, cut: 0, fault: Fault::None };
        let (orders, incoming) = watch::channel(first);
        let (applying, applied) = watch::channel(first);
        let open = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&open);
        let background = Background::start(None, async move || {
            let listener = bind(address).await?;
            let server = Server { address, upstream, orders: incoming, applying, open: counter };
            Ok(server.run(listener))
        });
        Self { address, orders, applied, open, _background: background }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `https://ADDRESS`.
    pub fn https_url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Does this from now on; in force when it returns.
    pub async fn set(&self, fault: Fault) {
        self.order(|order| {
            order.fault = fault;
            order.cut += u64::from(fault == Fault::Refuse);
        })
        .await;
    }

    /// Cuts the connections that are open; new ones are treated as before.
    pub async fn cut(&self) {
        self.order(|order| order.cut += 1).await;
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    async fn order(&self, change: impl FnOnce(&mut Order)) {
        let mut number = 0;
        self.orders.send_modify(|order| {
            change(order);
            order.number += 1;
            number = order.number;
        });
        let mut applied = self.applied.clone();
        applied
            .wait_for(|order| order.number >= number)
            .await
            .expect("the proxy runs while its value lives");
    }
}

struct Server {
    address: SocketAddr,
    upstream: SocketAddr,
    orders: watch::Receiver<Order>,
    applying: watch::Sender<Order>,
    open: Arc<AtomicUsize>,
}

impl Server {
    async fn run(mut self, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            let order = *self.orders.borrow_and_update();
            listener = match (order.fault, listener) {
                (Fault::Refuse, _) => None,
                (_, None) => bind(self.address).await.ok(),
                (_, listener) => listener,
            };
            self.applying.send_replace(order);
            tokio::select! {
                changed = self.orders.changed() => if changed.is_err() { return },
                stream = accept(listener.as_ref()) => self.relay(stream),
            }
        }
    }

    fn relay(&self, client: TcpStream) {
        let (upstream, orders) = (self.upstream, self.orders.clone());
        let open = Open::count(&self.open);
        tokio::spawn(async move {
            relay::relay(client, upstream, orders).await;
            drop(open);
        });
    }
}

/// One open connection.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn count(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counter))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("listening on {address}: {error}"))
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
    }
}

#[cfg(test)]
mod tests;
