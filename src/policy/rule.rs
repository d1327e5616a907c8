//! A rule: which requests it is about, what they take, and where it stands.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::matcher::Matcher;
use super::requirements::Action;

/// One rule, of a preset, a user or an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it is called in logs and explanations; one sentence or phrase.
    pub label: Arc<str>,
    /// Where it stands; a preset's stands nowhere.
    pub place: Option<Place>,
    /// Which requests it is about.
    pub when: Matcher,
    /// What they take.
    pub action: Action,
    /// How long an approval holds that the rule made necessary.
    pub cache: Option<Cache>,
    /// How often it serves.
    pub rate: Option<Rate>,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it is to be shown.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
}

/// For how long, and for how many signatures, one approval is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// How long.
    pub time: Duration,
    /// How many signatures, the first included; any number when absent.
    pub count: Option<u32>,
}

/// At most so many signatures in any period of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// The period.
    pub per: Duration,
}

impl Rule {
    /// A rule of a preset.
    pub(super) fn built_in(label: &'static str, when: Matcher, action: Action) -> Self {
        Self { label: label.into(), place: None, when, action, cache: None, rate: None }
    }
}

impl Cache {
    /// What both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let count = match (self.count, other.count) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        };
        Self { time: self.time.min(other.time), count }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.line)
    }
}
