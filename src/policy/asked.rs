//! What is asked, as far as rules can look at it. Every field is a fact or absent; a claim that nobody vouches for is not here.

use std::fmt;

use crate::backend::pkcs11::uri::Uri;
use crate::origin::classify::Origin;

/// One signature that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The key.
    pub key: KeyFacts<'a>,
    /// Where the request comes from.
    pub origin: Origin,
    /// What the octets are.
    pub kind: Kind,
    /// The names in `known_hosts` of the server that the signature lets somebody in at; empty when that server is not certain or not known
    /// by any name.
    pub hosts: &'a [String],
    /// The user that is logged in as.
    pub user: Option<&'a str>,
    /// The names in `known_hosts` of the first hop; empty when the request is not forwarded or the hop is not proved.
    pub via: &'a [String],
    /// How many hosts the request was forwarded through, as far as was announced; all but the first are claims.
    pub hops: usize,
    /// The namespace of a message signature.
    pub namespace: Option<&'a str>,
    /// The program that asks, if it runs where we run and may be looked at.
    pub program: Option<Program<'a>>,
    /// The programs above it, nearest first.
    pub parents: &'a [String],
    /// The label of the listener it arrived at.
    pub listener: Option<&'a str>,
}

/// A key, by all it can be called.
#[derive(Debug, Clone, Copy)]
pub struct KeyFacts<'a> {
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: &'a str,
    /// The comment it is listed with.
    pub comment: &'a str,
    /// The URI that names it on its token.
    pub uri: Option<&'a Uri>,
}

/// A local program.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// Its path.
    pub path: &'a str,
    /// Its argument vector, its own name included.
    pub arguments: &'a [String],
}

/// What octets to be signed are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A login whose server may be any.
    Login,
    /// A login at the server that has the host key in the request.
    BoundLogin,
    /// A signature over a message or a file, such as git's.
    SshSig,
    /// A request of `pam_ssh_agent_auth`.
    Sudo,
    /// A certificate that an authority is to sign.
    Certificate,
    /// The exchange hash of a server whose host key lies in the agent.
    HostKex,
    /// Anything else.
    Raw,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Login, Self::BoundLogin, Self::SshSig, Self::Sudo, Self::Certificate, Self::HostKex, Self::Raw];

    /// Whether it is a login, bound to its server or not.
    #[must_use]
    pub const fn is_login(self) -> bool {
        matches!(self, Self::Login | Self::BoundLogin)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::BoundLogin => "bound-login",
            Self::SshSig => "sshsig",
            Self::Sudo => "sudo",
            Self::Certificate => "certificate",
            Self::HostKex => "host-kex",
            Self::Raw => "raw",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The names used in logs, in the configuration and in documentation.
impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
