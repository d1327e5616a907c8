//! What every front end is given to show, and what it can tell of the person's answer.

use std::time::Duration;

use super::dialog::{Allowed, Offer};

/// Until a dialog has stood for this long, a yes is a slip of somebody who was typing something else.
pub(super) const ARMED_AFTER: Duration = Duration::from_millis(700);

/// A question for a yes or a no.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// Lines safe to show.
    pub(super) text: String,
    /// A longer yes, for which there is a button where one can be had.
    pub(super) offer: Option<Offer>,
    /// Whether the source can be silenced.
    pub(super) can_mute: bool,
    /// How long the dialog may stand.
    pub(super) time: Duration,
}

impl View {
    /// The text for a program that has no button for the longer yes: it must not speak of one.
    pub(super) fn text_without_offer(&self) -> String {
        let is_of_offer = |line: &str| self.offer.as_ref().is_some_and(|offer| offer.meaning == line);
        self.text.lines().filter(|line| !is_of_offer(line)).collect::<Vec<_>>().join("\n")
    }
}

/// What a person answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Allow(Allowed),
    Deny,
    /// No, and nothing more from there for a while.
    Mute,
}

/// Why a front end could not show its dialog, or lost it without an answer: what failed, and the remedy.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

impl Broken {
    pub(super) fn of(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}
