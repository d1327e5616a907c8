//! What a decision says: what the request takes, and each part that this is the union of.

use std::sync::Arc;

use super::requirements::{Action, Requirements};
use super::rule::{Cache, Place, Rate, Rule};

/// A decision and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What is to happen.
    pub action: Action,
    /// What it is the union of; never empty.
    pub parts: Vec<Part>,
    /// How far a yes to this request may reach; none when it is for this request alone.
    pub remember: Option<Remember>,
}

/// One part of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Whose it is.
    pub source: Source,
    /// The rule, in words.
    pub rule: Arc<str>,
    /// Where the rule stands, if in a file.
    pub place: Option<Place>,
    /// What it demands.
    pub action: Action,
    /// How long an approval holds, as far as this part says.
    pub cache: Option<Cache>,
    /// How often it serves.
    pub rate: Option<Rate>,
}

/// Who makes a demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The class of the origin, or what the user said in its place.
    Class,
    /// What the user said of the key in all its uses.
    Key,
    /// The first rule that is about the request.
    Rule,
    /// What the key was added with.
    Limit,
    /// The key's token.
    Token,
    /// The administrator.
    Administrator,
}

/// How far an approval reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remember {
    /// For how long and for how many signatures.
    pub cache: Cache,
    /// Whose requests it is for.
    pub scope: Scope,
}

/// Whose requests an approval is for. It dies with its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The terminal session of the program that asked.
    Terminal,
    /// The session of the first hop.
    Hop,
}

impl Verdict {
    /// Why it is as it is: the part that refuses, else the first one that wants a confirmation, else the first one that demands anything.
    #[must_use]
    pub fn because(&self) -> &Part {
        let first = |wanted: &dyn Fn(&Part) -> bool| self.parts.iter().find(|part| wanted(part));
        first(&|part| part.action == Action::Deny)
            .or_else(|| first(&|part| part.action.demands(Requirements::CONFIRM)))
            .or_else(|| first(&|part| part.action != Action::ALLOW))
            .unwrap_or(&self.parts[0])
    }
}

impl Part {
    pub(super) fn of(source: Source, rule: &Rule) -> Self {
        Self {
            source,
            rule: Arc::clone(&rule.label),
            place: rule.place.clone(),
            action: rule.action,
            cache: rule.cache,
            rate: rule.rate,
        }
    }

    pub(super) fn plain(source: Source, rule: &str, action: Action) -> Self {
        Self { source, rule: rule.into(), place: None, action, cache: None, rate: None }
    }

    /// The rule and its place, for the log: `rule 2 of key work (config.toml:12)`.
    #[must_use]
    pub fn cited(&self) -> String {
        match &self.place {
            Some(place) => format!("{} ({place})", self.rule),
            None => self.rule.to_string(),
        }
    }
}
