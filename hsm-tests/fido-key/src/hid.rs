//! The device's side of CTAPHID (CTAP 2.1 section 11.2): channels, messages from packets, who is served.

use std::time::{Duration, Instant};

use crate::packet::{BROADCAST, HidError, LONGEST, Message, Packet, Report, command};

/// How long the rest of a message may take to come.
const REST: Duration = Duration::from_millis(500);
/// The only version of the protocol.
const PROTOCOL: u8 = 2;

/// What a key can do, as its answer to INIT says (CTAP 2.1 section 11.2.9.1.3).
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// CTAP2: CBOR messages.
    pub cbor: bool,
    /// U2F: raw messages.
    pub msg: bool,
}

impl Capabilities {
    const fn octet(self) -> u8 {
        0x01 | if self.cbor { 0x04 } else { 0 } | if self.msg { 0 } else { 0x08 }
    }
}

/// What is to be done about a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this.
    Send(Message),
    /// Have the firmware answer this, and call [`Hid::done`] with what it says.
    Run(Message),
    /// The command that runs is cancelled by its own channel.
    Cancel,
    /// The command that runs is given up, and its answer of no use to anybody.
    Abandon,
}

/// Channels, the message that is coming in, and the command that runs.
#[derive(Debug)]
pub struct Hid {
    capabilities: Capabilities,
    last_channel: u32,
    incoming: Option<Incoming>,
    running: Option<(u32, u8)>,
    lock: Option<(u32, Instant)>,
    /// Another application has the key, for as long as a test wants.
    serves_another: bool,
}

#[derive(Debug)]
struct Incoming {
    message: Message,
    length: usize,
    sequence: u8,
    since: Instant,
}

impl Hid {
    /// A key that has just got power.
    #[must_use]
    pub const fn new(capabilities: Capabilities) -> Self {
        Self { capabilities, last_channel: 0, incoming: None, running: None, lock: None, serves_another: false }
    }

    /// The channel and the command that the firmware is working on.
    #[must_use]
    pub const fn running(&self) -> Option<(u32, u8)> {
        self.running
    }

    /// A channel that nobody was given.
    #[must_use]
    pub const fn foreign_channel(&self) -> u32 {
        0x0bad_0000 | (self.last_channel + 1)
    }

    /// Has another application take or leave the key, of which nobody here sees the packets.
    pub const fn serve_another(&mut self, serves: bool) {
        self.serves_another = serves;
    }

