//! One channel of CTAPHID (CTAP 2.1 section 11.2): which of the reports that a device sends are an answer to what was written here.
//!
//! Every process that has the device open sees every report. Pure: no descriptor, no clock.

/// The length of a report, in octets, without the report number.
pub const REPORT: usize = 64;
/// One report.
pub type Report = [u8; REPORT];

const BROADCAST: [u8; 4] = [0xff; 4];
const INIT: u8 = 0x86;
const CBOR: u8 = 0x90;
const CANCEL: u8 = 0x91;
const KEEPALIVE: u8 = 0xbb;
const ERROR: u8 = 0xbf;
const IS_FIRST: u8 = 0x80;
/// `CTAPHID_KEEPALIVE` status: waiting for user presence.
const USER_PRESENCE_NEEDED: u8 = 2;
/// `ERR_CHANNEL_BUSY`
const BUSY: u8 = 0x06;
const FIRST_PAYLOAD: usize = REPORT - 7;
const NEXT_PAYLOAD: usize = REPORT - 5;
/// One first report and 128 more (section 11.2.4).
const LONGEST_MESSAGE: usize = FIRST_PAYLOAD + 128 * NEXT_PAYLOAD;

/// What a report means for this channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is another application's, or an answer that nobody waits for any more.
    Foreign,
    /// The device is alive and at work.
    Waiting {
        /// It waits for a touch.
        for_touch: bool,
    },
    /// Part of the answer.
    Answer {
        /// The whole answer is here with it.
        is_last: bool,
        /// The status octet of a CBOR answer, in its first report.
        status: Option<u8>,
    },
    /// The device serves another channel now; the message is to be repeated.
    Busy,
    /// The device refused the message (section 11.2.9.1.6).
    Refused(u8),
    /// What no device that keeps to the standard sends.
    Garbled,
}

/// A channel, and the message that is under way on it.
#[derive(Debug, Default)]
pub struct Channel {
    id: Option<[u8; 4]>,
    message: Vec<Report>,
    awaited: Awaited,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    #[default]
    Nothing,
    First,
    Next {
        sequence: u8,
        left: usize,
    },
}

impl Channel {
    /// Takes note of a report that is written.
    pub fn sent(&mut self, report: Report) {
        if report[4] & IS_FIRST != 0 {
            self.message.clear();
        }
        self.message.push(report);
        self.awaited = Awaited::First;
    }

    /// Judges a report that was read.
    pub fn heard(&mut self, report: &Report) -> Heard {
        match self.message.first() {
            Some(sent) if self.awaited == Awaited::First && sent[..4] == BROADCAST => {
                if report[..4] == BROADCAST && report[4] == ERROR && report[7] == BUSY {
                    return Heard::Busy;
                }
                // The answer comes to all; whose it is the nonce tells.
                if report[..4] != BROADCAST || report[4] != INIT || report[7..15] != sent[7..15] {
                    return Heard::Foreign;
                }
                self.id = report[15..19].try_into().ok();
                self.awaited = Awaited::Nothing;
                Heard::Answer { is_last: true, status: None }
            }
            Some(sent) if self.awaited != Awaited::Nothing && self.id.is_some_and(|id| id == report[..4]) => {
                let command = sent[4];
                self.own(command, report)
            }
            _ => Heard::Foreign,
        }
    }

    /// The report that withdraws the command under way, if there is one that can be withdrawn.
    pub fn cancellation(&self) -> Option<Report> {
        let command = self.message.first()?[4];
        let id = self.id.filter(|_| command == CBOR && self.awaited != Awaited::Nothing)?;
        let mut report = [0; REPORT];
        report[..4].copy_from_slice(&id);
        report[4] = CANCEL;
        Some(report)
    }

    /// The message under way, to be written once more.
    pub fn message(&self) -> &[Report] {
        &self.message
    }

