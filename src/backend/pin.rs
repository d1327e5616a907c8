//! PINs: where they come from and what may be done with them.
//!
//! A PIN is presented to the token it was given for, once per decision of a person, and forgotten at the first refusal.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use secrecy::{ExposeSecret, SecretSlice};

use super::BoxFuture;
use crate::errand::Errand;
use crate::ipc::TokenName;

/// A PIN; overwritten when dropped, never printed.
pub type Pin = SecretSlice<u8>;

/// What the token says about the tries that are left (PKCS#11 2.40 section 4.5, `CKF_USER_PIN_*`). Advisory: some tokens never say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum TriesLeft {
    /// The token gives no warning.
    #[default]
    NoWarning,
    /// At least one wrong PIN was entered since the last right one.
    Low,
    /// So many wrong PINs lock the token; at least one was entered since the last right one.
    Left(u8),
    /// The next wrong PIN locks the token.
    Final,
    /// The PIN is locked.
    Locked,
}

/// A question to a person: the PIN of one token.
#[derive(Debug, Clone)]
pub struct PinQuestion {
    /// The token's label.
    pub token: String,
    /// The token's serial number.
    pub serial: String,
    /// The key that is to sign.
    pub key: String,
    /// What the token says about tries.
    pub tries: TriesLeft,
    /// The PIN given before was refused.
    pub after_refusal: bool,
    /// What the key is to sign for.
    pub errand: Errand,
}

/// Asks a person for a PIN. Dropping the future closes the dialog.
pub trait PinPrompt: Send + Sync {
    /// Shows the question.
    fn ask(&self, question: PinQuestion) -> BoxFuture<'_, Result<Pin, PinError>>;
}

/// Why a PIN was not had or not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Nobody could be asked.
    #[error(
        "no way to ask for the PIN of token {token:?}: {reason}; give the PIN by --pin-file or `pin` in the configuration, or start the agent where a dialog can open"
    )]
    NoPrompt {
        /// The token's label.
        token: String,
        /// What stood in the way.
        reason: String,
    },
    /// The person declined.
    #[error("the PIN dialog for token {token:?} was cancelled")]
    Cancelled {
        /// The token's label.
        token: String,
    },
    /// The token refused the PIN.
    #[error("token {token:?} refused the PIN; one try is spent{}", tries_text(*.tries))]
    Incorrect {
        /// The token's label.
        token: String,
        /// What the token says about tries now.
        tries: TriesLeft,
    },
    /// The token accepts no PIN any more.
    #[error(
        "the PIN of token {token:?} is locked; `hardkey token unblock` sets a new one, with the PUK or the security officer's PIN"
    )]
    Locked {
        /// The token's label.
        token: String,
    },
    /// A stored PIN would be the last try.
    #[error(
        "the next wrong PIN locks token {token:?}, so a stored PIN is not tried; type it in a dialog or with `ssh-add -s MODULE`"
    )]
    FinalTry {
        /// The token's label.
        token: String,
    },
    /// The stored PIN was refused before.
    #[error("the PIN from {from} was refused by token {token:?} before and is not tried again; correct it there")]
    RefusedBefore {
        /// The token's label.
        token: String,
        /// Where the PIN came from.
        from: String,
    },
    /// The PIN file cannot be used.
    #[error("PIN file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Another PIN than the one in force was given.
    #[error("the PIN is not the one that token {token:?} accepted before; it was not presented, and no try is spent")]
    Mismatch {
        /// The token's label.
        token: String,
    },
    /// Whose PIN it is cannot be told yet.
    #[error(
        "not all modules have shown their tokens yet, so it is not certain whose the given PIN is; try again in a moment"
    )]
    TooEarly,
    /// The PIN was withdrawn while the request waited.
    #[error("the PIN of token {token:?} was forgotten while the request waited; ask again")]
    Forgotten {
        /// The token's label.
        token: String,
    },
    /// One PIN, and an earlier module that shows the token too.
    #[error(
        "the given PIN is for token {token:?} as the first module of the configuration shows it; leave one of the modules that show it out"
    )]
    ShownTwice {
        /// The token's label.
        token: String,
    },
    /// One PIN, several tokens.
    #[error(
        "one PIN was given but {count} tokens want one ({tokens}); a PIN goes only to the token it is meant for: select one with `keys`, or name the token by a pkcs11: URI with pin-source="
    )]
    Ambiguous {
        /// How many tokens.
        count: usize,
        /// Their labels.
        tokens: String,
    },
}

