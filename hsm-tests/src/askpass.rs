//! An askpass that a script answers.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::answers::{self, Answer};
use crate::home::Home;
use crate::run::text;

/// A program for `$SSH_ASKPASS` that writes down what it is asked and takes its answers from a list.
///
/// A dialog without an answer left is cancelled.
pub struct Askpass {
    home: Home,
}

impl Askpass {
    /// Installs the program; one a home.
    #[must_use]
    pub fn new(home: &Home, answers: &[Answer<'_>]) -> Self {
        answers::install(home, "askpass", include_str!("askpass.sh"), answers);
        Self { home: home.clone() }
    }

    /// Appends further answers.
    pub fn answers(&self, answers: &[Answer<'_>]) {
        answers::add(&self.home, "askpass", answers);
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.home.path("askpass/askpass")
    }

    /// The environment that makes OpenSSH's tools and the agent use it without a display.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![("SSH_ASKPASS", self.program().into()), ("SSH_ASKPASS_REQUIRE", "force".into())]
    }

    /// Every question: `[hint] text`, where the hint is `$SSH_ASKPASS_PROMPT` and line breaks are blanks.
    #[must_use]
    pub fn questions(&self) -> Vec<String> {
        self.shown().into_iter().filter(|text| !text.starts_with("[none]")).collect()
    }

    /// Every notice, which nobody answers.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        self.shown().iter().filter_map(|text| text.strip_prefix("[none] ")).map(str::to_owned).collect()
    }

    fn shown(&self) -> Vec<String> {
        text(&self.home.path("askpass/log"))
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(_, question)| question.to_owned())
            .collect()
    }
}
