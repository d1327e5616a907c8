//! The body of `session-bind@openssh.com` (OpenSSH PROTOCOL.agent section 1): a claim until its signature is verified.

use super::Malformed;
use super::wire::Reader;

/// The extension's name.
pub const NAME: &str = "session-bind@openssh.com";

/// What a client says about the session it speaks for.
#[derive(Debug, Clone, Copy)]
pub struct SessionBind<'a> {
    /// The server's host key or host certificate.
    pub host_key: &'a [u8],
    /// The SSH session identifier (RFC 4253 section 7.2).
    pub session_id: &'a [u8],
    /// The server's signature over the session identifier, from the key exchange.
    pub signature: &'a [u8],
    /// Whether the session is used to forward the agent rather than to authenticate.
    pub is_forwarding: bool,
}

impl<'a> SessionBind<'a> {
    /// Reads the extension's fields; octets after them are ignored, as in OpenSSH.
    pub fn parse(mut reader: Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            host_key: reader.string()?,
            session_id: reader.string()?,
            signature: reader.string()?,
            is_forwarding: reader.bool()?,
        })
    }
}
