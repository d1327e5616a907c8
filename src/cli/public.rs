//! `hardkey pub`: public keys for `authorized_keys`, `allowed_signers` and `IdentityFile`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::agent::inventory::Entry;
use crate::backend::pkcs11::uri::Uri;
use crate::rotation::{Rotation, State};

#[derive(Args)]
pub(super) struct Arguments {
    /// Only this key: a pkcs11: URI, a fingerprint, or a comment
    #[arg(value_name = "KEY")]
    key: Option<String>,
    /// Look at the modules of this configuration instead of asking the agent
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let entries = super::client::inventory(arguments.config.as_deref())?.keys;
    let rotation = Rotation::file().and_then(|file| Rotation::read(&file).ok()).unwrap_or_default();
    // Whoever copies these lines to a server does not mean a key that is to go.
    let is_retired =
        |entry: &Entry| rotation.find(&entry.public_key).is_some_and(|known| known.state == State::Retired);
    let wanted: Vec<&Entry> = match &arguments.key {
        None => entries.iter().filter(|entry| !is_retired(entry)).collect(),
        Some(key) => {
            let matches = matcher(key)?;
            entries.iter().filter(|entry| matches(entry)).collect()
        }
    };
    match (wanted.is_empty(), &arguments.key) {
        (true, Some(key)) => Err(format!("no key matches {key:?}; `hardkey list` shows what there is")),
        (true, None) => Err("no keys; name a module in the configuration, or look into the agent's log".to_owned()),
        _ => super::print(&wanted.iter().map(|entry| format!("{}\n", entry.public_key)).collect::<String>()),
    }
}

pub(super) type Matcher = Box<dyn Fn(&Entry) -> bool>;

/// Whether a key of the inventory is the one that is meant, by a `pkcs11:` URI, fingerprint or comment.
pub(super) fn matcher(key: &str) -> Result<Matcher, String> {
    if Uri::is_meant(key) {
        let wanted = Uri::parse(key).map_err(|error| error.to_string())?;
        let is_wanted = move |entry: &Entry| {
            entry.place.uri.as_deref().and_then(|uri| Uri::parse(uri).ok()).is_some_and(|uri| wanted.covers(&uri))
        };
        return Ok(Box::new(is_wanted));
    }
    let key = key.to_owned();
    Ok(Box::new(move |entry| entry.fingerprint == key || entry.comment == key))
}
