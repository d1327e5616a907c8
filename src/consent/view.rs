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
    /// The button for a longer yes, where one can be had. Its label begins the line of the text that says what it means.
    pub(super) offer: Option<String>,
    /// Whether the source can be silenced.
    pub(super) can_mute: bool,
}

impl View {
    /// The text for a program that has no button for the longer yes: it must not speak of one.
    pub(super) fn text_without_offer(&self) -> String {
        let meaning = self.offer.as_ref().map(|label| format!("{label}: "));
        let is_of_offer = |line: &str| meaning.as_ref().is_some_and(|meaning| line.starts_with(meaning));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_the_button_does_not_speak_of_it() {
        let text = "LOCAL REQUEST\nAllow 5 min: this login\nAllow use of key work?".to_owned();
        let view = View { text, offer: Some("Allow 5 min".to_owned()), can_mute: false };
        assert_eq!(view.text_without_offer(), "LOCAL REQUEST\nAllow use of key work?");
        let without = View { offer: None, ..view };
        assert_eq!(without.text_without_offer(), without.text);
    }
}
