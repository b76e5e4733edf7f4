//! As much of HTTP/2 as one stream on a connection of its own needs.
//!
//! A general client would cost more than the server that is measured. This one
//! announces a window that no run fills, reads frames where they arrived, and
//! decodes no headers.

use std::collections::VecDeque;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const GRPC_HEAD: usize = 5;
const FRAME: usize = 16 << 10;
const WINDOW: u32 = (1 << 31) - 1;

mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RESET: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GO_AWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
}

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The stream ended, by word of the server.
#[derive(Debug)]
pub struct Ended;

/// One connection with one stream: bytes in, messages out, and back.
#[derive(Debug)]
pub struct Http2 {
    /// To be written.
    pub out: Vec<u8>,
    /// A frame that did not arrive whole.
    rest: Vec<u8>,
    /// A message that did not arrive whole.
    message: Vec<u8>,
    /// What the windows have no room for.
    waiting: VecDeque<u8>,
    connection_window: i64,
    stream_window: i64,
    initial_window: i64,
}

impl Http2 {
    /// Opens the stream of a method.
    pub fn open(path: &str) -> Http2 {
        let mut http2 = Http2 {
            out: PREFACE.to_vec(),
            rest: Vec::new(),
            message: Vec::new(),
            waiting: VecDeque::new(),
            connection_window: 65_535,
            stream_window: 65_535,
            initial_window: 65_535,
        };
        let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        settings.extend(WINDOW.to_be_bytes());
        http2.frame(kind::SETTINGS, 0, 0, &settings);
        http2.frame(kind::WINDOW_UPDATE, 0, 0, &(WINDOW - 65_535).to_be_bytes());
        http2.frame(kind::HEADERS, END_HEADERS, 1, &headers(path));
        http2
    }

    /// Sends one message.
    pub fn send(&mut self, message: &[u8]) {
        self.waiting.push_back(0);
        self.waiting.extend((message.len() as u32).to_be_bytes());
        self.waiting.extend(message);
        self.send_waiting();
    }

    /// Takes in what arrived, and hands over the messages that are whole.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&mut Self, &[u8]),
    ) -> Result<(), Ended> {
        if self.rest.is_empty() {
            let used = self.frames(bytes, &mut take)?;
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            let mut all = std::mem::take(&mut self.rest);
            all.extend_from_slice(bytes);
            let used = self.frames(&all, &mut take)?;
            all.drain(..used);
            self.rest = if all.is_empty() { Vec::new() } else { all };
        }
        Ok(())
    }

    fn frames(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(&mut Self, &[u8]),
    ) -> Result<usize, Ended> {
        let mut at = 0;
        while bytes.len() - at >= FRAME_HEAD {
            let head = &bytes[at..at + FRAME_HEAD];
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if bytes.len() - at < FRAME_HEAD + length {
                break;
            }
            let payload = &bytes[at + FRAME_HEAD..at + FRAME_HEAD + length];
            let on_stream = head[8] == 1;
            self.take_frame(head[3], head[4], on_stream, payload, take)?;
            at += FRAME_HEAD + length;
        }
        Ok(at)
    }

    fn take_frame(
        &mut self,
        kind: u8,
        flags: u8,
        on_stream: bool,
        payload: &[u8],
        take: &mut impl FnMut(&mut Self, &[u8]),
    ) -> Result<(), Ended> {
        match kind {
            kind::DATA => self.data(payload, take),
            kind::SETTINGS if flags & ACK == 0 => self.settings(payload),
            kind::PING if flags & ACK == 0 => self.frame(kind::PING, ACK, 0, payload),
            kind::WINDOW_UPDATE => {
                let more = i64::from(u32::from_be_bytes(payload.try_into().unwrap()));
                let window =
                    if on_stream { &mut self.stream_window } else { &mut self.connection_window };
                *window += more;
                self.send_waiting();
            }
            kind::RESET | kind::GO_AWAY => return Err(Ended),
            _ => {}
        }
        let ends = matches!(kind, kind::DATA | kind::HEADERS) && flags & END_STREAM != 0;
        if ends { Err(Ended) } else { Ok(()) }
    }

    fn data(&mut self, payload: &[u8], take: &mut impl FnMut(&mut Self, &[u8])) {
        if self.message.is_empty() && message_length(payload) == Some(payload.len()) {
            return take(self, &payload[GRPC_HEAD..]);
        }
        let mut all = std::mem::take(&mut self.message);
        all.extend_from_slice(payload);
        let mut at = 0;
        while let Some(length) = message_length(&all[at..]).filter(|l| all.len() - at >= *l) {
            take(self, &all[at + GRPC_HEAD..at + length]);
            at += length;
        }
        all.drain(..at);
        self.message = if all.is_empty() { Vec::new() } else { all };
    }

    fn settings(&mut self, payload: &[u8]) {
        for setting in payload.chunks_exact(6) {
            if u16::from_be_bytes([setting[0], setting[1]]) == INITIAL_WINDOW_SIZE {
                let size = u32::from_be_bytes(setting[2..].try_into().unwrap());
                self.stream_window += i64::from(size) - self.initial_window;
                self.initial_window = i64::from(size);
            }
        }
        self.frame(kind::SETTINGS, ACK, 0, &[]);
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        loop {
            let room = self.connection_window.min(self.stream_window).max(0) as usize;
            let length = self.waiting.len().min(room).min(FRAME);
            if length == 0 {
                return;
            }
            self.connection_window -= length as i64;
            self.stream_window -= length as i64;
            let payload: Vec<u8> = self.waiting.drain(..length).collect();
            self.frame(kind::DATA, 0, 1, &payload);
            if self.waiting.is_empty() {
                self.waiting = VecDeque::new();
            }
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        self.out.extend_from_slice(&[kind, flags]);
        self.out.extend_from_slice(&stream.to_be_bytes());
        self.out.extend_from_slice(payload);
    }
}

/// The length of the message that begins here, its head included.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(1..GRPC_HEAD)?;
    Some(GRPC_HEAD + u32::from_be_bytes(head.try_into().unwrap()) as usize)
}

/// A header block of literals and entries of the static table.
fn headers(path: &str) -> Vec<u8> {
    const POST: u8 = 0x83;
    const HTTP: u8 = 0x86;
    const AUTHORITY: u8 = 0x01;
    const PATH: u8 = 0x04;
    const CONTENT_TYPE: [u8; 2] = [0x0f, 0x10];
    let mut block = vec![POST, HTTP];
    let mut literal = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    };
    literal(&[PATH], path);
    literal(&[AUTHORITY], "mainstem");
    literal(&CONTENT_TYPE, "application/grpc");
    literal(b"\x00\x02te", "trailers");
    block
}
