//! Packets and messages of CTAPHID (CTAP 2.1 section 11.2.4): 64-octet reports in, 64-octet reports out.

/// One HID report, without the report number that hidraw puts in front of what is written.
pub type Report = [u8; REPORT];
/// The length of a report, in octets.
pub const REPORT: usize = 64;
/// The longest payload that fits into one message: 57 octets and 128 times 59.
pub const LONGEST: usize = 57 + 128 * 59;
/// The channel on which channels are asked for.
pub const BROADCAST: u32 = 0xffff_ffff;

/// Commands (CTAP 2.1 section 11.2.9), with the bit that marks an initial packet.
pub mod command {
    #![allow(missing_docs, reason = "the names are those of the specification")]
    pub const PING: u8 = 0x81;
    pub const MSG: u8 = 0x83;
    pub const LOCK: u8 = 0x84;
    pub const INIT: u8 = 0x86;
    pub const WINK: u8 = 0x88;
    pub const CBOR: u8 = 0x90;
    pub const CANCEL: u8 = 0x91;
    pub const KEEPALIVE: u8 = 0xbb;
    pub const ERROR: u8 = 0xbf;
}

/// What an ERROR message says (CTAP 2.1 section 11.2.9.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HidError {
    /// The command is not known.
    Command = 0x01,
    /// The length is not one that the command can have.
    Length = 0x03,
    /// A continuation packet out of order.
    Sequence = 0x04,
    /// The rest of a message did not come in time.
    Timeout = 0x05,
    /// Another channel is being served.
    Busy = 0x06,
    /// No such channel.
    Channel = 0x0b,
}

/// A report taken apart.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The first of a message.
    Initial {
        /// The channel.
        channel: u32,
        /// The command, with its highest bit set.
        command: u8,
        /// The length of the whole payload.
        length: usize,
        /// The first octets of the payload, and padding.
        data: &'a [u8],
    },
    /// A later one.
    Continuation {
        /// The channel.
        channel: u32,
        /// The number of the packet, from 0.
        sequence: u8,
        /// The next octets of the payload, and padding.
        data: &'a [u8],
    },
}

impl<'a> Packet<'a> {
    /// Every report is a packet.
    #[must_use]
    pub fn parse(report: &'a Report) -> Self {
        let [c0, c1, c2, c3, kind, high, low, ..] = *report;
        let channel = u32::from_be_bytes([c0, c1, c2, c3]);
        if kind & 0x80 == 0 {
            return Self::Continuation { channel, sequence: kind, data: &report[5..] };
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        Self::Initial { channel, command: kind, length, data: &report[7..] }
    }
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The channel.
    pub channel: u32,
    /// The command, with its highest bit set.
    pub command: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Message {
    /// An ERROR message.
    #[must_use]
    pub fn error(channel: u32, error: HidError) -> Self {
        Self { channel, command: command::ERROR, payload: vec![error as u8] }
    }

    /// The message in reports.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.reports_announcing(self.payload.len())
    }

    /// The message in reports of which the first announces `length` octets, whatever there is.
    #[must_use]
    pub fn reports_announcing(&self, length: usize) -> Vec<Report> {
        let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        let (first, rest) = self.payload.split_at(self.payload.len().min(57));
        let mut reports = vec![self.report(&[self.command, length[0], length[1]], first)];
        for (sequence, part) in (0..=0x7f).zip(rest.chunks(59)) {
            reports.push(self.report(&[sequence], part));
        }
        reports
    }

    fn report(&self, head: &[u8], data: &[u8]) -> Report {
        let mut report = [0; REPORT];
        let octets = self.channel.to_be_bytes().into_iter().chain(head.iter().copied()).chain(data.iter().copied());
        for (place, octet) in report.iter_mut().zip(octets) {
            *place = octet;
        }
        report
    }
}
