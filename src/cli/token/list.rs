//! `hardkey token list`: a table of tokens for people, or JSON for programs.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::list::columns;
use super::choose::{Modules, uri};
use super::words::{self, shown};
use crate::ipc::token::TokenState;

#[derive(Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    modules: Modules,
}

/// A token of the list. The field names are those of `hardkey token list --json`.
#[derive(Serialize)]
struct Entry {
    /// The label.
    token: String,
    serial: String,
    manufacturer: String,
    model: String,
    slot: u64,
    initialized: bool,
    write_protected: bool,
    /// The keys that show without the PIN.
    keys: usize,
    /// The state of the PIN in words.
    pin: String,
    /// The PIN is entered on the device.
    pin_on_device: bool,
    /// The state of the security officer's PIN in words.
    so_pin: String,
    /// The kinds of keys that the module says it makes.
    makes: Vec<String>,
    module: String,
    /// An RFC 7512 URI that names the token.
    uri: String,
    /// Why its objects cannot be read.
    unreadable: Option<String>,
}

impl Entry {
    fn of(token: &TokenState, module: &str) -> Self {
        let name = &token.seen.name;
        Self {
            token: shown(&name.label),
            serial: shown(&name.serial),
            manufacturer: shown(&name.manufacturer),
            model: shown(&name.model),
            slot: token.seen.slot,
            initialized: token.initialized,
            write_protected: token.write_protected,
            keys: token.seen.keys.len(),
            pin: words::pin(token),
            pin_on_device: token.seen.protected_path,
            so_pin: words::so_pin(token),
            makes: token.makes.iter().map(|kind| words::kind(*kind)).collect(),
            module: module.to_owned(),
            uri: uri(token),
            unreadable: token.unreadable.as_deref().map(shown),
        }
    }

    fn row(&self) -> [String; 9] {
        let filled = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let keys = if self.unreadable.is_some() { "?".to_owned() } else { self.keys.to_string() };
        let read_only = if self.write_protected { ", read-only" } else { "" };
        [
            filled(&self.token),
            filled(&self.manufacturer),
            filled(&self.model),
            filled(&self.serial),
            self.slot.to_string(),
            keys,
            format!("{}{read_only}", self.pin),
            self.so_pin.clone(),
            self.module.clone(),
        ]
    }
}

pub(super) async fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let found = arguments.modules.survey().await?;
    let entries = found.iter().flat_map(|module| {
        let path = module.spec.path.display().to_string();
        module.tokens.iter().map(move |token| Entry::of(token, &path))
    });
    let entries: Vec<Entry> = entries.collect();
    if arguments.json {
        let text = serde_json::to_string_pretty(&entries).map_err(|error| error.to_string())?;
        return super::super::print(&(text + "\n"));
    }
    if entries.is_empty() {
        return super::super::print("no tokens\n");
    }
    let header = ["TOKEN", "MANUFACTURER", "MODEL", "SERIAL", "SLOT", "KEYS", "PIN", "SO PIN", "MODULE"];
    let rows = entries.iter().map(Entry::row);
    super::super::print(&columns(std::iter::once(header.map(str::to_owned)).chain(rows).collect()))
}
