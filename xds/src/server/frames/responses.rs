//! Responses, as the body of an HTTP response. A chunk dies when it is sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

use super::PREFIX;
use crate::protocol::{Message, Place};

/// The most that is copied at a time, in bytes. A connection keeps what it needs
/// to count chunks under way for its life, so they are few.
const CHUNK: usize = 64 << 10;

/// The messages of one stream.
pub(in crate::server) struct Responses<S> {
    messages: S,
    sending: Option<Sending>,
    ended: bool,
}

/// A message of which something is left to send.
struct Sending {
    message: Message,
    /// Whether the prefix was sent.
    begun: bool,
    /// What was sent, and whether something is left.
    place: Place,
    left: bool,
}

impl<S> Responses<S>
where
    S: Stream<Item = Result<Message, Status>> + Unpin + Send + 'static,
{
    /// The response that carries these messages. The next is asked for when the
    /// connection has taken the one before.
    pub(in crate::server) fn response(messages: S) -> Response<Body> {
        let frames = Self { messages, sending: None, ended: false };
        let mut response = Response::new(Body::new(frames));
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(header::CONTENT_TYPE, grpc);
        response
    }

    /// The next chunk of the message under way.
    fn chunk(&mut self) -> Option<Bytes> {
        let sending = self.sending.as_mut()?;
        let chunk = sending.chunk();
        if !sending.left {
            self.sending = None;
        }
        Some(chunk)
    }

    /// The status, as trailers.
    fn end(&mut self, status: &Status) -> Result<Frame<Bytes>, Status> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Ok(Frame::trailers(trailers))
    }
}

impl Sending {
    fn new(message: Message) -> Self {
        Self { message, begun: false, place: Place::default(), left: true }
    }

    fn chunk(&mut self) -> Bytes {
        let most = CHUNK.min(PREFIX + self.message.len());
        let mut out = BytesMut::with_capacity(most);
        if !std::mem::replace(&mut self.begun, true) {
            out.put_u8(0);
            out.put_u32(u32::try_from(self.message.len()).unwrap_or(u32::MAX));
        }
        self.left = self.message.copy(&mut self.place, &mut out, most);
        out.freeze()
    }
}

impl<S> http_body::Body for Responses<S>
where
    S: Stream<Item = Result<Message, Status>> + Unpin + Send + 'static,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(chunk) = self.chunk() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match std::task::ready!(Pin::new(&mut self.messages).poll_next(context)) {
                Some(Ok(message)) => self.sending = Some(Sending::new(message)),
                Some(Err(status)) => return Poll::Ready(Some(self.end(&status))),
                None => return Poll::Ready(Some(self.end(&Status::ok("")))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::stream;
    use http_body_util::BodyExt;
    use mainstem_proto::Encoded;
    use mainstem_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
    use pretty_assertions::assert_eq;
    use prost::Message as _;

    use super::*;
    use crate::names::TypeUrl;
    use crate::resource::Resource;
    use crate::version::Version;

    fn message(bytes: &[u8]) -> Message {
        let mut message = Message::default();
        message.write(|out| out.extend_from_slice(bytes));
        message
    }

    async fn sent(messages: Vec<Result<Message, Status>>) -> (Vec<Bytes>, HeaderMap) {
        let mut body = Responses::response(stream::iter(messages)).into_body();
        let (mut chunks, mut trailers) = (Vec::new(), HeaderMap::new());
        while let Some(frame) = body.frame().await {
            match frame.unwrap().into_data() {
                Ok(data) => chunks.push(data),
                Err(frame) => trailers = frame.into_trailers().unwrap(),
            }
        }
        (chunks, trailers)
    }

    #[tokio::test]
    async fn messages_follow_each_other_with_their_lengths_and_the_status_ends_them() {
        let messages = [&b"abc"[..], b"", b"d"].map(|bytes| Ok(message(bytes)));
        let (chunks, trailers) = sent(messages.into()).await;
        let expected: [&[u8]; 3] = [b"\0\0\0\0\x03abc", b"\0\0\0\0\0", b"\0\0\0\0\x01d"];
        assert_eq!(chunks, expected);
        assert_eq!(trailers.get("grpc-status").unwrap(), "0");
        let (chunks, trailers) = sent(vec![Err(Status::unavailable("later"))]).await;
        assert!(chunks.is_empty());
        assert_eq!(trailers.get("grpc-status").unwrap(), "14");
        assert_eq!(trailers.get("grpc-message").unwrap(), "later");
    }

    #[tokio::test]
    async fn a_large_message_comes_in_chunks_and_whole() {
        let mut message = Message::default();
        let body = |n: u8| Encoded::of_parts(vec![Bytes::from(vec![n; 5_000 * usize::from(n)]); 2]);
        for n in 0..9 {
            let resource = Resource::with_version(&TypeUrl::CLUSTER, "c", Version(0), body(n));
            message.push(Arc::new(resource));
        }
        let len = u32::try_from(message.len()).unwrap();
        let (chunks, _) = sent(vec![Ok(message)]).await;
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK));
        let all = chunks.concat();
        assert_eq!(all[1..PREFIX], len.to_be_bytes());
        let decoded = DeltaDiscoveryResponse::decode(&all[PREFIX..]).unwrap();
        let bodies = decoded.resources.into_iter().map(|one| one.resource.unwrap().value);
        assert!(bodies.eq((0..9).map(|n| body(n).to_bytes())));
    }
}
