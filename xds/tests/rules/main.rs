//! The rules of the protocol over a socket, by their numbers: what a client
//! sees. The state machines have tests of the same names for what only they show.
//!
//! Answers are written `CDS a=1 -b`: type, resources with their bodies, removals;
//! SotW has bodies alone. That there is no answer is shown by a fence: the answer
//! to a request for something else, sent afterwards, comes next.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod client;
mod delta;
mod order;
mod sotw;
mod table;
