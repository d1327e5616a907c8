//! Questions to a running agent, and the inventory: from the agent that `SSH_AUTH_SOCK` names, else by looking at the modules here and now.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::agent::Providers;
use crate::agent::command::specs;
use crate::agent::inventory::Entry;
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
pub(super) fn inventory(config: Option<&Path>) -> Result<Vec<Entry>, String> {
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

/// What the agent that `SSH_AUTH_SOCK` names answers to an extension of our own with this content.
pub(super) fn ask_running(extension: &str, content: &[u8]) -> Result<Vec<u8>, String> {
    let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
    let socket = socket.ok_or("SSH_AUTH_SOCK is not set, so there is no agent to ask; start one with hardkey agent")?;
    let socket = Path::new(&socket);
    ask(socket, extension, content).map_err(|silence| match silence {
        Silence::Unreachable(error) => format!("{}: no agent answers: {error}", socket.display()),
        Silence::Unknown => format!("{}: the agent there is not hardkey, or too old", socket.display()),
        Silence::Refused => format!(
            "{}: the agent tells this to hardkey on its own machine only, directly and not through a forwarded socket",
            socket.display()
        ),
    })
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

/// The keys of the agent that `SSH_AUTH_SOCK` names; `None` when nothing or something else is there.
pub(super) fn of_agent() -> Option<Vec<Entry>> {
    serde_json::from_slice(&ask_running(INVENTORY, &[]).ok()?).ok()
}

/// Why there is no answer.
enum Silence {
    Unreachable(io::Error),
    Unknown,
    Refused,
}

/// Asks a running hardkey.
fn ask(socket: &Path, extension: &str, content: &[u8]) -> Result<Vec<u8>, Silence> {
    let reply = exchange(socket, extension, content).map_err(Silence::Unreachable)?;
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

fn exchange(socket: &Path, extension: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    let mut body = vec![EXTENSION];
    body.put_string(extension.as_bytes());
    body.extend_from_slice(content);
    let mut frame = Vec::new();
    frame.put_string(&body);
    stream.write_all(&frame)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut reply = Vec::new();
    stream.take(u64::from(u32::from_be_bytes(length)).min(MAX_REPLY)).read_to_end(&mut reply)?;
    Ok(reply)
}

/// Looks at the modules of the configuration without logging in.
fn look(config: Option<&Path>) -> Result<Vec<Entry>, String> {
    let config = Config::find(config).map_err(|error| error.to_string())?;
    crate::agent::log::to_stderr(false);
    let keyring = Arc::new(Mutex::new(Keyring::default()));
    let modules = specs(&config, &PinSource::Ask, true);
    let (providers, _changes) = Providers::new(Arc::clone(&keyring), Arc::new(Nobody), PatternList::new(""), modules);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(providers.start());
    let keyring = keyring.lock().map_err(|_| "looking at the modules failed".to_owned())?;
    Ok(keyring.iter().map(|identity| Entry::of(identity)).collect())
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
