//! `hardkey explain --host …`: what would become of a request that is described.

use std::path::{Path, PathBuf};

use super::described::Described;
use crate::agent::account::words;
use crate::agent::inventory::Entry;
use crate::config::Config;
use crate::origin::evidence::{PayloadFact, Request};
use crate::origin::rules::Outcome;
use crate::origin::supposed::{Supposed, Supposition, suppose};
use crate::origin::trust::Trust;
use crate::policy::{self, Action, Ask, KeyLimits, Preset};
use crate::text;

/// The explanation, as lines.
pub(super) fn explain(described: &Described) -> Result<String, String> {
    let config = Config::find(None).map_err(|error| error.to_string())?;
    let key = described.key.as_deref().map(find).transpose()?;
    let supposed = supposed(described, &config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let (trust, _missing) = Trust::usual();
    let supposition = runtime.block_on(suppose(&supposed, &trust)).map_err(|unknown| unknown.to_string())?;
    Ok(told(&supposed, &supposition, key.as_ref(), config.preset))
}

fn supposed(described: &Described, config: &Config) -> Result<Supposed, String> {
    let peer = described.peer.as_deref().unwrap_or("/usr/bin/ssh");
    let process = peer.parse().ok();
    let program = match process {
        Some(_) => PathBuf::new(),
        None => program(peer).ok_or_else(|| format!("{peer:?}: no such program; say it with its path"))?,
    };
    let extra = config.listen.extra.iter().map(|extra| &extra.path);
    let forward_sockets = config.listen.forward.iter().chain(extra).map(|path| crate::paths::in_runtime_folder(path));
    Ok(Supposed {
        program,
        process,
        via: described.via.clone(),
        host: described.host.clone(),
        user: described.user.clone(),
        socket: std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
        forward_sockets: forward_sockets.collect(),
    })
}

/// A program by its path, or by its name as a shell finds it.
fn program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The key of this fingerprint or comment.
fn find(name: &str) -> Result<Entry, String> {
    let entries = super::client::inventory(None)?;
    let file = Path::new(name).is_file().then(|| std::fs::read_to_string(name).ok()).flatten();
    let is_it = |entry: &&Entry| {
        let blob = entry.public_key.split(' ').nth(1);
        let in_file = file.as_ref().and_then(|line| line.split_ascii_whitespace().nth(1));
        entry.fingerprint == name || entry.comment == name || (in_file.is_some() && blob == in_file)
    };
    let found = entries.iter().find(is_it).cloned();
    found.ok_or_else(|| format!("{name:?}: no such key; hardkey list shows fingerprints and comments"))
}

fn told(supposed: &Supposed, supposition: &Supposition, key: Option<&Entry>, preset: Preset) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, text: String| lines.push(format!("{name:<9}{text}"));
    let program = match supposed.process {
        Some(pid) => format!("process {pid}"),
        None => text::escape(supposed.program.as_os_str().as_encoded_bytes()),
    };
    line("asker", program);
    line("asked", words(&supposition.request));
    if let Some(host) = &supposed.host {
        line("at", text::excerpt(host.as_bytes()));
    }
    if !supposed.via.is_empty() {
        let hosts: Vec<String> = supposed.via.iter().map(|host| text::excerpt(host.as_bytes())).collect();
        line("through", hosts.join(" -> "));
    }
    if let Some(key) = key {
        line("key", format!("{} {}", key.comment, key.fingerprint));
    }
    line("class", supposition.judgement.origin.to_string());
    line("because", supposition.judgement.reason.clone());
    line("then", consequence(supposition, key, preset));
    lines.push(String::new());
    lines.push("The ten rules of a local login:".to_owned());
    for finding in &supposition.judgement.findings {
        let holds = match finding.outcome {
            Outcome::Pass => "yes",
            Outcome::Fail => "NO",
            Outcome::NotReached => "-",
        };
        lines.push(format!("{:<4}{holds:<5}{}", finding.rule.to_string(), finding.reason));
    }
    lines.push(String::new());
    lines.extend(supposition.notes.iter().map(|note| format!("({note})")));
    super::explain::printable(&(lines.join("\n") + "\n"))
}

/// What would follow, by the configuration's preset.
fn consequence(supposition: &Supposition, key: Option<&Entry>, preset: Preset) -> String {
    let limits = KeyLimits { confirm: key.is_some_and(|key| key.confirm), named_destination: false };
    let ask = match supposition.request {
        Request::Sign(PayloadFact::Raw) => Ask::Raw,
        _ => Ask::Understood,
    };
    let verdict = match (&supposition.request, preset) {
        (_, Preset::Openssh) => policy::decide_as_stock(limits),
        (Request::Manage, Preset::Strict) => policy::decide_management(&supposition.judgement),
        _ => policy::decide(&supposition.judgement, ask, limits, &supposition.binds),
    };
    let what = match verdict.action {
        Action::Allow => "done without a question",
        Action::Confirm => "asked about, and refused if nobody can be asked",
        Action::Deny => "refused",
    };
    format!("{what} ({})", verdict.rule)
}
