//! A program that runs beside the test.

use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use crate::home::Home;
use crate::processes::Pid;
use crate::run::{ends_within, text};
use crate::wait::until;

/// A running program; killed when it goes out of scope.
pub struct Background {
    home: Home,
    child: Child,
    description: String,
    log: PathBuf,
}

impl Background {
    pub(crate) fn new(home: &Home, child: Child, description: String, log: PathBuf) -> Self {
        Self { home: home.clone(), child, description, log }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it has written so far to standard output and standard error.
    #[must_use]
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// Waits until its output contains `text`.
    ///
    /// # Panics
    /// When that does not happen within `limit`, or the program ends first; the text has all logs.
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str, limit: Duration) {
        let mut ended = false;
        let found = until(limit, || {
            // Ended is looked at before the log, so that last words count.
            ended = self.has_ended();
            self.log().contains(text) || ended
        });
        assert!(
            found && self.log().contains(text),
            "{}: no {text:?} in its output ({})\n{}",
            self.description,
            self.state(ended),
            self.home.logs()
        );
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it still runs after `limit`; the text has all logs.
    #[track_caller]
    pub fn ends(&mut self, limit: Duration) -> ExitStatus {
        assert!(
            ends_within(self.pid(), limit),
            "{} still runs after {limit:?}\n{}",
            self.description,
            self.home.logs()
        );
        self.child.wait().expect("wait for a child")
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    fn state(&self, ended: bool) -> &'static str {
        if ended { "it has ended" } else { "it still runs" }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
