//! A client that sends what it likes.

use std::time::{Duration, Instant};

use fido_key::packet::{BROADCAST, Message, Packet, Report, command};
use fido_key::{Device, Gone, Handle};

/// How long an answer may take: generous, because a loaded machine is not a bug.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How long to look whether nothing comes.
pub(crate) const NOTHING: Duration = Duration::from_millis(150);

/// An open node, with a channel.
pub(crate) struct Client {
    pub(crate) handle: Handle,
    pub(crate) channel: u32,
    /// The octet of INIT's answer that says what the key can do.
    pub(crate) capabilities: u8,
}

impl Client {
    /// Opens the node and asks for a channel.
    pub(crate) fn open(key: &Device) -> Self {
        let mut client = Self { handle: key.open().expect("a key"), channel: BROADCAST, capabilities: 0 };
        let nonce = *b"sequence";
        client.send(command::INIT, &nonce);
        let answer = client.until(|message| message.command == command::INIT && message.payload.starts_with(&nonce));
        let [c0, c1, c2, c3, version, _, _, _, capabilities] = answer.payload[8..] else { panic!("{answer:?}") };
        assert_eq!(version, 2);
        client.channel = u32::from_be_bytes([c0, c1, c2, c3]);
        client.capabilities = capabilities;
        client
    }

    pub(crate) fn send(&self, command: u8, payload: &[u8]) {
        for report in self.message(command, payload).reports() {
            self.handle.send(report);
        }
    }

    pub(crate) fn message(&self, command: u8, payload: &[u8]) -> Message {
        Message { channel: self.channel, command, payload: payload.to_vec() }
    }

    /// Sends a CBOR message and returns the answer to it.
    pub(crate) fn cbor(&self, payload: &[u8]) -> Vec<u8> {
        self.send(command::CBOR, payload);
        self.answer()
    }

    /// The next message that is no keep-alive.
    pub(crate) fn answer(&self) -> Vec<u8> {
        self.until(|message| message.command != command::KEEPALIVE).payload
    }

    /// The next message on the own channel that is wanted.
    pub(crate) fn until(&self, wanted: impl Fn(&Message) -> bool) -> Message {
        let end = Instant::now() + SOON;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = self.next(left).expect("a key").expect("a message");
            if wanted(&message) {
                return message;
            }
        }
    }

    /// The next message on the own channel.
    pub(crate) fn next(&self, limit: Duration) -> Result<Option<Message>, Gone> {
        let mut message = None;
        let mut length = 0;
        while let Some(report) = self.report(limit)? {
            match Packet::parse(&report) {
                Packet::Initial { channel, command, length: all, data } => {
                    length = all;
                    message = Some(Message { channel, command, payload: data.to_vec() });
                }
                Packet::Continuation { data, .. } => {
                    message.as_mut().expect("a message that goes on").payload.extend(data);
                }
            }
            if let Some(message) = message.as_mut()
                && message.payload.len() >= length
            {
                message.payload.truncate(length);
                return Ok(Some(message.clone()));
            }
        }
        Ok(None)
    }

    /// The next report on the own channel.
    fn report(&self, limit: Duration) -> Result<Option<Report>, Gone> {
        loop {
            match self.handle.receive(limit)? {
                Some(report) if report.starts_with(&self.channel.to_be_bytes()) => return Ok(Some(report)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}