    /// When [`tick`](Self::tick) wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.incoming.as_ref().map(|incoming| incoming.since + REST)
    }

    /// Gives up a message of which the rest does not come.
    pub fn tick(&mut self, now: Instant) -> Option<Action> {
        let late = self.incoming.take_if(|incoming| incoming.since + REST <= now)?;
        Some(Action::Send(Message::error(late.message.channel, HidError::Timeout)))
    }

    /// The answer of the firmware, as a message; `None` if nobody waits for it any more.
    pub fn done(&mut self, payload: Vec<u8>) -> Option<Message> {
        let (channel, command) = self.running.take()?;
        Some(Message { channel, command, payload })
    }

    /// Takes a packet in.
    pub fn take(&mut self, report: &Report, now: Instant) -> Vec<Action> {
        match Packet::parse(report) {
            Packet::Initial { channel, command: command::INIT, length, data } => {
                self.init(channel, data.get(..length), now)
            }
            Packet::Initial { channel, .. } if !self.is_allocated(channel) => refuse(channel, HidError::Channel),
            Packet::Initial { channel, command: command::CANCEL, .. } => match self.running {
                Some((running, command::CBOR)) if running == channel => vec![Action::Cancel],
                _ => Vec::new(),
            },
            Packet::Initial { channel, .. } if self.serves_another => refuse(channel, HidError::Busy),
            Packet::Initial { channel, .. } if self.is_busy_with_other_than(channel) => refuse(channel, HidError::Busy),
            Packet::Initial { channel, .. } if self.is_locked_to_other_than(channel, now) => {
                refuse(channel, HidError::Busy)
            }
            Packet::Initial { channel, .. } if self.incoming.take().is_some() => refuse(channel, HidError::Sequence),
            Packet::Initial { channel, .. } if self.running.is_some() => refuse(channel, HidError::Busy),
            Packet::Initial { channel, length, .. } if length > LONGEST => refuse(channel, HidError::Length),
            Packet::Initial { channel, command, length, data } => {
                let payload = data.iter().copied().take(length).collect();
                let message = Message { channel, command, payload };
                self.collect(Incoming { message, length, sequence: 0, since: now }, now)
            }
            Packet::Continuation { channel, sequence, data } => self.go_on(channel, sequence, data, now),
        }
    }

    fn init(&mut self, channel: u32, nonce: Option<&[u8]>, now: Instant) -> Vec<Action> {
        let Some(nonce @ [_, _, _, _, _, _, _, _]) = nonce else {
            return refuse(channel, HidError::Length);
        };
        let mut actions = Vec::new();
        let allocated = if channel == BROADCAST {
            self.last_channel += 1;
            self.last_channel
        } else if !self.is_allocated(channel) {
            return refuse(channel, HidError::Channel);
        } else {
            // The channel's owner begins anew, whatever was under way on it.
            self.incoming.take_if(|incoming| incoming.message.channel == channel);
            if self.running.take_if(|(running, _)| *running == channel).is_some() {
                actions.push(Action::Abandon);
            }
            self.lock.take_if(|(_, until)| *until <= now);
            channel
        };
        let mut payload = nonce.to_vec();
        payload.extend(allocated.to_be_bytes());
        payload.extend([PROTOCOL, 0, 1, 0, self.capabilities.octet()]);
        actions.push(Action::Send(Message { channel, command: command::INIT, payload }));
        actions
    }

    fn go_on(&mut self, channel: u32, sequence: u8, data: &[u8], now: Instant) -> Vec<Action> {
        // One that belongs to nothing is ignored.
        let Some(mut incoming) = self.incoming.take_if(|incoming| incoming.message.channel == channel) else {
            return Vec::new();
        };
        if sequence != incoming.sequence {
            return refuse(channel, HidError::Sequence);
        }
        incoming.sequence += 1;
        let missing = incoming.length - incoming.message.payload.len();
        incoming.message.payload.extend(data.iter().take(missing));
        self.collect(incoming, now)
    }

    fn collect(&mut self, incoming: Incoming, now: Instant) -> Vec<Action> {
        if incoming.message.payload.len() < incoming.length {
            self.incoming = Some(Incoming { since: now, ..incoming });
            return Vec::new();
        }
        self.whole(incoming.message, now)
    }

    fn whole(&mut self, message: Message, now: Instant) -> Vec<Action> {
        let channel = message.channel;
        match (message.command, message.payload.as_slice()) {
            (command::PING, _) => vec![Action::Send(message)],
            (command::WINK, []) => vec![Action::Send(message)],
            (command::LOCK, [seconds @ 0..=10]) => {
                self.lock = (*seconds > 0).then(|| (channel, now + Duration::from_secs(u64::from(*seconds))));
                vec![Action::Send(Message { payload: Vec::new(), ..message })]
            }
            (command::WINK | command::LOCK, _) | (command::CBOR | command::MSG, []) => {
                refuse(channel, HidError::Length)
            }
            (command::CBOR, _) if self.capabilities.cbor => self.run(message),
            (command::MSG, _) if self.capabilities.msg => self.run(message),
            _ => refuse(channel, HidError::Command),
        }
    }

    fn run(&mut self, message: Message) -> Vec<Action> {
        self.running = Some((message.channel, message.command));
        vec![Action::Run(message)]
    }

    const fn is_allocated(&self, channel: u32) -> bool {
        channel != 0 && channel <= self.last_channel
    }

    fn is_busy_with_other_than(&self, channel: u32) -> bool {
        let incoming = self.incoming.as_ref().map(|incoming| incoming.message.channel);
        incoming.or(self.running.map(|(running, _)| running)).is_some_and(|served| served != channel)
    }

    fn is_locked_to_other_than(&self, channel: u32, now: Instant) -> bool {
        self.lock.is_some_and(|(owner, until)| owner != channel && now < until)
    }
}

fn refuse(channel: u32, error: HidError) -> Vec<Action> {
    vec![Action::Send(Message::error(channel, error))]
}
