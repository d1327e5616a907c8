//! A client of an agent, with nothing between its requests but the socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::keys::Key;
use crate::load::{Client, MESSAGES};
use crate::wire::{put, take};

const SSH_AGENTC_REQUEST_IDENTITIES: u8 = 11;
const SSH_AGENT_IDENTITIES_ANSWER: u8 = 12;
const SSH_AGENTC_SIGN_REQUEST: u8 = 13;

/// A connection and the requests it will send, already encoded.
pub(crate) struct AgentClient {
    connection: UnixStream,
    /// Where to connect anew for each request.
    anew: Option<PathBuf>,
    requests: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

impl AgentClient {
    /// A client that asks for signatures with `key` over its login data.
    ///
    /// # Errors
    ///
    /// The agent does not take the connection.
    pub(crate) fn signing(socket: &Path, key: &Key) -> Result<Self> {
        let request = |number: usize| sign_request(key, &key.login_data(number as u8));
        Self::sending(socket, (0..MESSAGES).map(request).collect())
    }

    /// The same client with a connection of its own for each request.
    pub(crate) fn reconnecting(mut self, socket: &Path) -> Self {
        self.anew = Some(socket.to_owned());
        self
    }

    /// A client that asks for the list of keys.
    ///
    /// # Errors
    ///
    /// The agent does not take the connection.
    pub(crate) fn listing(socket: &Path) -> Result<Self> {
        Self::sending(socket, vec![frame(&[SSH_AGENTC_REQUEST_IDENTITIES]); MESSAGES])
    }

    fn sending(socket: &Path, requests: Vec<Vec<u8>>) -> Result<Self> {
        Ok(Self { connection: UnixStream::connect(socket)?, anew: None, requests, buffer: vec![0; 1 << 18] })
    }
}

impl Client for AgentClient {
    fn ask(&mut self, message: usize, answer: &mut Vec<u8>) -> Result<()> {
        if let Some(socket) = &self.anew {
            self.connection = UnixStream::connect(socket)?;
        }
        self.connection.write_all(&self.requests[message])?;
        let mut filled = 0;
        loop {
            let (length, body) = self.buffer[..filled].split_first_chunk().unwrap_or((&[0xff; 4], &[]));
            let length = u32::from_be_bytes(*length) as usize;
            if body.len() == length {
                answer.extend(body);
                return Ok(());
            }
            match self.connection.read(&mut self.buffer[filled..])? {
                0 => return Err("the agent closed the connection".into()),
                read => filled += read,
            }
        }
    }
}

/// The keys in an agent's list, each with its comment (RFC 9987 section 5.5).
pub(crate) fn identities(reply: &[u8]) -> Result<Vec<(Vec<u8>, String)>> {
    let mut body = match reply.split_first() {
        Some((&SSH_AGENT_IDENTITIES_ANSWER, body)) => body,
        _ => {
            return Err(format!("the agent answered a list request with {:?}", reply.first()).into());
        }
    };
    let count = body.split_off(..4).ok_or("a list ends too early")?;
    let count = u32::from_be_bytes(count.try_into()?);
    let mut field = || take(&mut body).ok_or("a list ends too early");
    let identity = |_| Ok((field()?.to_vec(), String::from_utf8_lossy(field()?).into_owned()));
    (0..count).map(identity).collect()
}

fn sign_request(key: &Key, data: &[u8]) -> Vec<u8> {
    let mut body = vec![SSH_AGENTC_SIGN_REQUEST];
    put(&mut body, &key.blob);
    put(&mut body, data);
    body.extend(key.kind.flags().to_be_bytes());
    frame(&body)
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    put(&mut message, body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_blobs_and_comments() {
        let mut reply = vec![12, 0, 0, 0, 1];
        put(&mut reply, b"blob");
        put(&mut reply, b"comment");
        assert_eq!(identities(&reply).unwrap(), [(b"blob".to_vec(), "comment".to_owned())]);
        identities(&reply[..10]).unwrap_err();
        identities(&[5]).unwrap_err();
    }
}
