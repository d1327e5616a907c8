//! `[listen]`: where the agent listens beside its own socket.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::text;

/// A longer label would fill the dialogs: characters.
const LONGEST_LABEL: usize = 40;

/// `[listen]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Whatever arrives here is forwarded; for `ForwardAgent` in ssh_config.
    pub forward: Option<PathBuf>,
    /// More of the same kind, for containers and virtual machines.
    #[serde(default)]
    pub extra: Vec<ExtraListener>,
}

impl ListenConfig {
    /// The labels of all sockets that have one.
    #[must_use]
    pub fn labels(&self) -> Vec<Arc<str>> {
        self.extra.iter().filter_map(|extra| Some(Arc::clone(extra.label.as_ref()?.text()))).collect()
    }
}

/// One `[[listen.extra]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraListener {
    /// The socket's path.
    pub path: PathBuf,
    /// What the user calls it, in dialogs and explanations, and what a service manager calls its socket.
    pub label: Option<Label>,
    /// What arrives there; there is nothing to choose.
    #[serde(default, rename = "origin")]
    _origin: ExtraOrigin,
}

/// What arrives at a further socket.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ExtraOrigin {
    /// What is forwarded.
    #[default]
    Forwarded,
}

/// A name for people, on one line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Label(Arc<str>);

impl Label {
    /// The label itself.
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        &self.0
    }
}

impl TryFrom<String> for Label {
    type Error = String;

    fn try_from(label: String) -> Result<Self, Self::Error> {
        let fits = !label.trim().is_empty() && label.chars().count() <= LONGEST_LABEL;
        // The names of passed sockets are separated by colons: sd_listen_fds(3).
        match fits && text::escape(label.as_bytes()) == label && !label.contains(':') {
            true => Ok(Self(label.into())),
            false => Err(format!(
                "a label is 1 to {LONGEST_LABEL} characters that can be shown, without a colon or a backslash"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_few_words_on_one_line() {
        let label = |text: &str| Label::try_from(text.to_owned()).is_ok();
        assert!(label("dev container") && label("Gerät 2"));
        for bad in ["", " ", "a\nb", "a\u{1b}[2J", "a\u{202e}b", "a:b", "a\\b", &"x".repeat(41)] {
            assert!(!label(bad), "{bad:?}");
        }
    }
}
