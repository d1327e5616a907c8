//! What an `ssh`'s effective configuration means for us: whose agent it uses, and what it lets the far side reach.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use indexmap::IndexMap;
use rustix::fs::stat;

use super::Unknown;
use super::effective_config::{EffectiveConfig, RemoteTarget};
use super::environment::Environment;
use super::evidence::Setup;
use super::peer::{Process, ProcessId};
use super::proc::FileId;

/// The processes whose configuration is kept.
const MOST_CONFIGS: usize = 256;

/// The paths of the sockets an agent listens at.
#[derive(Debug, Clone, Copy)]
pub struct Sockets<'a> {
    /// The one the connection in question arrived at; none when it has no path.
    pub this: Option<&'a Path>,
    /// All of them.
    pub all: &'a [PathBuf],
}

/// A configuration and what the environment had to add to it; the environment itself is not kept.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The configuration.
    pub config: EffectiveConfig,
    own_agent: Result<Option<PathBuf>, Unknown>,
    forwarded_agent: Result<Option<PathBuf>, Unknown>,
}

impl Asked {
    /// Looks up in the environment what the configuration leaves to it.
    #[must_use]
    pub fn new(config: EffectiveConfig, environment: &Environment) -> Self {
        Self { own_agent: config.own_agent(environment), forwarded_agent: config.forwarded_agent(environment), config }
    }
}

/// The configurations of processes that were asked for already: the one a process was started with stays its own.
#[derive(Debug, Default)]
pub(super) struct Configs(Mutex<Kept>);

type Kept = IndexMap<(ProcessId, Vec<u8>), Arc<Asked>>;

impl Configs {
    /// The configuration of this process, if it has been asked for.
    pub(super) fn of(&self, process: &Process) -> Option<Arc<Asked>> {
        self.lock().get(&question(process)).cloned()
    }

    /// Keeps the configuration of this process.
    pub(super) fn keep(&self, process: &Process, asked: Asked) -> Arc<Asked> {
        let asked = Arc::new(asked);
        let mut configs = self.lock();
        if configs.len() >= MOST_CONFIGS {
            configs.shift_remove_index(0);
        }
        configs.insert(question(process), Arc::clone(&asked));
        asked
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process and what it was started with, for a process may become another program; the arguments may be long, and their hash
/// does.
fn question(process: &Process) -> (ProcessId, Vec<u8>) {
    let mut hash = digest::Context::new(&digest::SHA256);
    for argument in process.arguments.iter().flatten() {
        hash.update(argument.as_bytes());
        hash.update(b"\0");
    }
    (process.id, hash.finish().as_ref().to_vec())
}

impl Setup {
    /// Reads the configuration with our sockets in mind. Sockets are compared as files, so that links do not matter.
    #[must_use]
    pub fn new(asked: &Asked, sockets: Sockets<'_>) -> Self {
        let config = &asked.config;
        Self {
            destination: format!("{} port {}", config.hostname, config.port),
            user: config.user.clone(),
            own_agent_is_ours: is_this(&asked.own_agent, sockets),
            relays: config.remote_forwards.iter().find_map(|target| relay(target, sockets)),
            forwards_us: is_this(&asked.forwarded_agent, sockets),
            gssapi_key_exchange: config.gssapi_key_exchange,
            backgrounds: config.backgrounds,
        }
    }
}

fn is_this(agent: &Result<Option<PathBuf>, Unknown>, sockets: Sockets<'_>) -> Result<bool, Unknown> {
    let Some(agent) = agent.as_ref().map_err(Clone::clone)? else {
        return Ok(false);
    };
    let this = sockets.this.and_then(file_at);
    let this = this.ok_or_else(|| Unknown::new("the socket that was connected to is not where it was"))?;
    Ok(file_at(agent) == Some(this))
}

/// What is wrong with forwarding this target to the far side. A socket that is certainly none of ours is nobody's business.
fn relay(target: &RemoteTarget, sockets: Sockets<'_>) -> Option<String> {
    match target {
        RemoteTarget::Tcp => None,
        RemoteTarget::Socks => Some("lets the far side connect from here as it likes (SOCKS in RemoteForward)".into()),
        RemoteTarget::Unix(path) => {
            let file = path.is_absolute().then(|| file_at(path)).flatten();
            let ours = |own: &PathBuf| file_at(own).is_none() || file_at(own) == file;
            match file {
                Some(_) if sockets.all.is_empty() || sockets.all.iter().any(ours) => {
                    Some(format!("lets the far side reach the agent's socket {path:?} (RemoteForward)"))
                }
                Some(_) => None,
                None => Some(format!(
                    "lets the far side reach the socket {path:?}, which cannot be looked at (RemoteForward)"
                )),
            }
        }
    }
}

fn file_at(path: &Path) -> Option<FileId> {
    stat(path).ok().map(|stat| FileId::of(&stat))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::origin::testing::Scratch;

    #[test]
    fn the_own_agent_is_compared_as_a_file() {
        let scratch = Scratch::new();
        let (ours, other, link) = (scratch.path("ours"), scratch.path("other"), scratch.path("link"));
        let _listeners = [&ours, &other].map(|path| UnixListener::bind(path).expect("bind"));
        symlink(&ours, &link).expect("link");
        let own = |agent: &Path| setup(&format!("identityagent {}\n", agent.display()), &ours).own_agent_is_ours;
        assert_eq!(
            [own(&ours), own(&link), own(&other), own(&scratch.path("none"))],
            [Ok(true), Ok(true), Ok(false), Ok(false)]
        );
        assert_eq!(setup("identityagent none\n", &ours).own_agent_is_ours, Ok(false));
        assert!(setup("identityagent ~/x\n", &ours).own_agent_is_ours.is_err());
        std::fs::remove_file(&ours).expect("unlink");
        assert!(own(&other).is_err(), "a socket that is gone is not ours nor another's");
    }

    #[test]
    fn forwarding_our_socket_or_one_that_cannot_be_seen_is_a_relay_and_another_s_is_not() {
        let scratch = Scratch::new();
        let (ours, other, link) = (scratch.path("ours"), scratch.path("other"), scratch.path("link"));
        let _listeners = [&ours, &other].map(|path| UnixListener::bind(path).expect("bind"));
        symlink(&ours, &link).expect("link");
        let relays = |target: &str| setup(&format!("remoteforward /r {target}\n"), &ours).relays.is_some();
        assert!(relays(&ours.to_string_lossy()) && relays(&link.to_string_lossy()));
        assert!(relays(&scratch.path("none").to_string_lossy()) && relays("relative/path") && relays("[socks]:0"));
        assert!(!relays(&other.to_string_lossy()) && !relays("[localhost]:22"));
        std::fs::remove_file(&ours).expect("unlink");
        assert!(relays(&other.to_string_lossy()), "what is not where it was could be anywhere");
    }

    fn setup(lines: &str, ours: &Path) -> Setup {
        let text = format!("user me\nhostname h\nport 22\nforwardagent no\n{lines}");
        let config = EffectiveConfig::parse(&text).expect("configuration");
        let all = [ours.to_owned()];
        Setup::new(&Asked::new(config, &Environment::default()), Sockets { this: Some(ours), all: &all })
    }
}
