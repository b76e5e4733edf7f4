//! Requests in gRPC's framing, out of the body of an HTTP request.
//!
//! Written here since a gRPC library decodes messages through a buffer that belongs to
//! the stream and stays as large as its largest message: a stream that once asked for
//! a thousand names would keep that for its life. Whatever is allocated here dies with
//! the request that it was for.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use tonic::{Code, Status};

use super::connection::{Incoming, PREFIX};

/// The requests of one stream.
pub(super) struct Requests<R, B = Incoming> {
    body: B,
    /// The largest request that is taken, in bytes.
    limit: usize,
    /// What was read and belongs to the next request.
    begun: BytesMut,
    /// What was read last, of which nothing was looked at.
    read: Bytes,
    of: PhantomData<R>,
}

impl<R, B> Requests<R, B>
where
    R: prost::Message + Default,
    B: Body<Data = Bytes, Error = Status> + Unpin,
{
    /// The requests in a body, each of at most `limit` bytes.
    pub(super) fn new(body: B, limit: usize) -> Self {
        Self { body, limit, begun: BytesMut::new(), read: Bytes::new(), of: PhantomData }
    }

    /// The next request; `None` when the client asks for nothing more.
    pub(super) async fn message(&mut self) -> Result<Option<Box<R>>, Status> {
        poll_fn(|context| self.poll_message(context)).await
    }

    /// The same without a future.
    pub(super) fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Box<R>>, Status>> {
        loop {
            if let Some(request) = self.decode()? {
                return Poll::Ready(Ok(Some(request)));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => self.read = frame.into_data().unwrap_or_default(),
                // A client that cancels has left.
                Some(Err(status)) if status.code() == Code::Cancelled => {
                    return Poll::Ready(Ok(None));
                }
                Some(Err(status)) => return Poll::Ready(Err(status)),
                None if self.begun.is_empty() => return Poll::Ready(Ok(None)),
                None => {
                    let ended = Status::internal("the stream ended inside a request");
                    return Poll::Ready(Err(ended));
                }
            }
        }
    }

    /// The next request, if all of it was read. Most come in one piece, and are
    /// decoded where they are.
    fn decode(&mut self) -> Result<Option<Box<R>>, Status> {
        if self.begun.is_empty() && self.read.is_empty() {
            return Ok(None);
        }
        if self.begun.is_empty()
            && let Some(whole) = self.whole(&self.read)?
        {
            let mut message = self.read.split_to(whole);
            message.advance(PREFIX);
            return decoded(message);
        }
        self.begun.extend_from_slice(&std::mem::take(&mut self.read));
        let Some(whole) = self.whole(&self.begun)? else { return Ok(None) };
        let mut all = std::mem::take(&mut self.begun).freeze();
        let mut message = all.split_to(whole);
        self.read = all;
        message.advance(PREFIX);
        decoded(message)
    }

    /// The length of the request at the head, with its prefix, if it is all there.
    fn whole(&self, read: &[u8]) -> Result<Option<usize>, Status> {
        let Some((prefix, rest)) = read.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        if compressed != 0 {
            return Err(Status::unimplemented("compressed requests are not understood"));
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > self.limit {
            return Err(Status::out_of_range(format!(
                "a request of {length} bytes; at most {} are taken",
                self.limit
            )));
        }
        Ok((rest.len() >= length).then_some(PREFIX + length))
    }
}

/// Boxed, since it is passed on a few times and is large.
fn decoded<R: prost::Message + Default>(message: Bytes) -> Result<Option<Box<R>>, Status> {
    let mut request = Box::<R>::default();
    request
        .merge(message)
        .map(|()| Some(request))
        .map_err(|error| Status::invalid_argument(format!("decoding a request: {error}")))
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use mainstem_proto::envoy::service::discovery::v3::DiscoveryRequest;
    use pretty_assertions::assert_eq;
    use proptest::prelude::*;
    use prost::Message as _;

    use tonic::body::Body;

    use super::*;

    fn request(name: &str) -> DiscoveryRequest {
        DiscoveryRequest { type_url: name.to_owned(), ..DiscoveryRequest::default() }
    }

    fn framed(request: &DiscoveryRequest) -> Vec<u8> {
        let body = request.encode_to_vec();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[0][..], &length, &body].concat()
    }

    fn requests(chunks: Vec<Vec<u8>>, limit: usize) -> Requests<DiscoveryRequest, Body> {
        let frames = chunks.into_iter().map(|chunk| Ok::<_, Status>(Frame::data(chunk.into())));
        Requests::new(Body::new(StreamBody::new(stream::iter(frames))), limit)
    }

    #[tokio::test]
    async fn nothing_of_a_large_request_is_kept() {
        let large = request(&"x".repeat(100_000));
        let chunks = framed(&large).chunks(16_384).map(<[u8]>::to_vec).collect();
        let mut requests = requests(chunks, 1 << 20);
        assert_eq!(requests.message().await.unwrap(), Some(Box::new(large)));
        assert_eq!((requests.begun.capacity(), requests.read.len()), (0, 0));
        assert_eq!(requests.message().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused_before_it_is_read() {
        let refusal = async |bytes: &[u8]| {
            requests(vec![bytes.to_vec()], 1000).message().await.unwrap_err().code()
        };
        assert_eq!(refusal(&[0, 0, 0, 4, 0]).await, Code::OutOfRange);
        assert_eq!(refusal(&[1, 0, 0, 0, 1, 0]).await, Code::Unimplemented);
        assert_eq!(refusal(&[0, 0, 0, 0, 1, 0xff]).await, Code::InvalidArgument);
        assert_eq!(refusal(&[0, 0, 0, 0, 2, 0xff]).await, Code::Internal);
    }

    proptest! {
        #[test]
        fn requests_come_out_as_they_went_in_however_they_are_cut(
            names in prop::collection::vec("[a-z]{0,40}", 0..8),
            sizes in prop::collection::vec(1usize..30, 1..12),
        ) {
            let sent: Vec<_> = names.iter().map(|name| request(name)).collect();
            let mut bytes = &sent.iter().flat_map(framed).collect::<Vec<u8>>()[..];
            let mut chunks = Vec::new();
            for size in sizes.into_iter().cycle() {
                if bytes.is_empty() {
                    break;
                }
                let (chunk, rest) = bytes.split_at(size.min(bytes.len()));
                chunks.push(chunk.to_vec());
                bytes = rest;
            }
            let mut requests = requests(chunks, 1000);
            let received = futures::executor::block_on(async {
                let mut received = Vec::new();
                while let Some(request) = requests.message().await.unwrap() {
                    received.push(*request);
                }
                received
            });
            prop_assert_eq!(received, sent);
        }
    }
}
