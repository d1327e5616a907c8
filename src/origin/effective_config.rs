//! What of `ssh`'s effective configuration the judgement needs, out of the text of `ssh -G`: ssh_config(5).

use std::path::{Path, PathBuf};

use super::Unknown;
use super::environment::Environment;
use super::known_hosts::HostName;

/// The configuration of one `ssh` for one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveConfig {
    /// The host as it was typed, without the user; newer versions tell it.
    pub host: Option<String>,
    /// The host that is connected to (`HostName`).
    pub hostname: String,
    /// Its port.
    pub port: u16,
    /// The user logged in as.
    pub user: String,
    /// The name the host's key goes by (`HostKeyAlias`).
    pub host_key_alias: Option<String>,
    /// The files with host keys, the user's first.
    pub known_hosts: Vec<PathBuf>,
    /// The agent that is asked for signatures (`IdentityAgent`).
    pub identity_agent: AgentSocket,
    /// The agent that the far side gets (`ForwardAgent`).
    pub forward_agent: AgentSocket,
    /// What is forwarded from the far side to here (`RemoteForward`).
    pub remote_forwards: Vec<RemoteTarget>,
    /// Whether key exchange by GSSAPI is tried, which announces no session to the agent.
    pub gssapi_key_exchange: bool,
    /// Whether `ssh` may go on as a child in the background (`ForkAfterAuthentication`, `ControlPersist`).
    pub backgrounds: bool,
    /// The keys the configuration names, in order (`IdentityFile`), unexpanded.
    pub identity_files: Vec<String>,
}

/// Which agent an option means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSocket {
    /// None.
    None,
    /// The one `ssh` itself uses by default: `SSH_AUTH_SOCK` for `IdentityAgent`, and the identity agent for `ForwardAgent`.
    Default,
    /// The one at this path.
    Path(PathBuf),
    /// The one at the path in this environment variable.
    Variable(String),
}

/// The near end of a forwarding from the far side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteTarget {
    /// A TCP port.
    Tcp,
    /// A Unix socket.
    Unix(PathBuf),
    /// Whatever the far side asks for.
    Socks,
}

