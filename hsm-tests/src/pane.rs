//! A terminal that somebody looks at and types on.

use crate::home::Home;
use crate::processes::{Pid, arguments, children};
use crate::run::Task;
use crate::wait::{SOON, until_some};

/// A terminal of 100 columns and 30 lines, kept by a tmux of its own.
pub struct Pane {
    home: Home,
    name: String,
}

impl Pane {
    /// Opens one in which a shell runs a script. One with the same name is closed first.
    #[must_use]
    pub fn new(home: &Home, name: &str, script: &str) -> Self {
        Self::with(home, name, script, |task| task)
    }

    /// The same, in an environment that `prepare` adds to.
    #[must_use]
    pub fn with(home: &Home, name: &str, script: &str, prepare: impl FnOnce(Task) -> Task) -> Self {
        let pane = Self { home: home.clone(), name: name.to_owned() };
        pane.close();
        let start = pane.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30"]).arg(script);
        prepare(start).run().succeeds();
        pane
    }

    /// What it shows now; nothing once it is closed.
    #[must_use]
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).run().stdout
    }

    /// Waits until it shows a text.
    ///
    /// # Panics
    /// When it does not soon.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        let shown = until_some(SOON, || Some(self.screen()).filter(|screen| screen.contains(text)));
        shown.unwrap_or_else(|| panic!("the terminal {} does not show {text:?}:\n{}", self.name, self.screen()))
    }

    /// The process of a program that its shell started.
    ///
    /// # Panics
    /// When there is none soon.
    #[must_use]
    pub fn process(&self, program: &str) -> Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]).run().succeeds().stdout;
        let shell = shell.trim().parse().ok().and_then(Pid::from_raw).expect("the shell's process");
        let is_meant = |child: &Pid| arguments(*child).first().is_some_and(|name| name == program);
        let found = until_some(SOON, || children(shell).into_iter().find(is_meant));
        found.unwrap_or_else(|| panic!("no {program} runs in the terminal {}:\n{}", self.name, self.screen()))
    }

    /// Types keys, by the names that tmux has for them.
    pub fn types(&self, keys: &[&str]) {
        self.tmux(&["send-keys"]).args(keys).run().succeeds();
    }

    /// Closes it.
    pub fn close(&self) {
        self.tmux(&["kill-server"]).run();
    }

    fn tmux(&self, arguments: &[&str]) -> Task {
        let socket = self.home.path("run").join(format!("tmux-{}", self.name));
        self.home.command("tmux").arg("-S").arg(socket).env("TERM", "xterm").args(arguments)
    }
}
