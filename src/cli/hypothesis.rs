//! `hardkey explain --host …`: what would become of a request that is described.

use std::path::{Path, PathBuf};

use super::described::Described;
use crate::agent::explanation::words;
use crate::agent::inventory::Entry;
use crate::backend::pkcs11::uri::Uri;
use crate::config::{Config, administrator};
use crate::origin::classify::Origin;
use crate::origin::evidence::{PayloadFact, Request};
use crate::origin::rules::Outcome;
use crate::origin::supposed::{Supposed, Supposition, suppose};
use crate::origin::trust::Trust;
use crate::policy::asked::{Asked, KeyFacts, Kind, Program};
use crate::policy::{Action, KeyLimits, Policy, Preset, Requirements, decide_management};
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
    let (trust, _missing) = Trust::usual(&config.trust.ssh());
    let supposition = runtime.block_on(suppose(&supposed, &trust)).map_err(|unknown| unknown.to_string())?;
    let policy = config.policy.with_administrator(administrator::read());
    Ok(told(&supposed, &supposition, key.as_ref(), &policy))
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
    let entries = super::client::inventory(None)?.keys;
    let file = Path::new(name).is_file().then(|| std::fs::read_to_string(name).ok()).flatten();
    let is_it = |entry: &&Entry| {
        let blob = entry.public_key.split(' ').nth(1);
        let in_file = file.as_ref().and_then(|line| line.split_ascii_whitespace().nth(1));
        entry.fingerprint == name || entry.comment == name || (in_file.is_some() && blob == in_file)
    };
    let found = entries.iter().find(is_it).cloned();
    found.ok_or_else(|| format!("{name:?}: no such key; hardkey list shows fingerprints and comments"))
}

fn told(supposed: &Supposed, supposition: &Supposition, key: Option<&Entry>, policy: &Policy) -> String {
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
    line("because", supposition.judgement.reason.to_string());
    line("then", consequence(supposed, supposition, key, policy));
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
    text::printable(&(lines.join("\n") + "\n"))
}

/// What would follow, by the configuration.
fn consequence(supposed: &Supposed, supposition: &Supposition, key: Option<&Entry>, policy: &Policy) -> String {
    let origin = supposition.judgement.origin;
    let payload = match &supposition.request {
        Request::Sign(payload) => payload,
        Request::List | Request::Manage if policy.preset() == Preset::Openssh => {
            return "done without a question (preset openssh)".to_owned();
        }
        Request::List | Request::Manage => {
            return match decide_management(origin) {
                Ok(()) => "done without a question".to_owned(),
                Err(refusal) => format!("refused ({refusal})"),
            };
        }
    };
    let certain = match payload {
        PayloadFact::BoundLogin { .. } => true,
        PayloadFact::Login { .. } => origin == Origin::LocalDirect,
        _ => false,
    };
    let lower = |host: &String| host.to_ascii_lowercase();
    let hosts: Vec<String> = supposed.host.iter().filter(|_| certain).map(lower).collect();
    let via: Vec<String> =
        supposed.via.iter().take(1).filter(|_| supposition.judgement.first_hop_proved).map(lower).collect();
    let uri = key.and_then(|key| key.place.uri.as_deref()).and_then(|uri| Uri::parse(uri).ok());
    let limits = KeyLimits { confirm: key.is_some_and(|key| key.confirm), ..KeyLimits::default() };
    let asked = Asked {
        key: KeyFacts {
            fingerprint: key.map_or("", |key| &key.fingerprint),
            comment: key.map_or("", |key| &key.comment),
            uri: uri.as_ref(),
        },
        origin,
        kind: kind(payload),
        hosts: &hosts,
        user: payload.login().map(|(user, _)| user),
        via: &via,
        hops: supposition.binds.list().iter().filter(|bind| bind.is_forwarding()).count(),
        namespace: None,
        program: supposed.process.is_none().then(|| supposed.program.to_str()).flatten().map(program_of),
        parents: &[],
        listener: None,
    };
    let verdict = policy.decide(&asked, limits);
    let what = match verdict.action {
        Action::Deny => "refused",
        action if action.demands(Requirements::CONFIRM) => "asked about, and refused if nobody can be asked",
        Action::Require(_) => "done without a question",
    };
    format!("{what} ({})", verdict.because().cited())
}

const fn program_of(path: &str) -> Program<'_> {
    Program { path, arguments: &[] }
}

const fn kind(payload: &PayloadFact) -> Kind {
    match payload {
        PayloadFact::BoundLogin { .. } => Kind::BoundLogin,
        PayloadFact::Login { .. } => Kind::Login,
        PayloadFact::SshSig => Kind::SshSig,
        PayloadFact::Certificate => Kind::Certificate,
        PayloadFact::Sudo => Kind::Sudo,
        PayloadFact::HostKex => Kind::HostKex,
        PayloadFact::Raw => Kind::Raw,
    }
}
