//! A security key that says anything: a worker that uses it answers, soon, and what it answers has the form that the agent counts on.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::panic;
use std::path::Path;

use hardkey::ipc::fido::{Enrolment, FidoAnswer, FidoAssertion, FidoCall, FidoCause, ResidentUser};
use hardkey::ipc::{self, Answer, SecretOctets};
use hardkey::worker::fido::Device;
use hidapi::{REPORT, Report, played};

/// The command that asks for a channel.
const INIT: u8 = 0x86;
const ERROR: u8 = 0xbf;
const KEEPALIVE: u8 = 0xbb;
const CANCEL: u8 = 0x91;
/// The channel that is given to everybody.
pub const CHANNEL: [u8; 4] = [0, 0, 0, 1];
const OTHERS_CHANNEL: [u8; 4] = [0, 0, 0, 2];
/// What the key's answer to [`INIT`] says: it speaks CTAP2, or U2F alone.
const SPEAKS_CBOR: u8 = 0x04;
/// The lowest bits of the first octet choose the call; this one a key that speaks U2F alone.
pub const OLD: u8 = 0x80;
/// How many calls there are to choose from.
pub const CALLS: u8 = 10;
const APPLICATION: &str = "ssh:";
const PIN: &[u8] = b"246810";

/// What the key does when it was asked something: an octet in the input, and what it needs.
pub mod says {
    /// Two octets of length, the answer.
    pub const ANSWER: u8 = 0;
    /// An octet of status: a keep-alive, and on.
    pub const KEEPALIVE: u8 = 1;
    /// An octet of length, a report for somebody else, and on.
    pub const FOREIGN: u8 = 2;
    /// Two octets of length to be announced, two of length, the answer.
    pub const ANNOUNCED: u8 = 3;
    /// An octet: an error of the channel.
    pub const ERROR: u8 = 4;
    /// An octet of length, a report as it stands, and on.
    pub const REPORT: u8 = 5;
}

/// The calls that an input can choose.
#[must_use]
pub fn call(choice: u8, handle: &[u8]) -> FidoCall {
    let pin = || SecretOctets(PIN.to_vec().into());
    let sign = |is_ed25519, pin: Option<SecretOctets>| {
        FidoCall::Sign(FidoAssertion {
            is_ed25519,
            data: b"data".to_vec(),
            application: APPLICATION.to_owned(),
            handle: handle.to_vec(),
            touch: true,
            verify: pin.is_some(),
            pin,
        })
    };
    let enroll = |is_ed25519, resident: Option<ResidentUser>| {
        FidoCall::Enroll(Box::new(Enrolment {
            is_ed25519,
            application: APPLICATION.to_owned(),
            challenge: vec![7; 32],
            pin: resident.is_some().then(pin),
            resident,
            verify: false,
        }))
    };
    match choice % CALLS {
        0 => FidoCall::Abilities,
        1 => match sign(false, None) {
            FidoCall::Sign(wanted) => FidoCall::Preflight(wanted),
            other => other,
        },
        2 => sign(true, None),
        3 => sign(false, None),
        4 => sign(true, Some(pin())),
        5 => FidoCall::Select,
        6 => enroll(false, None),
        7 => enroll(true, Some(ResidentUser { id: vec![1; 32], name: "ada".to_owned(), hidden: true })),
        8 => FidoCall::Residents { pin: pin() },
        _ => FidoCall::SetPin { old: Some(pin()), new: pin() },
    }
}

/// Input: an octet that chooses call and key, and what the key says, as [`says`] has it.
pub fn check(input: &[u8]) {
    let Some((&choice, script)) = input.split_first() else { return };
    let old = choice & OLD != 0;
    let mut script = Script { left: script.to_vec().into() };
    let answer = serve(&call(choice, &[3; 64]), old, move |command, _| script.say(command));
    match &answer {
        FidoAnswer::Assertion { raw, flags, .. } => assert!(raw.len() == 64 && flags & 0x80 == 0, "{answer:?}"),
        FidoAnswer::Enrolled(enrolled) => {
            assert!(matches!(enrolled.public.len(), 32 | 65), "{answer:?}");
            assert!(!enrolled.handle.is_empty() || old, "{answer:?}");
        }
        FidoAnswer::Residents(residents) => {
            assert!(residents.iter().all(|resident| resident.application.to_lowercase().starts_with(APPLICATION)));
        }
        FidoAnswer::Failed(fault) => {
            if let FidoCause::Other(text) | FidoCause::Unable(text) = &fault.cause {
                assert!(text.len() < 200 && !text.chars().any(char::is_control), "{text:?}");
            }
        }
        FidoAnswer::Abilities(_) | FidoAnswer::Holds(_) | FidoAnswer::Done => {}
    }
    ipc::encode(&Answer::Fido(answer)).expect("an answer that the agent can be told");
}

