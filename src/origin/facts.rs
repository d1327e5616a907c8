//! What a person may be told of a connection, as values: who asks, through which hosts, and where to. For dialogs, explanations
//! and rules.
//!
//! Nothing here decides anything. What is [`Proved`](Certainty::Proved) may be stated; what is [`Claimed`](Certainty::Claimed)
//! is the word of somebody who may lie. All text is as it was found: escape it before showing it, or take the methods that do.
//!
//! Asking costs little: what the judgement has found out is not looked for again, `known_hosts` is read when it has changed, and
//! the processes above the peer are looked at.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::Unknown;
use super::classify::{Destination, Judgement, destination};
use super::connection::{Connection, gather::read_within_time};
use super::evidence::Request;
use super::known_hosts::{HostKey, Place};
use super::peer::{Ancestor, Process, Terminal};
use crate::{paths, text};

/// More of a process's arguments than this are not shown: octets.
const LONGEST_COMMAND: usize = 200;
/// Processes of a chain that are named.
const LONGEST_CHAIN: usize = 5;

/// What may be told of a connection and of one request on it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What the user calls the socket at which it arrived; none for the agent's own.
    pub label: Option<Arc<str>>,
    /// The process that connected: the asker itself, or what relays for it.
    pub asker: Result<Asker, Unknown>,
    /// The hosts that the request came through by its own account, the one next to this machine first.
    pub hops: Vec<Hop>,
    /// The host that the signature is good for; none when it is not for a login, or nobody says.
    pub target: Option<Hop>,
}

/// The hosts that a request comes through and leads to: [`Facts::hops`] and [`Facts::target`].
#[derive(Debug, Clone)]
pub struct Route {
    /// See [`Facts::hops`].
    pub hops: Vec<Hop>,
    /// See [`Facts::target`].
    pub target: Option<Hop>,
}

/// How far something can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It is a fact.
    Proved,
    /// Somebody says so who may lie.
    Claimed,
}

/// A host and how certain it is that it is the one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The host.
    pub host: Host,
    /// Whether it is a fact that this is the host.
    pub certainty: Certainty,
    /// The session with it, if one was announced.
    pub session_id: Option<Vec<u8>>,
}

/// A host, known by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What it is called on this machine, the name that people know it by first. Never what it calls itself.
    pub names: Vec<Name>,
    /// The host key or host certificate as it was announced.
    pub key: Vec<u8>,
    /// The key's `SHA256:` fingerprint, as `ssh` shows it.
    pub fingerprint: String,
}

/// What a host is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name, with its port as `[name]:port` when it is not 22.
    pub name: String,
    /// The line of `known_hosts` that says so; none for what the user typed when `ssh` logged in there.
    pub place: Option<Place>,
}

/// The process that connected.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Its number.
    pub pid: i32,
    /// Its program, where that may be seen.
    pub executable: Option<PathBuf>,
    /// Its arguments: any octets, up to 512 KiB of them.
    pub arguments: Vec<OsString>,
    /// The processes above it, nearest first.
    pub ancestors: Vec<Ancestor>,
    /// Its terminal.
    pub terminal: Option<Terminal>,
    /// What its environment tells of where its user sits ([`WANTED_VARIABLES`](super::environment::WANTED_VARIABLES)).
    pub surroundings: Vec<(&'static str, OsString)>,
}

impl Asker {
    pub(super) fn of(process: &Process) -> Self {
        let environment = process.environment().unwrap_or_default();
        let surroundings = environment.wanted().into_iter().map(|(name, value)| (name, value.to_owned()));
        Self {
            pid: process.id.pid,
            executable: process.executable.as_ref().ok().map(|executable| executable.path.clone()),
            arguments: process.arguments.as_ref().cloned().unwrap_or_default(),
            ancestors: process.ancestors(),
            terminal: process.terminal(),
            surroundings: surroundings.collect(),
        }
    }

    /// The value of one of [`WANTED_VARIABLES`](super::environment::WANTED_VARIABLES).
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.surroundings.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_os_str())
    }

    /// Its command line, safe to show and cut.
    #[must_use]
    pub fn command(&self) -> String {
        command_line(&self.arguments)
    }

    /// Its program and those above it, each by its name: `ssh <- git <- bash`. Safe to show.
    #[must_use]
    pub fn chain(&self) -> String {
        let own = named(self.executable.as_ref(), self.arguments.first());
        let above = self.ancestors.iter().map(|ancestor| named(ancestor.executable.as_ref(), ancestor.name.as_ref()));
        let names: Vec<String> = std::iter::once(own).chain(above).take(LONGEST_CHAIN).collect();
        names.join(" <- ")
    }
}

impl Host {
    /// The name that people know it by, or its key's fingerprint. Safe to show.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.names.first() {
            Some(name) => text::excerpt(name.name.as_bytes()),
            None => format!("a host that is not known, {}", self.fingerprint),
        }
    }
}

impl Connection {
    /// What a person may be told of this connection and of a request on it that has been judged.
    pub async fn facts(&self, request: &Request, judgement: &Judgement) -> Facts {
        let Route { hops, target } = self.route(request, judgement).await;
        Facts {
            label: self.listener().label.clone(),
            asker: self.peer().process.as_ref().map(Asker::of).map_err(Clone::clone),
            hops,
            target,
        }
    }

