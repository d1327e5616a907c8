//! `hardkey policy`: what the rules say, before anything is asked of a token.

mod described;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::agent::inventory::Entry;
use crate::backend::pkcs11::uri::Uri;
use crate::config::{Config, administrator};
use crate::policy::asked::KeyFacts;
use crate::policy::{Administrator, Finding, KeyAtHand, KeyLimits, Policy, Remember, Scope, Source, Verdict};
use described::Described;

/// The exit status when there is something that can hardly be meant, and no error.
const WARNED: u8 = 3;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look for errors in a configuration, and for rules that can hardly be meant
    Check {
        /// The file [default: $HARDKEY_CONFIG, else ~/.config/hardkey/config.toml]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show what a request would take, and by which rules
    Explain {
        #[command(flatten)]
        described: Box<Described>,
        /// Configuration file [default: $HARDKEY_CONFIG, else ~/.config/hardkey/config.toml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    match &arguments.command {
        Command::Check { file } => check(file.as_ref()),
        Command::Explain { described, config } => explain(described, config.as_ref()),
    }
}

fn check(file: Option<&PathBuf>) -> Result<ExitCode, String> {
    let config = Config::find(file.map(PathBuf::as_path)).map_err(|error| error.to_string())?;
    let policy = config.policy.with_administrator(administrator::read());
    if let Administrator::Unknown(reason) = &policy.administrator {
        return Err(format!("nothing is signed: {reason}"));
    }
    let mut findings = policy.lint();
    if let Some(entries) = super::client::of_agent() {
        let uris: Vec<Option<Uri>> = entries.iter().map(uri).collect();
        let keys: Vec<KeyAtHand<'_>> =
            entries.iter().zip(&uris).map(|(entry, uri)| at_hand(entry, uri.as_ref())).collect();
        findings.extend(policy.lint_for(&keys));
    }
    let line = |finding: &Finding| match &finding.place {
        Some(place) => format!("{place}: {}\n", finding.text),
        None => format!("{}\n", finding.text),
    };
    super::print(&findings.iter().map(line).collect::<String>())?;
    match findings.is_empty() {
        true => super::print("no errors, and nothing that can hardly be meant\n"),
        false => Ok(ExitCode::from(WARNED)),
    }
}

fn uri(entry: &Entry) -> Option<Uri> {
    Uri::parse(entry.place.uri.as_deref()?).ok()
}

/// A key of the agent as rules see it.
fn at_hand<'a>(entry: &'a Entry, uri: Option<&'a Uri>) -> KeyAtHand<'a> {
    let facts = KeyFacts { fingerprint: &entry.fingerprint, comment: &entry.comment, uri };
    KeyAtHand { facts, no_touch: entry.cannot_demand.touch.as_deref(), no_pin: entry.cannot_demand.pin.as_deref() }
}

fn explain(described: &Described, config: Option<&PathBuf>) -> Result<ExitCode, String> {
    let config = Config::find(config.map(PathBuf::as_path)).map_err(|error| error.to_string())?;
    let policy = config.policy.with_administrator(administrator::read());
    let request = described.request(&policy)?;
    let limits = KeyLimits { confirm: described.confirm, ..KeyLimits::default() };
    super::print(&explanation(&policy, &policy.decide(&request.asked(), limits), &request.asked().key))
}

fn explanation(policy: &Policy, verdict: &Verdict, key: &KeyFacts<'_>) -> String {
    let mut text = format!("{}\nbecause: {}\n", verdict.action, verdict.because().cited());
    if let Some(name) = policy.name_of(key) {
        let _ = writeln!(text, "key: {name}");
    }
    for part in &verdict.parts {
        let source = match part.source {
            Source::Class => "class",
            Source::Key => "key",
            Source::Rule => "rule",
            Source::Limit => "ssh-add",
            Source::Token => "token",
            Source::Administrator => "administrator",
        };
        let _ = writeln!(text, "  {source:<13} {:<15} {}", part.action.to_string(), part.cited());
        if let Some(rate) = part.rate {
            let _ = writeln!(text, "  {:<13} at most {} in {} s", "", rate.count, rate.per.as_secs());
        }
    }
    match verdict.remember {
        Some(remember) => text + &reach(remember),
        None => text,
    }
}

fn reach(remember: Remember) -> String {
    let scope = match remember.scope {
        Scope::Terminal => "from the same terminal session",
        Scope::Hop => "through the same session of the hop",
    };
    let count = remember.cache.count.map_or_else(String::new, |count| format!(" and {count} signatures"));
    format!(
        "one yes is enough for {} s{count}, for the same user and destination, {scope}\n",
        remember.cache.time.as_secs()
    )
}
