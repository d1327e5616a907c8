//! The private extension by which `hardkey prompts` learns of the questions that wait for a person, and answers them.
//!
//! The agent says nothing but in reply (RFC 9987 section 3), so whoever wants to know of questions at once asks what there is to show and is answered
//! when that is something new.

use secrecy::{ExposeSecret as _, SecretSlice};
use zeroize::Zeroizing;

use super::Malformed;
use super::wire::{Put as _, Reader};

/// The extension's name.
//= RFC 9987 section 5.8: Implementation-specific extensions MUST be suffixed by the implementation domain
pub const NAME: &str = "prompts@hardkey.github.io";

/// A request about the questions that wait.
#[derive(Debug)]
pub enum Prompts {
    /// All of them, now.
    List,
    /// What a viewer is to show, as soon as it is another version than this. Who asks for it counts as somebody who can be asked, as long as the
    /// connection lasts.
    Watch {
        /// The version that is shown; 0 for none.
        seen: u64,
    },
    /// The answer to one of them.
    Answer {
        /// The question's number.
        number: u64,
        /// What the person said.
        answer: Answer,
    },
}

/// What a person says to a question.
#[derive(Debug)]
pub enum Answer {
    /// Yes, to this request.
    Allow,
    /// Yes, for as long as was offered.
    AllowLonger,
    /// No; also to the question for a PIN.
    Deny,
    /// No, and nothing more from there for a while.
    Mute,
    /// A PIN.
    Pin(SecretSlice<u8>),
}

impl Prompts {
    /// Its form on the wire: a word; after `watch` the version; after `answer` the number, another word, and after `pin` the PIN.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Room for all of it, because a buffer that grows leaves a copy behind.
        let secret =
            if let Self::Answer { answer: Answer::Pin(pin), .. } = self { pin.expose_secret().len() } else { 0 };
        let mut octets = Zeroizing::new(Vec::with_capacity(64 + secret));
        match self {
            Self::List => octets.put_string(b"list"),
            Self::Watch { seen } => {
                octets.put_string(b"watch");
                octets.extend_from_slice(&seen.to_be_bytes());
            }
            Self::Answer { number, answer } => {
                octets.put_string(b"answer");
                octets.extend_from_slice(&number.to_be_bytes());
                octets.put_string(answer.word());
                if let Answer::Pin(pin) = answer {
                    octets.put_string(pin.expose_secret());
                }
            }
        }
        octets
    }

    pub(super) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.text()? {
            "list" => Ok(Self::List),
            "watch" => Ok(Self::Watch { seen: reader.u64()? }),
            "answer" => Ok(Self::Answer { number: reader.u64()?, answer: Answer::parse(reader)? }),
            _ => Err(Malformed::new("not a request about questions")),
        }
    }
}

impl Answer {
    const fn word(&self) -> &'static [u8] {
        match self {
            Self::Allow => b"allow",
            Self::AllowLonger => b"longer",
            Self::Deny => b"deny",
            Self::Mute => b"mute",
            Self::Pin(_) => b"pin",
        }
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.text()? {
            "allow" => Ok(Self::Allow),
            "longer" => Ok(Self::AllowLonger),
            "deny" => Ok(Self::Deny),
            "mute" => Ok(Self::Mute),
            "pin" => Ok(Self::Pin(reader.string()?.to_vec().into())),
            _ => Err(Malformed::new("not an answer to a question")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(octets: &[u8]) -> Option<Vec<u8>> {
        Prompts::parse(&mut Reader::new(octets)).ok().map(|prompts| prompts.encode().to_vec())
    }

    #[test]
    fn what_is_said_of_questions_is_understood_or_refused() {
        let answer = |answer| Prompts::Answer { number: 1 << 40, answer };
        let pin = Answer::Pin(b"12\x0034".to_vec().into());
        let answers = [Answer::Allow, Answer::AllowLonger, Answer::Deny, Answer::Mute, pin].map(answer);
        for prompts in [Prompts::List, Prompts::Watch { seen: 7 }].into_iter().chain(answers) {
            let octets = prompts.encode();
            assert_eq!(parse(&octets).as_deref(), Some(&octets[..]));
            for end in 0..octets.len() {
                assert_eq!(parse(&octets[..end]), None, "cut after {end} of {octets:?}");
            }
        }
        assert_eq!(parse(b"\0\0\0\x04some"), None);
        assert_eq!(parse(b"\0\0\0\x06answer\0\0\0\0\0\0\0\x01\0\0\0\x03yes"), None);
    }
}
