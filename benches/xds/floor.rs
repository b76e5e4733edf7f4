//! The floor: a bare tonic server that sends encoded bytes to every stream and
//! counts what comes back, without reading it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use crate::observer::Tally;
use crate::{child, process};

#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// These messages, each in a file, are sent to each stream that opens.
    Greet(Vec<PathBuf>),
    /// Answered when so many streams are open.
    Await { streams: usize },
    /// This message to every stream, until so many answers came.
    Changes { rounds: usize, acks: usize, gap: Duration, message: PathBuf },
    /// What the process has used.
    Usage,
}

type Messages = mpsc::Sender<Result<Bytes, Status>>;

#[derive(Default)]
struct Shared {
    greeting: Mutex<Vec<Bytes>>,
    streams: Mutex<Vec<Messages>>,
    tally: Tally,
}

/// Runs until the driver is gone.
pub fn run() {
    process::pin(0);
    let runtime = mainstem::allocator::runtime().unwrap();
    runtime.block_on(serve());
}

async fn serve() {
    let shared = Arc::new(Shared::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = TcpListenerStream::new(listener);
    let service = Service(shared.clone());
    tokio::spawn(
        tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .serve_with_incoming(service, incoming),
    );
    child::reply(&address);
    let mut orders = child::orders();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Greet(files) => {
                let read = |file: PathBuf| Bytes::from(std::fs::read(file).unwrap());
                *shared.greeting.lock() = files.into_iter().map(read).collect();
                child::done();
            }
            Order::Await { streams } => {
                while shared.streams.lock().len() < streams {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                child::done();
            }
            Order::Changes { rounds, acks, gap, message } => {
                let message = Bytes::from(std::fs::read(message).unwrap());
                let change = |_| shared.fan_out(&message);
                child::reply(&shared.tally.rounds(rounds, acks, gap, change).await);
            }
            Order::Usage => child::reply(&process::usage()),
        }
    }
}

impl Shared {
    fn fan_out(&self, message: &Bytes) {
        self.streams.lock().retain(|stream| {
            self.tally.pushed(message.len());
            stream.try_send(Ok(message.clone())).is_ok()
        });
    }
}

#[derive(Clone)]
struct Service(Arc<Shared>);

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let open = Open(self.0.clone());
        Box::pin(async move {
            let mut grpc = Grpc::new(Raw).max_decoding_message_size(64 << 20);
            Ok(grpc.streaming(open, request).await)
        })
    }
}

struct Open(Arc<Shared>);

impl StreamingService<usize> for Open {
    type Response = Bytes;
    type ResponseStream = ReceiverStream<Result<Bytes, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<usize>>) -> Self::Future {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(stream(self.0.clone(), request.into_inner(), sender));
        ready(Ok(Response::new(ReceiverStream::new(receiver))))
    }
}

/// The first request opens the stream, all further ones are answers.
async fn stream(shared: Arc<Shared>, mut requests: Streaming<usize>, sender: Messages) {
    if !matches!(requests.message().await, Ok(Some(_))) {
        return;
    }
    shared.streams.lock().push(sender.clone());
    let greeting = shared.greeting.lock().clone();
    let greet = async {
        for message in greeting {
            if sender.send(Ok(message)).await.is_err() {
                return;
            }
        }
    };
    let hear = async {
        while let Ok(Some(_)) = requests.message().await {
            shared.tally.acked();
        }
    };
    tokio::join!(greet, hear);
}

/// Bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = usize;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let length = from.remaining();
        from.advance(length);
        Ok(Some(length))
    }
}
