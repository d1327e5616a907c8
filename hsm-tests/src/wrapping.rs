//! Command lines that run a command with an agent of its own.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::fs::symlink;

use crate::binary::{agent_binary, is_stock};
use crate::home::Home;
use crate::run::Task;

/// One such command line, up to the command.
pub struct Wrapping {
    home: Home,
    words: Vec<OsString>,
}

impl Wrapping {
    /// All that the agent under test knows: `hardkey agent`, the same with `--`, and `ssh-agent`.
    ///
    /// # Panics
    /// When the agent cannot be given its second name.
    #[must_use]
    pub fn all(home: &Home) -> Vec<Self> {
        let link = home.path("bin/ssh-agent");
        if !link.exists() {
            symlink(agent_binary(), &link).expect("link the agent");
        }
        let named = |words: &[&str]| {
            let words = [agent_binary().into()].into_iter().chain(words.iter().map(OsString::from)).collect();
            Self { home: home.clone(), words }
        };
        let as_stock = Self { home: home.clone(), words: vec![link.into()] };
        if is_stock() { vec![as_stock] } else { vec![named(&["agent"]), named(&["agent", "--"]), as_stock] }
    }

    /// Has it run a command.
    #[must_use]
    pub fn around(&self, command: &[&str]) -> Task {
        let task = self.home.command(&self.words[0]);
        task.args(&self.words[1..]).args(command)
    }

    /// The words that come before the command.
    pub fn words(&self) -> impl Iterator<Item = &OsStr> {
        self.words.iter().map(OsString::as_os_str)
    }
}

impl fmt::Display for Wrapping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.words.join(" ".as_ref()).to_string_lossy())
    }
}
