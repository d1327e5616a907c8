//! What a judgement is made of. Everything here is a fact that was found out or the reason why it was not; nothing is a verdict.

use std::time::Duration;

use super::Unknown;
use super::binds::Binds;
use super::known_hosts::Answer;
use super::ledger::Standing;
use super::trust::{Role, Version};

/// What is asked of the agent, as far as the judgement cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The list of keys.
    List,
    /// A change to the agent: adding and removing keys, locking, providers.
    Manage,
    /// A signature.
    Sign(PayloadFact),
}

/// What the octets to be signed are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadFact {
    /// A login by `publickey-hostbound-v00@openssh.com`: the server checks that the host key is its own.
    BoundLogin {
        /// The user to log in as.
        user: String,
        /// The session identifier.
        session_id: Vec<u8>,
        /// The server's host key.
        hostkey: Vec<u8>,
    },
    /// A login by `publickey` (RFC 4252 section 7): the server may be any.
    Login {
        /// The user to log in as.
        user: String,
        /// The session identifier.
        session_id: Vec<u8>,
    },
    /// A signature in the SSHSIG format (OpenSSH PROTOCOL.sshsig).
    SshSig,
    /// An SSH certificate.
    Certificate,
    /// A request of `pam_ssh_agent_auth`.
    Sudo,
    /// The exchange hash of a key exchange, asked for by a server whose host key lies here.
    HostKex,
    /// Anything else.
    Raw,
}

impl PayloadFact {
    /// The user and the session of a login.
    #[must_use]
    pub fn login(&self) -> Option<(&str, &[u8])> {
        match self {
            Self::BoundLogin { user, session_id, .. } | Self::Login { user, session_id } => Some((user, session_id)),
            _ => None,
        }
    }

    /// The host key that the server will insist on.
    #[must_use]
    pub fn hostkey(&self) -> Option<&[u8]> {
        match self {
            Self::BoundLogin { hostkey, .. } => Some(hostkey),
            _ => None,
        }
    }
}

/// What arrives at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests of local programs, and whatever they relay.
    Agent,
    /// Only what is forwarded; nothing that arrives here is local.
    Forward,
}

/// A trusted program, in the peer's process and running where we run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What it is trusted to be.
    pub role: Role,
    /// Its version, where that matters: for `ssh`.
    pub version: Option<Version>,
}

/// How far the peer's process has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase {
    /// How long it has been running.
    pub age: Duration,
    /// Whether it holds a listening Unix socket, as a multiplexing master does.
    pub listens: bool,
    /// Whether it is a fork that goes on running its parent's program, as an `ssh` in the background does.
    pub forked: bool,
    /// Whether it leads a session without a terminal, as an `ssh` in the background does, and a service as well.
    pub detached: bool,
}

/// What the peer's own configuration says about the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The host, for people: `name port 22`. From the user's own configuration and command line.
    pub destination: String,
    /// The user it logs in as.
    pub user: String,
    /// Whether the agent it asks for its own login is the socket this connection arrived at.
    pub own_agent_is_ours: Result<bool, Unknown>,
    /// What it forwards from the far side to here that may reach an agent of ours; nothing, if all is well.
    pub relays: Option<String>,
    /// Whether it forwards, to the far side, the socket this connection arrived at.
    pub forwards_us: Result<bool, Unknown>,
    /// Whether it tries key exchange by GSSAPI, for which no session is announced.
    pub gssapi_key_exchange: bool,
    /// Whether it may go on as a child in the background.
    pub backgrounds: bool,
}

/// All that may be known about a request. What is `None` has not been looked for.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The listener's kind.
    pub listener: Kind,
    /// What the user calls the listener; none for one without a label.
    pub label: Option<&'a str>,
    /// The connection's binds.
    pub binds: &'a Binds,
    /// What is asked.
    pub request: &'a Request,
    /// The peer's program, if it is trusted.
    pub program: Result<Program, Unknown>,
    /// What the peer's process has done so far.
    pub standing: Result<Standing, Unknown>,
    /// Whether the connection's first bind names the session of a login that was judged local.
    pub first_hop_is_local_login: bool,
    /// How far the peer's process has got.
    pub phase: Option<Result<Phase, Unknown>>,
    /// The peer's own configuration.
    pub setup: Option<Result<Setup, Unknown>>,
    /// Whether the connection's first bind names a host key of the peer's own destination.
    pub pin: Option<Result<Answer, Unknown>>,
}

impl Evidence<'_> {
    /// Whether anybody said that the agent is forwarded through this connection, or it arrived where only that arrives.
    #[must_use]
    pub fn is_forwarded(&self) -> bool {
        self.listener == Kind::Forward || self.binds.claimed_forward()
    }

    /// Whether the peer is a trusted `ssh`.
    #[must_use]
    pub fn is_ssh(&self) -> bool {
        self.program.as_ref().is_ok_and(|program| program.role == Role::Ssh)
    }
}

/// Evidence that takes time to gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// [`Evidence::phase`]
    Phase,
    /// [`Evidence::setup`]
    Setup,
    /// [`Evidence::pin`]
    Pin,
}
