//! The options that describe a request nobody has made: who asks, through which hosts, for what, with which key.

use clap::Args;

/// A request, as it is described on a command line.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Described {
    /// The program that connects to the agent, or a process by its number; /usr/bin/ssh when it is not said
    #[arg(long, value_name = "PROGRAM|PID")]
    pub(super) peer: Option<String>,
    /// A host that the request is forwarded through; several in order, the nearest first
    #[arg(long, value_name = "HOST")]
    pub(super) via: Vec<String>,
    /// The host that is logged in to
    #[arg(long, value_name = "HOST")]
    pub(super) host: Option<String>,
    /// The user that is logged in as; the one that ssh would use when it is not said
    #[arg(long, value_name = "USER")]
    pub(super) user: Option<String>,
    /// The key: its fingerprint, or its comment as `hardkey list` shows it
    #[arg(long, value_name = "KEY")]
    pub(super) key: Option<String>,
}

impl Described {
    /// Whether anything is described.
    pub(super) const fn is_anything(&self) -> bool {
        self.peer.is_some() || !self.via.is_empty() || self.host.is_some() || self.user.is_some() || self.key.is_some()
    }
}
