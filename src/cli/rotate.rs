//! `hardkey rotate`: which keys are in use, which are to come, and which are to go.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::list::columns;
use super::public::matcher;
use super::{client, terminal};
use crate::agent::inventory::Entry;
use crate::rotation::{Rotating, Rotation, State};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List keys with their states and files
    List(ListArguments),
    /// Give a key a state, and write its file
    Set(SetArguments),
    /// Forget the state of a key, and remove its file
    Forget(ForgetArguments),
}

#[derive(Args)]
struct ListArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Look at the modules of this configuration instead of asking the agent
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct SetArguments {
    /// The key: a pkcs11: URI, a fingerprint, or a comment
    #[arg(value_name = "KEY")]
    key: String,
    /// Its state
    #[arg(value_name = "STATE")]
    state: Wanted,
    /// The name that its files have, the same for the key that takes its place; by default the one it has, or its comment
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Look at the modules of this configuration instead of asking the agent
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct ForgetArguments {
    /// The key: a pkcs11: URI, a fingerprint, or a comment
    #[arg(value_name = "KEY")]
    key: String,
    /// Look at the modules of this configuration instead of asking the agent
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Wanted {
    /// In use: another key of its name that was active retires
    Active,
    /// To come: offered after those in use
    Next,
    /// To go: offered only to an ssh that names its file
    Retired,
}

impl Wanted {
    const fn state(self) -> State {
        match self {
            Self::Active => State::Active,
            Self::Next => State::Next,
            Self::Retired => State::Retired,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    match &arguments.command {
        Command::List(arguments) => list(arguments),
        Command::Set(arguments) => set(arguments),
        Command::Forget(arguments) => forget(arguments),
    }
}

/// A key of the list. The field names are those of `hardkey rotate list --json`.
#[derive(Serialize)]
struct Row {
    /// The name; none for a key that nothing was said about.
    name: Option<String>,
    state: State,
    /// The comment.
    key: String,
    fingerprint: String,
    /// The agent has it.
    there: bool,
    file: Option<PathBuf>,
    public_key: String,
}

fn list(arguments: &ListArguments) -> Result<ExitCode, String> {
    let (rotation, folder) = (read()?, folder()?);
    let present = keys(&client::inventory(arguments.config.as_deref())?.keys);
    let is_there = |line: &str| present.iter().any(|key| same(&key.public_key, line));
    let mut rows: Vec<Row> = rotation
        .files()
        .into_iter()
        .map(|(file, key)| Row {
            name: Some(key.name.clone()),
            state: key.state,
            key: key.comment().to_owned(),
            fingerprint: key.fingerprint(),
            there: is_there(&key.public_key),
            file: Some(folder.join(file)),
            public_key: key.public_key.clone(),
        })
        .collect();
    rows.sort_by(|one, other| (&one.name, rank(one.state)).cmp(&(&other.name, rank(other.state))));
    let unsaid = present.iter().filter(|key| rotation.find(&key.public_key).is_none());
    rows.extend(unsaid.map(|key| Row {
        name: None,
        state: State::Active,
        key: key.comment.clone(),
        fingerprint: key.fingerprint.clone(),
        there: true,
        file: None,
        public_key: key.public_key.clone(),
    }));
    if arguments.json {
        let text = serde_json::to_string_pretty(&rows).map_err(|error| error.to_string())?;
        return super::print(&(text + "\n"));
    }
    if rows.is_empty() {
        return super::print("no keys\n");
    }
    let header = ["NAME", "STATE", "KEY", "FINGERPRINT", "FILE"].map(str::to_owned);
    let lines = rows.into_iter().map(|row| {
        let gone = if row.there { "" } else { ", not in the agent" };
        let file = row.file.map_or_else(|| "-".to_owned(), |file| file.display().to_string());
        let name = row.name.unwrap_or_else(|| "-".to_owned());
        [name, format!("{}{gone}", row.state.name()), row.key, row.fingerprint, file]
    });
    super::print(&columns(std::iter::once(header).chain(lines).collect()))
}

fn set(arguments: &SetArguments) -> Result<ExitCode, String> {
    let (mut rotation, folder) = (read()?, folder()?);
    let present = keys(&client::inventory(arguments.config.as_deref())?.keys);
    let line = find(&arguments.key, &present, &rotation)?;
    let known = rotation.find(&line).map(|key| key.name.clone());
    let name = arguments.name.clone().or(known);
    let name = name.unwrap_or_else(|| line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned());
    let state = arguments.state.state();
    let retired = rotation.set(&name, &line, state).map_err(|error| match arguments.name {
        Some(_) => error.to_string(),
        None => format!("{error}; --name gives it one"),
    })?;
    keep(&mut rotation, &folder)?;
    if let Some(before) = &retired {
        let Rotating { name, .. } = before;
        terminal::say(&format!("{name}: the key {:?} {} is retired.", before.comment(), before.fingerprint()));
    }
    let files = rotation.files();
    let key = files.iter().find(|(_, key)| same(&key.public_key, &line));
    let (file, key) = key.ok_or("the key was not kept")?;
    terminal::say(&format!("{name}: the key {:?} {} is {}.", key.comment(), key.fingerprint(), state.name()));
    if state == State::Retired && !files.iter().any(|(_, key)| key.name == name && key.state == State::Active) {
        terminal::say(&format!("{name} has no active key now."));
    }
    super::print(&format!("{}\n", folder.join(file).display()))
}

fn forget(arguments: &ForgetArguments) -> Result<ExitCode, String> {
    let (mut rotation, folder) = (read()?, folder()?);
    let present = keys(&client::inventory(arguments.config.as_deref())?.keys);
    let line = find(&arguments.key, &present, &rotation)?;
    let Some(key) = rotation.find(&line).cloned() else {
        return Err(format!("nothing was said about the key {:?}", arguments.key));
    };
    if key.state == State::Retired && present.iter().any(|there| same(&there.public_key, &line)) {
        let question = format!("The agent still has the key {:?}, and will offer it again.", key.comment());
        terminal::confirmed(&question)?;
    }
    rotation.forget(&line);
    keep(&mut rotation, &folder)?;
    terminal::say(&format!("{}: the key {:?} {} is forgotten.", key.name, key.comment(), key.fingerprint()));
    Ok(ExitCode::SUCCESS)
}

/// The keys themselves, without the certificates.
fn keys(entries: &[Entry]) -> Vec<Entry> {
    entries.iter().filter(|entry| !entry.public_key.contains("-cert-v01@openssh.com ")).cloned().collect()
}

/// The line of the one key that is meant, of those that are there and those that something was said about.
fn find(key: &str, present: &[Entry], rotation: &Rotation) -> Result<String, String> {
    let matches = matcher(key)?;
    let mut lines: Vec<&str> = Vec::new();
    let mut add = |line| {
        if lines.iter().all(|known| !same(known, line)) {
            lines.push(line);
        }
    };
    present.iter().filter(|entry| matches(entry)).for_each(|entry| add(&entry.public_key));
    let said = rotation.keys().iter().filter(|known| known.fingerprint() == key || known.comment() == key);
    said.for_each(|known| add(&known.public_key));
    match lines[..] {
        [line] => Ok(line.to_owned()),
        [] => Err(format!("no key matches {key:?}; `hardkey rotate list` shows what there is")),
        _ => Err(format!("several keys match {key:?}; name one by its fingerprint")),
    }
}

/// Whether two lines are about the same key.
fn same(one: &str, other: &str) -> bool {
    one.split(' ').nth(1) == other.split(' ').nth(1)
}

const fn rank(state: State) -> u8 {
    match state {
        State::Active => 0,
        State::Next => 1,
        State::Retired => 2,
    }
}

fn read() -> Result<Rotation, String> {
    let file = file()?;
    Rotation::read(&file).map_err(|error| format!("{}: {error}", file.display()))
}

fn keep(rotation: &mut Rotation, folder: &std::path::Path) -> Result<(), String> {
    rotation.export(folder).map_err(|error| format!("the public keys cannot be written: {error}"))?;
    let file = file()?;
    rotation.write(&file).map_err(|error| format!("{}: {error}", file.display()))
}

fn file() -> Result<PathBuf, String> {
    Rotation::file().ok_or_else(|| "HOME is not set, so there is no place for the states of keys".to_owned())
}

fn folder() -> Result<PathBuf, String> {
    Rotation::folder().ok_or_else(|| "HOME is not set, so there is no place for the files of keys".to_owned())
}
