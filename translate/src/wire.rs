//! Protobuf written field by field, where building messages first would cost too much.
//!
//! Who writes keeps fields in ascending order and leaves defaults out, so that
//! the bytes equal those of the generated messages.

const VARINT: u8 = 0;
const LEN: u8 = 2;

/// Appends fields to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// What was written. It may be kept for long, so nothing is kept beyond it.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.0.shrink_to_fit();
        self.0
    }

    /// A number. Defaults are the caller's business: zero is written too.
    pub(crate) fn number(&mut self, field: u8, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    /// A text, or bytes.
    pub(crate) fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.key(field, LEN);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A nested message, written by `content`.
    pub(crate) fn message(&mut self, field: u8, content: impl FnOnce(&mut Self)) {
        self.key(field, LEN);
        // Most messages are short: one byte of length is kept free, and what
        // turns out longer is moved.
        let at = self.0.len();
        self.0.push(0);
        content(self);
        let len = self.0.len() - at - 1;
        let mut prefix = [0; 10];
        let used = encode_varint(len as u64, &mut prefix);
        if used > 1 {
            let end = self.0.len();
            self.0.resize(end + used - 1, 0);
            self.0.copy_within(at + 1..end, at + used);
        }
        self.0[at..at + used].copy_from_slice(&prefix[..used]);
    }

    fn key(&mut self, field: u8, wire_type: u8) {
        debug_assert!((1..=15).contains(&field), "larger field numbers need a longer key");
        self.0.push(field << 3 | wire_type);
    }

    fn varint(&mut self, value: u64) {
        let mut buffer = [0; 10];
        let used = encode_varint(value, &mut buffer);
        self.0.extend_from_slice(&buffer[..used]);
    }
}

/// Writes a base-128 number; returns how many bytes it took.
fn encode_varint(mut value: u64, out: &mut [u8; 10]) -> usize {
    let mut used = 0;
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        out[used] = if value == 0 { low } else { low | 0x80 };
        used += 1;
        if value == 0 {
            return used;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
    use mainstem_proto::google::protobuf::Any;
    use prost::Message as _;

    #[test]
    fn a_message_of_any_length_is_written_as_prost_writes_it() {
        for len in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 70_000] {
            let text = "x".repeat(len);
            let mut writer = Writer::default();
            writer.message(2, |out| out.bytes(3, text.as_bytes()));
            let inner = DataSource {
                specifier: Some(Specifier::InlineString(text)),
                ..DataSource::default()
            };
            let outer = Any { value: inner.encode_to_vec().into(), ..Any::default() };
            assert_eq!(writer.into_bytes(), outer.encode_to_vec());
        }
    }
}