/// The text is not what `ssh -G` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ssh -G did not print its option {0:?}")]
pub struct MissingOption(&'static str);

impl EffectiveConfig {
    /// Reads the output of `ssh -G`.
    ///
    /// # Errors
    /// One of the options that every version prints is missing.
    pub fn parse(text: &str) -> Result<Self, MissingOption> {
        let options = || text.lines().filter_map(|line| line.split_once(' '));
        let all = |name: &'static str| {
            options().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let one = |name: &'static str| all(name).next().ok_or(MissingOption(name));
        let files =
            |name| all(name).flat_map(str::split_ascii_whitespace).filter(|file| *file != "none").map(PathBuf::from);
        let yes = |name| all(name).any(|value| value == "yes" || value == "true");
        Ok(Self {
            host: all("host").next().map(str::to_owned),
            hostname: one("hostname")?.to_owned(),
            port: one("port")?.parse().map_err(|_| MissingOption("port"))?,
            user: one("user")?.to_owned(),
            host_key_alias: all("hostkeyalias").next().map(str::to_owned),
            known_hosts: files("userknownhostsfile").chain(files("globalknownhostsfile")).collect(),
            identity_agent: AgentSocket::identity(all("identityagent").next()),
            forward_agent: AgentSocket::forwarded(one("forwardagent")?),
            remote_forwards: all("remoteforward").map(RemoteTarget::parse).collect(),
            gssapi_key_exchange: yes("gssapikeyexchange"),
            backgrounds: yes("forkafterauthentication") || all("controlpersist").any(|value| value != "no"),
            identity_files: all("identityfile").map(str::to_owned).collect(),
        })
    }

    /// The names under which the host's key is looked for.
    #[must_use]
    pub fn host_name(&self) -> HostName {
        HostName::new(&self.hostname, self.port, self.host_key_alias.as_deref())
    }

    /// What the host is called: first as it was typed, then as its key is looked for.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.host.iter().cloned().collect();
        for name in self.host_name().lookups() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Where the agent is that `ssh` itself uses; none if it uses none.
    ///
    /// # Errors
    /// The path is not written out.
    pub fn own_agent(&self, environment: &Environment) -> Result<Option<PathBuf>, Unknown> {
        match &self.identity_agent {
            AgentSocket::Default => variable(environment, "SSH_AUTH_SOCK"),
            other => other.path(environment),
        }
    }

    /// Where the agent is that the far side gets; none if it gets none.
    ///
    /// # Errors
    /// The path is not written out.
    pub fn forwarded_agent(&self, environment: &Environment) -> Result<Option<PathBuf>, Unknown> {
        match &self.forward_agent {
            AgentSocket::Default => self.own_agent(environment),
            other => other.path(environment),
        }
    }
}

impl AgentSocket {
    fn identity(value: Option<&str>) -> Self {
        match value {
            None | Some("SSH_AUTH_SOCK") => Self::Default,
            Some("none") => Self::None,
            Some(other) => Self::named(other),
        }
    }

    fn forwarded(value: &str) -> Self {
        match value {
            "no" => Self::None,
            "yes" => Self::Default,
            other => Self::named(other),
        }
    }

    fn named(value: &str) -> Self {
        match value.strip_prefix('$').filter(|name| !name.starts_with('{')) {
            Some(name) => Self::Variable(name.to_owned()),
            None => Self::Path(PathBuf::from(value)),
        }
    }

    fn path(&self, environment: &Environment) -> Result<Option<PathBuf>, Unknown> {
        match self {
            Self::None | Self::Default => Ok(None),
            Self::Variable(name) => variable(environment, name),
            Self::Path(path) => written_out(path).map(Some),
        }
    }
}

impl RemoteTarget {
    /// Reads `[address]:port [host]:port`, `port [socks]:0` or `/there /here`; a path may contain spaces.
    fn parse(value: &str) -> Self {
        let Some((_, target)) = value.split_once(' ') else {
            return Self::Socks;
        };
        let last = target.rsplit(' ').next().unwrap_or(target);
        match last.strip_prefix('[').and_then(|rest| rest.rsplit_once("]:")) {
            Some(("socks", "0")) => Self::Socks,
            Some((_, port)) if port.parse::<u16>().is_ok() => Self::Tcp,
            _ => Self::Unix(PathBuf::from(target)),
        }
    }
}

fn variable(environment: &Environment, name: &str) -> Result<Option<PathBuf>, Unknown> {
    environment.value(name).filter(|value| !value.is_empty()).map(|value| written_out(Path::new(value))).transpose()
}

/// Some versions print tokens and `~` as they stand in the file; guessing what they stand for is not for us.
fn written_out(path: &Path) -> Result<PathBuf, Unknown> {
    let text = path.to_string_lossy();
    match path.is_absolute() && !text.contains('%') && !text.contains("${") {
        true => Ok(path.to_owned()),
        false => Err(Unknown::new("the path of an agent's socket in its configuration is not written out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "user me\nhostname h\nport 22\nforwardagent no\n";

    #[test]
    fn the_least_that_ssh_prints_is_enough() {
        let config = EffectiveConfig::parse(MINIMAL).expect("configuration");
        assert_eq!(config.identity_agent, AgentSocket::Default);
        assert_eq!(config.forward_agent, AgentSocket::None);
        assert!(!config.gssapi_key_exchange && !config.backgrounds && config.remote_forwards.is_empty());
    }

    #[test]
    fn less_is_nothing() {
        for option in ["user", "hostname", "port", "forwardagent"] {
            let text: String =
                MINIMAL.lines().filter(|line| !line.starts_with(option)).map(|line| format!("{line}\n")).collect();
            assert_eq!(EffectiveConfig::parse(&text), Err(MissingOption(option)));
        }
        assert!(EffectiveConfig::parse("").is_err());
        assert!(EffectiveConfig::parse("user me\nhostname h\nport x\nforwardagent no\n").is_err());
    }

    #[test]
    fn near_ends_of_remote_forwards_are_told_apart() {
        let target = RemoteTarget::parse;
        assert_eq!(target("2222 [localhost]:22"), RemoteTarget::Tcp);
        assert_eq!(target("[::1]:91 [::1]:1"), RemoteTarget::Tcp);
        assert_eq!(target("/tmp/q.sock [localhost]:22"), RemoteTarget::Tcp);
        assert_eq!(target("1080 [socks]:0"), RemoteTarget::Socks);
        assert_eq!(target("/tmp/z.sock [socks]:0"), RemoteTarget::Socks);
        assert_eq!(target("1080"), RemoteTarget::Socks);
        assert_eq!(target("8080 /tmp/foo"), RemoteTarget::Unix("/tmp/foo".into()));
        assert_eq!(target("/tmp/r.sock /tmp/with space.sock"), RemoteTarget::Unix("/tmp/with space.sock".into()));
    }

    #[test]
    fn the_own_agent_is_the_configuration_s_or_the_environment_s() {
        let environment = Environment::of(&[("SSH_AUTH_SOCK", "/run/a"), ("OTHER", "/run/b"), ("EMPTY", "")]);
        let own = |line: &str| {
            EffectiveConfig::parse(&format!("{MINIMAL}{line}")).expect("configuration").own_agent(&environment)
        };
        assert_eq!(own(""), Ok(Some("/run/a".into())));
        assert_eq!(own("identityagent SSH_AUTH_SOCK\n"), Ok(Some("/run/a".into())));
        assert_eq!(own("identityagent $OTHER\n"), Ok(Some("/run/b".into())));
        assert_eq!(own("identityagent $EMPTY\n"), Ok(None));
        assert_eq!(own("identityagent none\n"), Ok(None));
        assert_eq!(own("identityagent /run/c\n"), Ok(Some("/run/c".into())));
        for unclear in ["~/c", "/run/%i/c", "/run/${UID}/c", "c.sock"] {
            assert!(own(&format!("identityagent {unclear}\n")).is_err(), "{unclear}");
        }
    }

    #[test]
    fn the_forwarded_agent_is_the_own_one_unless_it_is_named() {
        let environment = Environment::of(&[("SSH_AUTH_SOCK", "/run/a")]);
        let forwarded = |line: &str| {
            let text = MINIMAL.replace("forwardagent no\n", line);
            EffectiveConfig::parse(&text).expect("configuration").forwarded_agent(&environment)
        };
        assert_eq!(forwarded("forwardagent no\n"), Ok(None));
        assert_eq!(forwarded("forwardagent yes\n"), Ok(Some("/run/a".into())));
        assert_eq!(forwarded("forwardagent yes\nidentityagent /run/c\n"), Ok(Some("/run/c".into())));
        assert_eq!(forwarded("forwardagent /run/f\n"), Ok(Some("/run/f".into())));
    }
}
