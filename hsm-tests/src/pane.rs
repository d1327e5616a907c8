//! A terminal that somebody looks at and types on.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::agent::Agent;
use crate::home::Home;
use crate::processes::{Pid, arguments, children};
use crate::run::Task;
use crate::wait::{SOON, until, until_some};

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

    /// Opens one in which `ssh-add -T` is the foreground job, which has the agent sign with the key in this file.
    #[must_use]
    pub fn testing(home: &Home, agent: &Agent, key: &Path) -> Self {
        Self::running(home, agent, &format!("ssh-add -T '{}'", key.display()))
    }

    /// Opens one in which a command of the shell is the foreground job. [`Self::status`] tells how it ended.
    #[must_use]
    pub fn running(home: &Home, agent: &Agent, command: &str) -> Self {
        let status = home.path("status");
        let _ = std::fs::remove_file(&status);
        let script = format!("{command}; echo $? >'{}'; exec sleep 1000", status.display());
        Self::with(home, "running", &script, |task| task.env("SSH_AUTH_SOCK", agent.socket()))
    }

    /// The exit status of the foreground job, once it has ended.
    #[must_use]
    pub fn status(&self) -> Option<String> {
        let read = || std::fs::read_to_string(self.home.path("status")).ok().filter(|text| text.ends_with('\n'));
        until_some(SOON, read).map(|text| text.trim().to_owned())
    }

    /// Makes it so many columns wide and lines high.
    pub fn resize(&self, columns: &str, lines: &str) {
        self.tmux(&["resize-window", "-x", columns, "-y", lines]).run().succeeds();
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

    /// Closes it, with all that runs on it.
    ///
    /// # Panics
    /// When it stays.
    pub fn close(&self) {
        self.tmux(&["kill-server"]).run();
        // One that is opened now must not be of the server that ends.
        let socket = self.socket();
        assert!(until(SOON, || UnixStream::connect(&socket).is_err()), "tmux does not end\n{}", self.home.logs());
    }

    fn tmux(&self, arguments: &[&str]) -> Task {
        self.home.command("tmux").arg("-S").arg(self.socket()).env("TERM", "xterm").args(arguments)
    }

    fn socket(&self) -> PathBuf {
        self.home.path("run").join(format!("tmux-{}", self.name))
    }
}