/// Has a worker serve a call at a key that says, to each command and what comes with it, what `say` does.
pub fn serve(call: &FidoCall, old: bool, mut say: impl FnMut(u8, &[u8]) -> Vec<Report> + 'static) -> FidoAnswer {
    // The worker wants panics to be silent, and answers for them.
    let hook = panic::take_hook();
    let (agent, _other_end) = UnixStream::pair().expect("two sockets");
    let mut device = Device::new(Path::new("/dev/played"), &agent).expect("a device");
    let (mut command, mut length, mut payload) = (0, 0, Vec::new());
    let part = move |report: &Report| {
        if report[4] & 0x80 == 0 {
            payload.extend_from_slice(&report[5..]);
        } else {
            command = report[4];
            length = usize::from(u16::from_be_bytes([report[5], report[6]]));
            payload = report[7..].to_vec();
        }
        if command == INIT {
            return vec![channel(report, if old { 0 } else { SPEAKS_CBOR })];
        }
        if payload.len() < length {
            return Vec::new();
        }
        payload.truncate(length);
        say(command, &payload)
    };
    let answer = played::play(part, || device.serve(call));
    panic::set_hook(hook);
    answer
}

/// The answer to a request for a channel (CTAP 2.1 section 11.2.9.1.3).
fn channel(request: &Report, capabilities: u8) -> Report {
    let mut report = *request;
    report[5..7].copy_from_slice(&[0, 17]);
    report[15..19].copy_from_slice(&CHANNEL);
    report[19..24].copy_from_slice(&[2, 0, 0, 0, capabilities]);
    report
}

/// A message in reports, of which the first announces `length` octets.
#[must_use]
pub fn message(channel: [u8; 4], command: u8, length: u16, payload: &[u8]) -> Vec<Report> {
    let (first, rest) = payload.split_at(payload.len().min(REPORT - 7));
    let mut heads = vec![vec![command, length.to_be_bytes()[0], length.to_be_bytes()[1]]];
    heads.extend((0..=0x7f).map(|sequence| vec![sequence]));
    let parts = std::iter::once(first).chain(rest.chunks(REPORT - 5));
    heads.iter().zip(parts).map(|(head, part)| padded(&[&channel, &head[..], part].concat())).collect()
}

fn padded(octets: &[u8]) -> Report {
    let mut report = [0; REPORT];
    report.iter_mut().zip(octets).for_each(|(place, octet)| *place = *octet);
    report
}

/// What is left of the input.
struct Script {
    left: VecDeque<u8>,
}

impl Script {
    /// What the key says to a command.
    fn say(&mut self, command: u8) -> Vec<Report> {
        let mut reports = Vec::new();
        if command == CANCEL {
            return reports;
        }
        while let Some(kind) = self.left.pop_front() {
            match kind % 6 {
                says::KEEPALIVE => reports.extend(message(CHANNEL, KEEPALIVE, 1, &self.octets(1))),
                says::FOREIGN => reports.extend(self.short(OTHERS_CHANNEL.to_vec())),
                says::REPORT => reports.extend(self.short(Vec::new())),
                says::ERROR => return [reports, message(CHANNEL, ERROR, 1, &self.octets(1))].concat(),
                says::ANNOUNCED => {
                    let length = self.length();
                    let answer = self.answer();
                    return [reports, message(CHANNEL, command, length, &answer)].concat();
                }
                _ => {
                    let answer = self.answer();
                    let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
                    return [reports, message(CHANNEL, command, length, &answer)].concat();
                }
            }
        }
        reports
    }

    fn short(&mut self, mut head: Vec<u8>) -> Option<Report> {
        let length = self.left.pop_front()?;
        head.extend(self.octets(length.into()));
        Some(padded(&head))
    }

    fn answer(&mut self) -> Vec<u8> {
        let length = self.length();
        self.octets(length.into())
    }

    fn length(&mut self) -> u16 {
        u16::from_be_bytes([self.left.pop_front().unwrap_or(0), self.left.pop_front().unwrap_or(0)])
    }

    fn octets(&mut self, count: usize) -> Vec<u8> {
        self.left.drain(..count.min(self.left.len())).collect()
    }
}
