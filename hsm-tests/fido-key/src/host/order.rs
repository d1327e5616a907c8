//! The words of the control socket.

use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

use fido_key::packet::{REPORT, Report};
use fido_key::{Fault, OpenSk, Options, Presence};

/// One line.
#[derive(Debug)]
pub(crate) enum Order {
    /// `environment`
    Environment,
    /// `new NAME [u2f-only] [no-u2f] [old] [residents N]`, `new NAME opensk|fingerprint [always-verifies]`
    New(String, Options),
    /// `new NAME copy-of OTHER`: a key with OpenSK's firmware and the memory that another such has now
    Copy(String, String),
    /// `NAME …`
    Key(String, ToKey),
}

/// What is said to one key.
#[derive(Debug)]
pub(crate) enum ToKey {
    /// `plug`
    Plug,
    /// `unplug`
    Unplug,
    /// `presence now|never|denied|after MILLISECONDS`
    Presence(Presence),
    /// `patience MILLISECONDS`
    Patience(Duration),
    /// `press`: waits until the key asks for a touch, and touches it
    Press,
    /// `asking`: yes or no
    Asking,
    /// `finger known|unknown`
    Finger(bool),
    /// `freeze`, `thaw`
    Freeze(bool),
    /// `noise on|off`
    Noise(bool),
    /// `busy on|off`
    Busy(bool),
    /// `fault COMMAND status XX|answer HEX|cut N|pad N|announce N|gap|silence|stall|unplug [times N]`
    Fault(String, Fault, Option<u32>),
    /// `no-faults`
    NoFaults,
    /// `packet HEX`: sends it now; the rest is zeros
    Packet(Report),
}

impl Order {
    /// Understands a line, or says what is wrong with it.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let order = match words.next().ok_or("nothing is ordered")? {
            "environment" => Self::Environment,
            "new" => match words.next().ok_or("a name is missing")? {
                name @ ("new" | "environment") => return Err(format!("no name for a key: {name}")),
                name => match words.clone().next() {
                    Some("copy-of") => Self::Copy(name.into(), words.nth(1).ok_or("a name is missing")?.into()),
                    _ => Self::New(name.into(), options(&mut words)?),
                },
            },
            name => Self::Key(name.into(), ToKey::parse(&mut words)?),
        };
        match words.next() {
            Some(word) => Err(format!("not understood: {word}")),
            None => Ok(order),
        }
    }
}

impl ToKey {
    fn parse(words: &mut SplitWhitespace<'_>) -> Result<Self, String> {
        Ok(match words.next().unwrap_or_default() {
            "plug" => Self::Plug,
            "unplug" => Self::Unplug,
            "presence" => Self::Presence(match words.next().unwrap_or_default() {
                "now" => Presence::Now,
                "never" => Presence::Never,
                "denied" => Presence::Denied,
                "after" => Presence::After(Duration::from_millis(number(words)?)),
                other => return Err(format!("no such presence: {other}")),
            }),
            "patience" => Self::Patience(Duration::from_millis(number(words)?)),
            "press" => Self::Press,
            "asking" => Self::Asking,
            "finger" => Self::Finger(words.next() == Some("known")),
            "freeze" => Self::Freeze(true),
            "thaw" => Self::Freeze(false),
            "noise" => Self::Noise(words.next() == Some("on")),
            "busy" => Self::Busy(words.next() == Some("on")),
            "no-faults" => Self::NoFaults,
            "packet" => {
                let octets = octets(words.next().unwrap_or_default())?;
                let mut report = [0; REPORT];
                report.get_mut(..octets.len()).ok_or("longer than a packet")?.copy_from_slice(&octets);
                Self::Packet(report)
            }
            "fault" => {
                let command = words.next().ok_or("a command is missing")?.into();
                let fault = fault(words)?;
                let times = match words.next() {
                    Some("times") => Some(number(words)?),
                    Some(other) => return Err(format!("not understood: {other}")),
                    None => None,
                };
                Self::Fault(command, fault, times)
            }
            other => return Err(format!("no such order: {other}")),
        })
    }
}

fn options(words: &mut SplitWhitespace<'_>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        match word {
            "u2f-only" => options.ctap2 = false,
            "no-u2f" => options.u2f = false,
            "old" => options.old = true,
            "opensk" => options.opensk = Some(OpenSk::default()),
            "fingerprint" => options.opensk = Some(OpenSk { fingerprint: true, ..OpenSk::default() }),
            "always-verifies" => match &mut options.opensk {
                Some(model) => model.always_verifies = true,
                None => return Err("only OpenSK always verifies".into()),
            },
            "residents" => options.residents = Some(number(words)?),
            other => return Err(format!("no such kind of key: {other}")),
        }
    }
    Ok(options)
}

fn fault(words: &mut SplitWhitespace<'_>) -> Result<Fault, String> {
    Ok(match words.next().unwrap_or_default() {
        "status" => match octets(words.next().unwrap_or_default())?.as_slice() {
            [status] => Fault::Status(*status),
            _ => return Err("a status has two hexadecimal digits".into()),
        },
        "answer" => Fault::Answer(octets(words.next().unwrap_or_default())?),
        "cut" => Fault::Cut(number(words)?),
        "pad" => Fault::Pad(number(words)?),
        "announce" => Fault::Announce(number(words)?),
        "gap" => Fault::Gap,
        "silence" => Fault::Silence,
        "stall" => Fault::Stall,
        "unplug" => Fault::Unplug,
        other => return Err(format!("no such fault: {other}")),
    })
}

fn number<N: FromStr>(words: &mut SplitWhitespace<'_>) -> Result<N, String> {
    let word = words.next().unwrap_or_default();
    word.parse().map_err(|_| format!("not a number: {word}"))
}

fn octets(digits: &str) -> Result<Vec<u8>, String> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect::<Option<_>>()
        .filter(|_| digits.len().is_multiple_of(2))
        .ok_or_else(|| format!("not hexadecimal: {digits}"))
}
