//! A terminal with a person before it, kept by tmux.

use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::agent::Agent;
use crate::home::Home;
use crate::run::Task;
use crate::wait::{SOON, until, until_some};

/// Columns and rows of a usual terminal.
const SIZE: (&str, &str) = ("100", "30");

/// A program on a terminal of its own. One a home.
pub struct Pane {
    home: Home,
}

impl Pane {
    /// Runs `ssh-add -T` for a key as the foreground job of the terminal.
    ///
    /// # Panics
    /// When tmux does not start.
    #[must_use]
    pub fn testing(home: &Home, agent: &Agent, key: &Path) -> Self {
        Self::testing_on(home, agent, key, SIZE)
    }

    /// The same on a terminal with so many columns and rows.
    ///
    /// # Panics
    /// When tmux does not start.
    #[must_use]
    pub fn testing_on(home: &Home, agent: &Agent, key: &Path, size: (&str, &str)) -> Self {
        Self::start(home, agent, &format!("ssh-add -T '{}'", key.display()), size)
    }

    /// Runs a command of the shell as the foreground job of the terminal.
    ///
    /// # Panics
    /// When tmux does not start.
    #[must_use]
    pub fn running(home: &Home, agent: &Agent, command: &str) -> Self {
        Self::start(home, agent, command, SIZE)
    }

    fn start(home: &Home, agent: &Agent, command: &str, (columns, rows): (&str, &str)) -> Self {
        let _ = std::fs::remove_file(home.path("status"));
        let command = format!("{command}; echo $? >'{}'; exec sleep 1000", home.path("status").display());
        let pane = Self { home: home.clone() };
        pane.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", rows])
            .arg(command)
            .env("SSH_AUTH_SOCK", agent.socket())
            .run()
            .succeeds();
        pane
    }

    /// tmux, for this terminal.
    #[must_use]
    pub fn tmux(&self, arguments: &[&str]) -> Task {
        self.home.command("tmux").arg("-S").arg(self.home.path("run/tmux")).env("TERM", "xterm").args(arguments)
    }

    /// What is on the terminal once this text is.
    ///
    /// # Panics
    /// When it does not appear soon.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        let capture = || self.tmux(&["capture-pane", "-p"]).run().succeeds().stdout;
        let shown = until_some(SOON, || Some(capture()).filter(|screen| screen.contains(text)));
        shown.unwrap_or_else(|| panic!("the terminal does not show {text:?}:\n{}", capture()))
    }

    /// Presses keys, by tmux's names for them.
    #[track_caller]
    pub fn types(&self, keys: &[&str]) {
        self.tmux(&["send-keys"]).args(keys).run().succeeds();
    }

    /// The exit status of the program, once it has ended.
    #[must_use]
    pub fn status(&self) -> Option<String> {
        let read = || std::fs::read_to_string(self.home.path("status")).ok().filter(|text| text.ends_with('\n'));
        until_some(SOON, read).map(|text| text.trim().to_owned())
    }

    /// Takes the terminal away, with all that runs on it.
    ///
    /// # Panics
    /// When it stays.
    pub fn vanishes(&self) {
        self.tmux(&["kill-server"]).run();
        // A terminal that is started now must not be one of the server that ends.
        let socket = self.home.path("run/tmux");
        assert!(until(SOON, || UnixStream::connect(&socket).is_err()), "tmux does not end\n{}", self.home.logs());
    }
}