fn tries_text(tries: TriesLeft) -> &'static str {
    match tries {
        TriesLeft::NoWarning => "",
        TriesLeft::Low | TriesLeft::Left(_) => ", few are left",
        TriesLeft::Final => ", the next wrong one locks it",
        TriesLeft::Locked => ", and the PIN is locked now",
    }
}

/// Where a token's PIN comes from.
#[derive(Clone, Default)]
pub enum PinSource {
    /// A person is asked at the first signature.
    #[default]
    Ask,
    /// The first line of a file, read at each use.
    File(PathBuf),
    /// Given once, at start, through a file descriptor.
    Given(Arc<Pin>),
}

impl PinSource {
    /// Where an unattended PIN comes from, in words; `None` when a person is asked.
    pub fn describe(&self) -> Option<String> {
        match self {
            Self::Ask => None,
            Self::File(path) => Some(path.display().to_string()),
            Self::Given(_) => Some("--pin-fd".to_owned()),
        }
    }

    /// Reads an unattended PIN; `None` when a person is to be asked.
    ///
    /// # Errors
    /// The file is missing, empty, too long or readable by others.
    pub fn read(&self) -> Result<Option<Pin>, PinError> {
        match self {
            Self::Ask => Ok(None),
            Self::File(path) => read_file(path).map(Some),
            Self::Given(pin) => Ok(Some(pin.expose_secret().to_vec().into())),
        }
    }
}

/// How long a PIN is kept that the token accepted. Whatever is said here, it is forgotten when the token is pulled or refuses it, when the
/// machine slept, and when the agent is locked or told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PinCache {
    /// For one signature.
    Never,
    /// For this long, on [`crate::clock`].
    For(std::time::Duration),
    /// Until the token is pulled.
    #[default]
    UntilRemoval,
}

/// How often the outcome of presenting one PIN may stay unknown, because the module hung or crashed over it, before it counts as refused.
/// Most cards lock at the third wrong PIN.
const MOST_DOUBTS: u8 = 2;

/// The unattended PINs that tokens refused. None of them is presented to that token again: not after the token came back, not by another
/// module that shows it, not because a file still says the same.
#[derive(Default)]
pub struct RefusedPins {
    pins: Mutex<HashMap<TokenName, Vec<Refused>>>,
    witness: OnceLock<Witness>,
}

/// Is told which token refused a PIN.
pub type Witness = Box<dyn Fn(&TokenName) + Send + Sync>;

struct Refused {
    pin: Arc<Pin>,
    /// How often it was presented without a known outcome; at the limit it is refused.
    doubts: u8,
}

impl RefusedPins {
    /// Has each refusal told to a witness; the first one stays.
    pub fn tell(&self, witness: Witness) {
        let _ = self.witness.set(witness);
    }

    /// Remembers a refusal.
    pub fn note(&self, token: &TokenName, pin: &Arc<Pin>) {
        self.with(token, pin, |refused| refused.doubts = MOST_DOUBTS);
        if let Some(witness) = self.witness.get() {
            witness(token);
        }
    }

    /// Remembers that nobody knows what came of presenting it.
    pub fn doubt(&self, token: &TokenName, pin: &Arc<Pin>) {
        self.with(token, pin, |refused| refused.doubts = refused.doubts.saturating_add(1));
    }

    /// Forgets them, because a PIN was accepted since.
    pub fn clear(&self, token: &TokenName) {
        self.lock().remove(token);
    }

