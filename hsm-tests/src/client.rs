//! A client that says anything, well-formed or not.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::wait::SOON;

/// A connection to an agent, one byte at a time if need be.
pub struct Client {
    stream: UnixStream,
}

/// Numbers of the agent protocol (RFC 9987 section 8.1).
impl Client {
    /// `SSH_AGENT_FAILURE`.
    pub const FAILURE: u8 = 5;
    /// `SSH_AGENT_SUCCESS`.
    pub const SUCCESS: u8 = 6;
    /// `SSH_AGENTC_REQUEST_IDENTITIES`.
    pub const LIST: u8 = 11;
    /// `SSH_AGENT_IDENTITIES_ANSWER`.
    pub const IDENTITIES: u8 = 12;
    /// `SSH_AGENTC_SIGN_REQUEST`.
    pub const SIGN: u8 = 13;
    /// `SSH_AGENT_SIGN_RESPONSE`.
    pub const SIGNATURE: u8 = 14;
    /// `SSH_AGENTC_ADD_IDENTITY`.
    pub const ADD: u8 = 17;
    /// `SSH_AGENTC_REMOVE_IDENTITY`.
    pub const REMOVE: u8 = 18;
    /// `SSH_AGENTC_REMOVE_ALL_IDENTITIES`.
    pub const REMOVE_ALL: u8 = 19;
    /// `SSH_AGENTC_LOCK`.
    pub const LOCK: u8 = 22;
    /// `SSH_AGENTC_UNLOCK`.
    pub const UNLOCK: u8 = 23;
    /// `SSH_AGENTC_ADD_ID_CONSTRAINED`.
    pub const ADD_CONSTRAINED: u8 = 25;
    /// `SSH_AGENTC_EXTENSION`.
    pub const EXTENSION: u8 = 27;
    /// `SSH_AGENT_EXTENSION_FAILURE`.
    pub const EXTENSION_FAILURE: u8 = 28;
    /// `SSH_AGENT_EXTENSION_RESPONSE`.
    pub const EXTENSION_RESPONSE: u8 = 29;
}

impl Client {
    /// Connects; an answer may take ten seconds.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        let stream =
            UnixStream::connect(socket).unwrap_or_else(|error| panic!("connect to {}: {error}", socket.display()));
        stream.set_read_timeout(Some(SOON)).expect("set a read timeout");
        stream.set_write_timeout(Some(SOON)).expect("set a write timeout");
        Self { stream }
    }

    /// How long an answer may take.
    pub fn patience(&mut self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).expect("set a read timeout");
    }

    /// Sends one frame: a length and the message.
    pub fn send(&mut self, message: &[u8]) {
        let length = u32::try_from(message.len()).expect("a message shorter than 4 GiB");
        self.send_raw(&[&length.to_be_bytes(), message].concat());
    }

    /// Sends bytes as they are. That the agent has hung up is no error here; [`Self::receive`] tells.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                panic!("send to the agent: {error}")
            }
            _ => {}
        }
    }

    /// Says that nothing more will be sent; answers may still be received.
    pub fn end_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shut down the sending side");
    }

    /// Receives one message; `None` when the agent has closed the connection.
    ///
    /// # Panics
    /// When nothing comes in time, or half a message.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        if !self.fill(&mut length) {
            return None;
        }
        let length = u32::from_be_bytes(length);
        assert!(length <= 256 * 1024, "the agent announces {length} bytes");
        let mut message = vec![0; length.try_into().expect("usize of at least 32 bits")];
        assert!(self.fill(&mut message), "the agent hung up within a message");
        Some(message)
    }

    /// Sends one message and receives the answer; `None` when the agent closes the connection instead.
    pub fn ask(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        self.send(message);
        self.receive()
    }

    /// The keys: blob and comment of each; `None` when the agent closes the connection instead.
    pub fn list(&mut self) -> Option<Vec<(Vec<u8>, String)>> {
        let answer = self.ask(&[Self::LIST])?;
        assert_eq!(answer.first(), Some(&Self::IDENTITIES), "answer to a list request");
        let mut fields = Fields::of(&answer[1..]);
        let count = fields.u32();
        let keys =
            (0..count).map(|_| (fields.string(), String::from_utf8_lossy(&fields.string()).into_owned())).collect();
        assert!(fields.rest().is_empty(), "bytes left over after {count} keys");
        Some(keys)
    }

    /// A signature blob; `None` when the agent refuses.
    pub fn sign(&mut self, key: &[u8], data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let answer = self
            .ask(&Body::new(Self::SIGN).string(key).string(data).u32(flags).bytes())
            .expect("an answer to a sign request");
        match answer.first() {
            Some(&Self::SIGNATURE) => Some(Fields::of(&answer[1..]).string()),
            Some(&Self::FAILURE) => None,
            other => panic!("answer {other:?} to a sign request"),
        }
    }

    /// Sends a request that is answered with success or failure.
    pub fn succeeds(&mut self, message: &[u8]) -> bool {
        match self.ask(message).expect("an answer").as_slice() {
            [Self::SUCCESS] => true,
            [Self::FAILURE, ..] => false,
            other => panic!("answer {other:?} to message {:?}", message.first()),
        }
    }

    /// Sends an extension request, whose failure has a number of its own.
    pub fn extends(&mut self, message: &[u8]) -> bool {
        match self.ask(message).expect("an answer").as_slice() {
            [Self::SUCCESS] => true,
            [Self::FAILURE | Self::EXTENSION_FAILURE] => false,
            other => panic!("answer {other:?} to message {:?}", message.first()),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read_exact(buffer) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => false,
            Err(error) => panic!("no answer from the agent: {error}"),
        }
    }
}

/// A message under construction, in the encodings of RFC 4251 section 5.
#[derive(Clone)]
pub struct Body(Vec<u8>);

impl Body {
    /// Begins with a message number.
    #[must_use]
    pub fn new(number: u8) -> Self {
        Self(vec![number])
    }

    /// Begins without a number: for what is inside a message.
    #[must_use]
    pub fn nothing() -> Self {
        Self(Vec::new())
    }

    /// Appends a length and bytes.
    #[must_use]
    pub fn string(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.u32(u32::try_from(bytes.len()).expect("a string shorter than 4 GiB")).raw(bytes)
    }

    /// Appends four bytes.
    #[must_use]
    pub fn u32(self, number: u32) -> Self {
        self.raw(&number.to_be_bytes())
    }

    /// Appends bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The message.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what [`Body`] writes. Missing bytes are a failed test.
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Begins at the first byte.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Takes four bytes.
    pub fn u32(&mut self) -> u32 {
        let (number, rest) = self.0.split_first_chunk().expect("four more bytes");
        self.0 = rest;
        u32::from_be_bytes(*number)
    }

    /// Takes a length and as many bytes.
    pub fn string(&mut self) -> Vec<u8> {
        let length = self.u32().try_into().expect("usize of at least 32 bits");
        let (bytes, rest) = self.0.split_at_checked(length).expect("as many bytes as announced");
        self.0 = rest;
        bytes.to_vec()
    }

    /// What was not taken.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}