    fn own(&mut self, command: u8, report: &Report) -> Heard {
        match (self.awaited, report[4]) {
            (_, ERROR) if report[7] == BUSY => Heard::Busy,
            (_, ERROR) => {
                self.awaited = Awaited::Nothing;
                Heard::Refused(report[7])
            }
            (Awaited::First, KEEPALIVE) => Heard::Waiting { for_touch: report[7] == USER_PRESENCE_NEEDED },
            (Awaited::First, answered) if answered == command => {
                let length = usize::from(u16::from_be_bytes([report[5], report[6]]));
                if length > LONGEST_MESSAGE || (command == CBOR && length == 0) {
                    return Heard::Garbled;
                }
                self.awaited = match length.checked_sub(FIRST_PAYLOAD) {
                    None | Some(0) => Awaited::Nothing,
                    Some(left) => Awaited::Next { sequence: 0, left },
                };
                Heard::Answer {
                    is_last: self.awaited == Awaited::Nothing,
                    status: (command == CBOR).then_some(report[7]),
                }
            }
            (Awaited::Next { sequence, left }, number) if number == sequence => {
                self.awaited = match left.checked_sub(NEXT_PAYLOAD) {
                    None | Some(0) => Awaited::Nothing,
                    Some(left) => Awaited::Next { sequence: sequence.wrapping_add(1), left },
                };
                Heard::Answer { is_last: self.awaited == Awaited::Nothing, status: None }
            }
            _ => Heard::Garbled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 4] = [1, 2, 3, 4];

    fn report(channel: [u8; 4], command: u8, length: u16, payload: &[u8]) -> Report {
        let mut report = [0; REPORT];
        report[..4].copy_from_slice(&channel);
        report[4] = command;
        report[5..7].copy_from_slice(&length.to_be_bytes());
        report[7..7 + payload.len()].copy_from_slice(payload);
        report
    }

    fn opened() -> Channel {
        let mut channel = Channel::default();
        channel.sent(report(BROADCAST, INIT, 8, b"mynonce!"));
        let heard = channel.heard(&report(BROADCAST, INIT, 17, b"mynonce!\x01\x02\x03\x04"));
        assert_eq!(heard, Heard::Answer { is_last: true, status: None });
        channel
    }

    #[test]
    fn an_answer_to_another_applications_init_is_not_taken() {
        let mut channel = Channel::default();
        channel.sent(report(BROADCAST, INIT, 8, b"mynonce!"));
        assert_eq!(channel.heard(&report(BROADCAST, INIT, 17, b"another!\x09\x09\x09\x09")), Heard::Foreign);
        assert_eq!(channel.heard(&report(OWN, KEEPALIVE, 1, &[2])), Heard::Foreign);
    }

    #[test]
    fn a_device_that_is_too_busy_for_a_channel_is_asked_for_one_again() {
        let mut channel = Channel::default();
        channel.sent(report(BROADCAST, INIT, 8, b"mynonce!"));
        assert_eq!(channel.heard(&report(BROADCAST, ERROR, 1, &[BUSY])), Heard::Busy);
        assert_eq!(
            channel.heard(&report(BROADCAST, ERROR, 1, &[3])),
            Heard::Foreign,
            "whose message that is nobody can tell"
        );
        let heard = channel.heard(&report(BROADCAST, INIT, 17, b"mynonce!\x01\x02\x03\x04"));
        assert_eq!(heard, Heard::Answer { is_last: true, status: None });
    }

    #[test]
    fn reports_of_another_channel_are_dropped_in_the_midst_of_an_answer() {
        let mut channel = opened();
        channel.sent(report(OWN, CBOR, 1, &[4]));
        assert_eq!(channel.heard(&report([9; 4], CBOR, 1, &[0])), Heard::Foreign);
        assert_eq!(channel.heard(&report(OWN, KEEPALIVE, 1, &[2])), Heard::Waiting { for_touch: true });
        assert_eq!(channel.heard(&report(OWN, KEEPALIVE, 1, &[1])), Heard::Waiting { for_touch: false });
        let first = Heard::Answer { is_last: false, status: Some(0) };
        assert_eq!(channel.heard(&report(OWN, CBOR, 100, &[0])), first);
        assert_eq!(channel.heard(&report([9; 4], 0, 0, &[])), Heard::Foreign);
        assert_eq!(channel.heard(&report(OWN, 0, 0, &[])), Heard::Answer { is_last: true, status: None });
        assert_eq!(channel.heard(&report(OWN, CBOR, 1, &[0])), Heard::Foreign, "nobody waits for it");
    }

    #[test]
    fn what_no_device_should_send_is_called_so() {
        for wrong in [
            report(OWN, CBOR, u16::MAX, &[0]),
            report(OWN, CBOR, 0, &[]),
            report(OWN, 0x83, 2, &[0x90, 0]),
            report(OWN, 0, 0, &[]),
        ] {
            let mut channel = opened();
            channel.sent(report(OWN, CBOR, 1, &[4]));
            assert_eq!(channel.heard(&wrong), Heard::Garbled, "{:02x?}", &wrong[..8]);
        }
        let mut channel = opened();
        channel.sent(report(OWN, CBOR, 1, &[4]));
        channel.heard(&report(OWN, CBOR, 300, &[0]));
        assert_eq!(channel.heard(&report(OWN, 1, 0, &[])), Heard::Garbled, "a report is missing");
    }

    #[test]
    fn a_busy_device_is_to_be_asked_again_and_a_refusal_told() {
        let mut channel = opened();
        channel.sent(report(OWN, CBOR, 1, &[4]));
        assert_eq!(channel.heard(&report(OWN, ERROR, 1, &[BUSY])), Heard::Busy);
        assert_eq!(channel.message().len(), 1);
        assert_eq!(channel.heard(&report(OWN, ERROR, 1, &[3])), Heard::Refused(3));
    }

    #[test]
    fn only_a_command_under_way_is_withdrawn() {
        let mut channel = opened();
        assert_eq!(channel.cancellation(), None);
        channel.sent(report(OWN, CBOR, 1, &[4]));
        let cancellation = channel.cancellation().expect("a command is under way");
        assert_eq!((&cancellation[..4], cancellation[4]), (&OWN[..], CANCEL));
        channel.heard(&report(OWN, CBOR, 1, &[0]));
        assert_eq!(channel.cancellation(), None);
    }
}