    /// The hosts that a request which has been judged comes through and leads to.
    pub async fn route(&self, request: &Request, judgement: &Judgement) -> Route {
        let target = match destination(&self.evidence(request), judgement.origin) {
            Destination::Enforced(key) | Destination::Vouched(key) => Some((key.to_vec(), Certainty::Proved)),
            Destination::Unknown => None,
        };
        let last = self.binds().list().last().filter(|bind| !bind.is_forwarding());
        let is_login = matches!(request, Request::Sign(payload) if payload.login().is_some());
        let target = target.or_else(|| Some((last.filter(|_| is_login)?.hostkey().to_vec(), Certainty::Claimed)));
        let mut hops = Vec::new();
        for (index, bind) in self.binds().list().iter().filter(|bind| bind.is_forwarding()).enumerate() {
            let certainty = match index == 0 && judgement.first_hop_proved {
                true => Certainty::Proved,
                false => Certainty::Claimed,
            };
            let session_id = Some(bind.session_id().to_vec());
            hops.push(Hop { host: self.host(bind.hostkey()).await, certainty, session_id });
        }
        let target = match target {
            Some((key, certainty)) => {
                let session_id = last.filter(|bind| bind.hostkey() == key).map(|bind| bind.session_id().to_vec());
                Some(Hop { host: self.host(&key).await, certainty, session_id })
            }
            None => None,
        };
        Route { hops, target }
    }

    /// What is known of the host that has this key.
    pub async fn host(&self, key: &[u8]) -> Host {
        let Ok(known) = HostKey::from_wire(key) else {
            return Host { names: Vec::new(), key: key.to_vec(), fingerprint: "a key that cannot be read".to_owned() };
        };
        let fingerprint = known.fingerprint();
        let met = self.hosts().names_met(key).into_iter().map(|name| Name { name, place: None });
        let mut names: Vec<Name> = met.collect();
        let asked = self.config_seen();
        let files = asked.as_ref().map_or_else(usual_files, |asked| asked.config.known_hosts.clone());
        let candidates = asked.map(|asked| asked.config.names()).unwrap_or_default();
        let hosts = Arc::clone(self.hosts());
        let read = move || hosts.names(&files, &known, &candidates);
        for known in read_within_time(read).await.unwrap_or_default() {
            match names.iter_mut().find(|name| name.name == known.name) {
                Some(name) => name.place = name.place.take().or(Some(known.place)),
                None => names.push(Name { name: known.name, place: Some(known.place) }),
            }
        }
        Host { names, key: key.to_vec(), fingerprint }
    }
}

/// Where `ssh` looks for hosts' keys when nobody configures anything: ssh_config(5).
fn usual_files() -> Vec<PathBuf> {
    let own = paths::home().map(|home| [".ssh/known_hosts", ".ssh/known_hosts2"].map(|file| home.join(file)));
    let system = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"].map(PathBuf::from);
    own.into_iter().flatten().chain(system).collect()
}

/// A command line, safe to show; where it is too long its midst is left out, as `ssh` has the host at the end.
pub(super) fn command_line(arguments: &[OsString]) -> String {
    let octets = arguments.join(OsStr::new(" ")).into_encoded_bytes();
    match octets.len() > LONGEST_COMMAND {
        true => {
            let (half, last) = (LONGEST_COMMAND / 2, octets.len() - LONGEST_COMMAND / 2);
            format!("{}…{}", text::escape(&octets[..half]), text::escape(&octets[last..]))
        }
        false => text::escape(&octets),
    }
}

fn named(executable: Option<&PathBuf>, name: Option<&OsString>) -> String {
    let own = name.map(|name| name.as_bytes()).filter(|name| !name.is_empty());
    let name = executable.and_then(|path| path.file_name()).map(OsStr::as_bytes).or(own).unwrap_or(b"?");
    // `-bash` is how a login shell is called.
    let name = name.rsplit(|octet| *octet == b'/').next().unwrap_or(name);
    text::excerpt(name.strip_prefix(b"-").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(arguments: &[&str]) -> Asker {
        Asker {
            pid: 1,
            executable: Some("/usr/bin/ssh".into()),
            arguments: arguments.iter().map(OsString::from).collect(),
            ancestors: vec![
                Ancestor { pid: 2, executable: None, name: Some("-bash\n".into()) },
                Ancestor { pid: 3, executable: Some("/usr/bin/kitty".into()), name: None },
            ],
            terminal: None,
            surroundings: vec![("DISPLAY", ":0".into())],
        }
    }

    #[test]
    fn a_chain_of_processes_is_on_one_line() {
        assert_eq!(asker(&[]).chain(), "ssh <- bash\\x0a <- kitty");
    }

    #[test]
    fn arguments_are_escaped_and_cut() {
        assert_eq!(asker(&["ssh", "-o", "A=b\nc", "host"]).command(), "ssh -o A=b\\x0ac host");
        let long = asker(&["ssh", &"x".repeat(100 * 1024), "host"]).command();
        assert_eq!(long.chars().count(), LONGEST_COMMAND + 1);
        assert!(long.starts_with("ssh x") && long.contains("x…x") && long.ends_with("x host"), "{long}");
        assert_eq!(asker(&["ssh"]).variable("DISPLAY"), Some(OsStr::new(":0")));
        assert_eq!(asker(&["ssh"]).variable("SECRET"), None);
    }
}
