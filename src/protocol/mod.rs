//! The agent protocol as bytes and as types: frames, requests, replies, keys and what the bytes to be signed are.
//!
//! Owns everything between the socket's octets and a typed request (RFC 9987 and OpenSSH's extensions).
//! Never does I/O, reads a clock or decides anything.

pub mod constraint;
pub mod destination;
pub mod frame;
pub mod key_file;
pub mod payload;
pub mod private_key;
pub mod prompts;
pub mod public_key;
pub mod reply;
pub mod request;
pub mod session_bind;
pub mod signature;
pub mod wire;

use std::borrow::Cow;

/// A request, key or constraint that is not what the protocol allows.
///
/// The text says what was wrong, for the log, on one line and shortly whatever the peer sent; the peer only ever sees a failure reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(Cow<'static, str>);

impl Malformed {
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(reason.into())
    }
}