    /// Whether this PIN is one that the token refused.
    pub fn contains(&self, token: &TokenName, pin: &Pin) -> bool {
        let refused = self.lock();
        let mut pins = refused.get(token).into_iter().flatten();
        pins.any(|refused| refused.doubts >= MOST_DOUBTS && is_same(&refused.pin, pin))
    }

    /// A token locks long before many PINs gather here.
    fn with(&self, token: &TokenName, pin: &Arc<Pin>, change: impl FnOnce(&mut Refused)) {
        let mut refused = self.lock();
        let pins = refused.entry(token.clone()).or_default();
        match pins.iter_mut().find(|refused| is_same(&refused.pin, pin)) {
            Some(refused) => change(refused),
            None => {
                let mut new = Refused { pin: Arc::clone(pin), doubts: 0 };
                change(&mut new);
                pins.push(new);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenName, Vec<Refused>>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares two PINs in a time that tells nothing but their length.
pub fn is_same(one: &Pin, other: &Pin) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.expose_secret(), other.expose_secret()).is_ok()
}

/// The longest PIN that is read from a file or descriptor, in octets.
pub const MAX_PIN: usize = 255;

/// The first line of what was read, as a PIN.
pub fn first_line(mut octets: zeroize::Zeroizing<Vec<u8>>) -> Option<Pin> {
    let end = octets.iter().position(|octet| matches!(octet, b'\n' | b'\r')).unwrap_or(octets.len());
    octets.truncate(end);
    (!octets.is_empty() && octets.len() <= MAX_PIN).then(|| octets.to_vec().into())
}

fn read_file(path: &Path) -> Result<Pin, PinError> {
    use std::io::Read as _;
    use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
    let fail = |reason: String| PinError::File { path: path.display().to_string(), reason };
    // A pipe would make the agent wait for whoever holds its other end.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path);
    let file = file.map_err(|error| fail(error.to_string()))?;
    let metadata = file.metadata().map_err(|error| fail(error.to_string()))?;
    if !metadata.is_file() {
        return Err(fail("it is not a regular file; to pass a PIN through a pipe use --pin-fd".to_owned()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(fail("others may read it; chmod 600 it".to_owned()));
    }
    let mut octets = zeroize::Zeroizing::new(Vec::with_capacity(MAX_PIN + 2));
    file.take(MAX_PIN as u64 + 1).read_to_end(&mut octets).map_err(|error| fail(error.to_string()))?;
    first_line(octets).ok_or_else(|| fail(format!("its first line must be the PIN, 1 to {MAX_PIN} octets")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8]) -> Option<Vec<u8>> {
        first_line(zeroize::Zeroizing::new(text.to_vec())).map(|pin| pin.expose_secret().to_vec())
    }

    #[test]
    fn a_refused_pin_stays_refused_until_another_is_accepted() {
        let token = TokenName { manufacturer: "m".into(), model: "o".into(), serial: "s".into(), label: "l".into() };
        let pin = |text: &str| -> Arc<Pin> { Arc::new(text.as_bytes().to_vec().into()) };
        let refused = RefusedPins::default();
        refused.doubt(&token, &pin("1234"));
        assert!(!refused.contains(&token, &pin("1234")));
        refused.doubt(&token, &pin("1234"));
        assert!(refused.contains(&token, &pin("1234")));
        assert!(!refused.contains(&token, &pin("5678")));
        refused.clear(&token);
        refused.note(&token, &pin("1234"));
        refused.note(&token, &pin("5678"));
        assert!(refused.contains(&token, &pin("1234")), "another refusal does not make it right");
    }

    #[test]
    fn the_pin_is_the_first_line_without_its_end() {
        assert_eq!(line(b"1234\nrest"), Some(b"1234".to_vec()));
        assert_eq!(line(b"1234\r\n"), Some(b"1234".to_vec()));
        assert_eq!(line(b"12 34"), Some(b"12 34".to_vec()));
        assert_eq!(line(b"\n1234"), None);
        assert_eq!(line(&[b'1'; 256]), None);
    }
}
