//! Questions to a running agent, and the inventory: from the agent that `SSH_AUTH_SOCK` names, else by looking at the modules here and now.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use crate::agent::Providers;
use crate::agent::command::specs;
use crate::agent::inventory::{Entry, Inventory};
use crate::agent::socket::AgentSocket;
use crate::backend::BoxFuture;
use crate::backend::middleware::TouchNotice;
use crate::backend::pin::{Pin, PinError, PinPrompt, PinQuestion, PinSource};
use crate::config::Config;
use crate::errand::Errand;
use crate::keyring::Keyring;
use crate::pattern::PatternList;
use crate::protocol::request::{EXTENSION, INVENTORY, RELEASE, TOKENS_CHANGED};
use crate::protocol::wire::{Put as _, Reader};

const EXTENSION_FAILURE: u8 = 28;
const EXTENSION_RESPONSE: u8 = 29;
const MAX_REPLY: u64 = 64 * 1024 * 1024;

/// The keys that there are.
pub(super) fn inventory(config: Option<&Path>) -> Result<Inventory, String> {
    let asked = match std::env::var_os("SSH_AUTH_SOCK") {
        Some(socket) if config.is_none() => ask(Path::new(&socket), INVENTORY, &[]).ok(),
        _ => None,
    };
    match asked {
        Some(document) => serde_json::from_slice(&document).map_err(|error| format!("the agent's answer: {error}")),
        //= RFC 9987 section 3: clients of the agent SHOULD be prepared to fail gracefully if any operation is refused
        None => look(config),
    }
}

/// An agent that has answered.
pub(super) struct Found {
    pub(super) socket: PathBuf,
    pub(super) line: Line,
    pub(super) answer: Vec<u8>,
}

/// The agent that `SSH_AUTH_SOCK` names, else the one at the user's fixed place: whoever logs in from elsewhere may have none of this machine in the
/// environment, or one that is forwarded. With its answer to an extension of our own with this content.
///
/// # Errors
/// A text for the user: what the first of them said, or that there is none.
pub(super) fn find_running(extension: &str, content: &[u8]) -> Result<Found, String> {
    let named = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()).map(PathBuf::from);
    let fixed = AgentSocket::running_at_well_known().map(|(path, _)| path);
    let mut refusal = None;
    for socket in named.into_iter().chain(fixed) {
        let answer = Line::open(&socket).and_then(|line| Ok((line.ask(extension, content)?, line)));
        match answer {
            Ok((answer, line)) => return Ok(Found { socket, line, answer }),
            Err(silence) => drop(refusal.get_or_insert_with(|| silence.at(&socket))),
        }
    }
    Err(refusal.unwrap_or_else(|| {
        "there is no agent to ask: SSH_AUTH_SOCK is not set, and none listens at the usual place; start one with hardkey agent".to_owned()
    }))
}

/// What the running agent answers; see [`find_running`].
pub(super) fn ask_running(extension: &str, content: &[u8]) -> Result<Vec<u8>, String> {
    find_running(extension, content).map(|found| found.answer)
}

/// Has the running agent forget PINs and end logins.
///
/// # Errors
/// There is none, or it refused.
pub(super) fn release() -> Result<(), String> {
    ask_running(RELEASE, &[]).map(drop)
}

/// Tells the running agent that tokens were changed.
///
/// # Errors
/// There is none, or it refused.
pub(super) fn tokens_changed() -> Result<(), String> {
    ask_running(TOKENS_CHANGED, &[]).map(drop)
}

/// The keys of the running agent; `None` when nothing or something else is there.
pub(super) fn of_agent() -> Option<Vec<Entry>> {
    serde_json::from_slice::<Inventory>(&ask_running(INVENTORY, &[]).ok()?).ok().map(|inventory| inventory.keys)
}

/// Why there is no answer.
pub(super) enum Silence {
    Unreachable(io::Error),
    Unknown,
    Refused,
}

impl Silence {
    /// The same for the user.
    pub(super) fn at(self, socket: &Path) -> String {
        let socket = socket.display();
        match self {
            Self::Unreachable(error) => format!("{socket}: no agent answers: {error}"),
            Self::Unknown => format!("{socket}: the agent there is not hardkey, or too old"),
            Self::Refused => format!(
                "{socket}: the agent tells this to hardkey on its own machine only, directly and not through a forwarded socket"
            ),
        }
    }
}

/// A line to a running hardkey.
pub(super) struct Line(UnixStream);

impl Line {
    pub(super) fn open(socket: &Path) -> Result<Self, Silence> {
        UnixStream::connect(socket).map(Self).map_err(Silence::Unreachable)
    }

    /// The connection itself.
    pub(super) const fn stream(&self) -> &UnixStream {
        &self.0
    }

    /// What it answers to an extension of our own with this content.
    pub(super) fn ask(&self, extension: &str, content: &[u8]) -> Result<Vec<u8>, Silence> {
        let reply = self.exchange(extension, content).map_err(Silence::Unreachable)?;
        if reply.first() == Some(&EXTENSION_FAILURE) {
            return Err(Silence::Refused);
        }
        let mut reader = Reader::new(&reply);
        let mut document = || {
            let named = reader.u8().ok()? == EXTENSION_RESPONSE && reader.string().ok()? == extension.as_bytes();
            named.then(|| reader.string().ok().map(<[u8]>::to_vec))?
        };
        document().ok_or(Silence::Unknown)
    }

    fn exchange(&self, extension: &str, content: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = &self.0;
        let length = 1 + 4 + extension.len() + content.len();
        // With room for all of it, because the content may be a PIN, and a buffer that grows leaves copies behind.
        let mut frame = Zeroizing::new(Vec::with_capacity(4 + length));
        frame.put_u32(length as u32);
        frame.push(EXTENSION);
        frame.put_string(extension.as_bytes());
        frame.extend_from_slice(content);
        stream.write_all(&frame)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut reply = Vec::new();
        stream.take(u64::from(u32::from_be_bytes(length)).min(MAX_REPLY)).read_to_end(&mut reply)?;
        Ok(reply)
    }
}

/// Asks a running hardkey one thing.
fn ask(socket: &Path, extension: &str, content: &[u8]) -> Result<Vec<u8>, Silence> {
    Line::open(socket)?.ask(extension, content)
}

/// Looks at the modules of the configuration without logging in.
fn look(config: Option<&Path>) -> Result<Inventory, String> {
    let config = Config::find(config).map_err(|error| error.to_string())?;
    crate::agent::log::to_stderr(false);
    let keyring = Arc::new(Mutex::new(Keyring::default()));
    let modules = specs(&config, &PinSource::Ask, true);
    let certificates = config.certificates.folder();
    let (providers, _changes) =
        Providers::new(Arc::clone(&keyring), Arc::new(Nobody), PatternList::new(""), modules, certificates);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(providers.start());
    let notes = providers.notes();
    let keyring = keyring.lock().map_err(|_| "looking at the modules failed".to_owned())?;
    Ok(Inventory::of(&keyring, notes))
}

/// Looking asks nobody.
struct Nobody;

impl TouchNotice for Nobody {
    fn show(&self, _text: &str, _errand: &Errand) -> Box<dyn Send> {
        Box::new(())
    }

    fn reaches_a_person(&self, _errand: &Errand) -> bool {
        false
    }
}

impl PinPrompt for Nobody {
    fn ask(&self, question: PinQuestion) -> BoxFuture<'_, Result<Pin, PinError>> {
        Box::pin(async { Err(PinError::Cancelled { token: question.token }) })
    }
}
