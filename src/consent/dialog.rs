//! What is put before a person, and what the person can answer.

use std::fmt;
use std::time::Duration;

use crate::errand::Errand;

/// A question whether something may be done.
#[derive(Debug, Clone, Default)]
pub struct Dialog {
    /// The whole text: lines safe to show, the origin of the request first.
    pub text: String,
    /// What it is about and who waits for the answer; decides where the dialog opens.
    pub errand: Errand,
    /// A longer yes that may be given, where the user's policy allows one.
    pub offer: Option<Offer>,
    /// Who is silenced when the person has enough of the questions of this source.
    pub source: Option<Source>,
}

/// A yes that holds for more than one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What the button says, such as `Allow 5 min`.
    pub label: String,
    /// How long it holds.
    pub time: Duration,
}

/// Where the questions of a connection come from, as far as it can be told apart from others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// The session of the first hop.
    Hop {
        /// The session identifier of the first bind.
        session: Vec<u8>,
        /// The hop's name as it is shown.
        name: String,
    },
    /// A program that certainly asks for itself, by its path.
    Program(String),
    /// A program that may ask for others, or whoever speaks through it: which of them cannot be told. By its path; empty where that says nothing.
    Through(String),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hop { name, .. } | Self::Program(name) => write!(formatter, "{name}"),
            Self::Through(name) if name.is_empty() => {
                write!(formatter, "programs in containers, of modules, or out of sight")
            }
            Self::Through(name) => write!(formatter, "{name}, or through it,"),
        }
    }
}

/// A yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// This request and no other.
    Once,
    /// As far as the [`Offer`] reaches.
    AsOffered,
}
