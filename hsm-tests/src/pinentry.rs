//! A pinentry that a script answers.

use std::fs;
use std::path::PathBuf;

use crate::answers::{self, Answer};
use crate::home::Home;
use crate::processes::{Pid, is_alive};
use crate::run::text;
use crate::wait::{SOON, until_some};

/// A program for `[prompt] pinentry` that writes down every command and takes its answers from a list.
///
/// A dialog without an answer left is cancelled.
pub struct Pinentry {
    home: Home,
}

impl Pinentry {
    /// Installs the program; one a home.
    #[must_use]
    pub fn new(home: &Home, answers: &[Answer<'_>]) -> Self {
        answers::install(home, "pinentry", include_str!("pinentry.sh"), answers);
        Self { home: home.clone() }
    }

    /// Appends further answers.
    pub fn answers(&self, answers: &[Answer<'_>]) {
        answers::add(&self.home, "pinentry", answers);
    }

    /// Answers the dialog that [`Answer::Hang`] left open.
    ///
    /// # Panics
    /// When there is none.
    pub fn decides(&self, answer: Answer<'_>) {
        let open = || self.log().into_iter().rfind(|(pid, _)| is_alive(*pid)).map(|(pid, _)| pid.as_raw_nonzero());
        let pipe = || self.home.path(format!("pinentry/hang.{}", open()?)).canonicalize().ok();
        let pipe = until_some(SOON, pipe).expect("an open dialog");
        fs::write(pipe, answer.as_line()).expect("answer a dialog");
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.home.path("pinentry/pinentry")
    }

    /// Every command that was sent to it, in order.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.log().into_iter().map(|(_, command)| command).filter(|command| !command.starts_with('#')).collect()
    }

    /// How many dialogs for a PIN were shown.
    #[must_use]
    pub fn pins_asked(&self) -> usize {
        self.commands().iter().filter(|command| command.starts_with("GETPIN")).count()
    }

    /// How many questions to be answered with yes or no were shown.
    #[must_use]
    pub fn confirms_asked(&self) -> usize {
        self.commands().iter().filter(|command| command.starts_with("CONFIRM")).count()
    }

    /// What the dialogs said: the arguments of `SETDESC`, percent-encoding undone.
    #[must_use]
    pub fn descriptions(&self) -> Vec<String> {
        self.commands()
            .iter()
            .filter_map(|command| command.strip_prefix("SETDESC "))
            .map(|text| text.replace("%0A", "\n").replace("%25", "%"))
            .collect()
    }

    /// Whether one of its processes runs.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.log().iter().any(|(pid, _)| is_alive(*pid))
    }

    fn log(&self) -> Vec<(Pid, String)> {
        let parse = |line: &str| {
            let (pid, command) = line.split_once(' ')?;
            Some((Pid::from_raw(pid.parse().ok()?)?, command.to_owned()))
        };
        text(&self.home.path("pinentry/log")).lines().filter_map(parse).collect()
    }
}
