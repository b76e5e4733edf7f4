//! The body of a request, of either HTTP.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tonic::Status;

/// The body of a request.
pub(in crate::server) enum Incoming {
    Http1(hyper::body::Incoming),
    Http2(h2::RecvStream),
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match &mut *self {
            Incoming::Http1(body) => {
                ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(|_| left()))
            }
            // Trailers of a request mean nothing here.
            Incoming::Http2(body) => ready!(body.poll_data(cx)).map(|data| {
                let data = data.map_err(|_| left())?;
                // What was read makes room for more; a stream that ended needs none.
                let _ = body.flow_control().release_capacity(data.len());
                Ok(Frame::data(data))
            }),
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Incoming::Http1(body) => body.is_end_stream(),
            Incoming::Http2(body) => body.is_end_stream(),
        }
    }
}

/// Whatever went wrong, nobody is there to be told.
fn left() -> Status {
    Status::cancelled("the client has left")
}
