//! What every front end is given to show, and what it can tell of the person's answer.

use std::time::Duration;

use super::dialog::Allowed;

/// Until a dialog has stood for this long, a yes is a slip of somebody who was typing something else.
pub(super) const ARMED_AFTER: Duration = Duration::from_millis(700);

/// A question for a yes or a no.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// Lines safe to show.
    pub(super) text: String,
    /// The button for a longer yes.
    pub(super) offer: Option<String>,
    /// Whether the source can be silenced.
    pub(super) can_mute: bool,
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
