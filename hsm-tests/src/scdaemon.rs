//! gnupg's program for cards, which wants them for itself.

use std::path::PathBuf;

use crate::card::Reader;
use crate::home::Home;

/// A gnupg of the test's own that reads cards by the test's own `pcscd`.
pub struct Scdaemon {
    home: Home,
    folder: PathBuf,
    service: (&'static str, PathBuf),
}

impl Scdaemon {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(reader: &Reader) -> Self {
        let home = reader.home().clone();
        let folder = home.directory("gnupg");
        home.file("gnupg/scdaemon.conf", "disable-ccid\n");
        Self { home, folder, service: reader.environment() }
    }

    /// Has it take the card, as each of gnupg's commands for cards does first; whether it got it.
    #[must_use]
    pub fn takes_the_card(&self) -> bool {
        let answer = self.asks("SCD SERIALNO undefined");
        answer.lines().any(|line| line.starts_with("S SERIALNO"))
    }

    /// Ends it, and lets go of the card.
    pub fn ends(&self) {
        self.asks("SCD KILLSCD");
    }

    /// The process that has the card.
    ///
    /// # Panics
    /// When none runs.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let answer = self.asks("SCD GETINFO pid");
        let pid = answer.lines().find_map(|line| line.strip_prefix("D ")?.trim().parse().ok());
        pid.unwrap_or_else(|| panic!("no scdaemon: {answer}"))
    }

    fn asks(&self, command: &str) -> String {
        let (name, value) = &self.service;
        let answer = self.home.command("gpg-connect-agent").arg("--homedir").arg(&self.folder).args([command, "/bye"]);
        answer.env(name, value).run().succeeds().stdout
    }
}
