//! What a case is, and what has to come out of it.

use std::fmt;

use crate::needs::Need;
use crate::world::World;

/// Who asks the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// A trusted program of this machine, for its own user.
    Local,
    /// A program of this machine that may as well relay for somebody else: nobody can tell.
    Program,
    /// Somebody else, through whatever relays.
    Relayed,
    /// Somebody else, with a key that the user added for this very path (`ssh-add -h`).
    Named,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    /// A signature.
    Signature,
    /// The list of keys.
    Keys,
    /// A change: keys added or removed, libraries loaded, the agent locked.
    Change,
}

/// What an agent that knows where requests come from does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Gives what was asked for, without a question.
    Silent,
    /// Asks, and refuses if nobody can be asked. A list of keys is shown or not shown, but never asked about.
    Ask,
    /// Refuses.
    Deny,
}

/// What OpenSSH's agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stock {
    /// Gives what was asked for, without a question.
    Gives,
    /// Refuses.
    Refuses,
    /// Cannot be asked that way.
    Lacks,
}

/// One way to ask an agent for something.
pub(crate) struct Case {
    /// For the command line.
    pub(crate) name: &'static str,
    /// What happens, for people, in Markdown.
    pub(crate) what: &'static str,
    pub(crate) asks: Asks,
    pub(crate) wants: Wants,
    pub(crate) verdict: Verdict,
    pub(crate) stock: Stock,
    /// The hosts it takes.
    pub(crate) hosts: &'static [&'static str],
    /// What it takes beyond OpenSSH.
    pub(crate) needs: &'static [Need],
    /// Plays it: whether what was asked for was given.
    pub(crate) run: fn(&World) -> bool,
}

/// Cases are written as one of the four askers, and what differs from the usual.
impl Case {
    pub(crate) const fn local(name: &'static str, what: &'static str, run: fn(&World) -> bool) -> Self {
        Self {
            name,
            what,
            asks: Asks::Local,
            wants: Wants::Signature,
            verdict: Verdict::Silent,
            stock: Stock::Gives,
            hosts: &["hosta"],
            needs: &[],
            run,
        }
    }

    pub(crate) const fn program(name: &'static str, what: &'static str, run: fn(&World) -> bool) -> Self {
        Self { asks: Asks::Program, verdict: Verdict::Ask, ..Self::local(name, what, run) }
    }

    /// From a first host, usually about a second one.
    pub(crate) const fn relayed(name: &'static str, what: &'static str, run: fn(&World) -> bool) -> Self {
        Self { asks: Asks::Relayed, verdict: Verdict::Ask, hosts: &["hosta", "hostb"], ..Self::local(name, what, run) }
    }

    pub(crate) const fn named(name: &'static str, what: &'static str, run: fn(&World) -> bool) -> Self {
        Self { asks: Asks::Named, verdict: Verdict::Silent, ..Self::relayed(name, what, run) }
    }

    pub(crate) const fn wants(self, wants: Wants) -> Self {
        Self { wants, ..self }
    }

    pub(crate) const fn denied(self) -> Self {
        Self { verdict: Verdict::Deny, ..self }
    }

    /// For lists of keys, which are all that is shown to somebody who may be elsewhere.
    pub(crate) const fn shown(self) -> Self {
        Self { wants: Wants::Keys, verdict: Verdict::Silent, ..self }
    }

    pub(crate) const fn stock(self, stock: Stock) -> Self {
        Self { stock, ..self }
    }

    pub(crate) const fn hosts(self, hosts: &'static [&'static str]) -> Self {
        Self { hosts, ..self }
    }

    pub(crate) const fn needs(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }
}

impl fmt::Display for Asks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Local => "local",
            Self::Program => "program",
            Self::Relayed => "relayed",
            Self::Named => "named",
        })
    }
}
