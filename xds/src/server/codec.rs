//! The codec of methods with one answer: responses are encoded already.

use std::marker::PhantomData;

use bytes::BufMut;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::protocol::Message;

#[derive(Debug)]
pub(super) struct XdsCodec<R>(PhantomData<R>);

impl<R> Default for XdsCodec<R> {
    fn default() -> Self {
        XdsCodec(PhantomData)
    }
}

impl<R: prost::Message + Default + Send + 'static> Codec for XdsCodec<R> {
    type Encode = Message;
    type Decode = R;
    type Encoder = Encoded;
    type Decoder = Decoded<R>;

    fn encoder(&mut self) -> Encoded {
        Encoded
    }

    fn decoder(&mut self) -> Decoded<R> {
        Decoded(PhantomData)
    }
}

#[derive(Debug)]
pub(super) struct Encoded;

impl Encoder for Encoded {
    type Item = Message;
    type Error = Status;

    fn encode(&mut self, message: Message, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message.to_bytes());
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Decoded<R>(PhantomData<R>);

impl<R: prost::Message + Default> Decoder for Decoded<R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        R::decode(from)
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("decoding a request: {error}")))
    }
}
