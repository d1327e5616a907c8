//! Where a request comes from: the process at the other end of the socket, the sessions it is bound to, and what follows from both.
//!
//! Owns the facts about a connection and the judgement made of them. Never asks anybody anything, never sees a key.
//!
//! A claim of being forwarded is believed from anyone and for the connection's whole life; a claim of being local is never
//! believed. Whatever cannot be found out is [`Unknown`] with its reason and counts against being local.

pub mod binds;
pub mod classify;
pub mod connection;
pub mod destination;
pub mod effective_config;
pub mod environment;
pub mod evidence;
pub mod facts;
pub mod glimpse;
pub mod host_pattern;
pub mod hosts;
mod identity_files;
pub mod known_hosts;
pub mod ledger;
pub mod live;
mod own;
pub mod peer;
pub mod proc;
mod remembered;
pub mod restart;
pub mod rules;
mod run;
pub mod server;
pub mod setup;
pub mod ssh_argv;
pub mod supposed;
pub mod trust;
pub mod words;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod testing_world;

use words::Words;

/// A fact that could not be found out, and why. Never an error: the judgement goes on without the fact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unknown(Words);

impl Unknown {
    /// A fact that is missing for this reason: lower case, without a full stop, without text that came from outside unescaped.
    pub fn new(reason: impl Into<Words>) -> Self {
        Self(reason.into())
    }

    /// Why the fact is missing.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0
    }
}

impl From<&Unknown> for Words {
    fn from(unknown: &Unknown) -> Self {
        unknown.0.clone()
    }
}
