//! What is known of hosts by their keys: what `known_hosts` says, read once as long as the files stay as they are, and what the
//! user's own `ssh` called the hosts it has logged in to.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use indexmap::IndexMap;

use super::known_hosts::{self, Answer, HostKey, HostName, KnownName};
use super::remembered::Remembered;
use crate::paths;

/// The hosts that are remembered by name; the one not met for longest is forgotten.
const MOST_HOSTS: usize = 1024;
/// More hosts of a configuration than this are no candidates.
const MOST_CANDIDATES: usize = 1024;

/// What is known of hosts.
#[derive(Debug, Default)]
pub struct Hosts {
    answers: Remembered<(Vec<PathBuf>, HostName, String), Answer>,
    names: Remembered<(Vec<PathBuf>, String, Vec<String>), Vec<KnownName>>,
    configured: Remembered<PathBuf, Vec<String>>,
    met: Mutex<IndexMap<Vec<u8>, Vec<String>>>,
    expected: Mutex<Vec<String>>,
}

impl Hosts {
    /// [`known_hosts::find`], remembered. Blocks.
    pub(crate) fn find(&self, files: &[PathBuf], host: &HostName, key: &HostKey) -> Answer {
        let look = || known_hosts::find(files, host, key, SystemTime::now());
        // A certificate is judged by the time of day, too.
        match key.is_certificate() {
            true => look(),
            false => self.answers.answer(files, (files.to_vec(), host.clone(), key.base64().to_owned()), |_| look()),
        }
    }

    /// [`known_hosts::names_of`], remembered, with all names that are known here as candidates beside those given. Blocks.
    pub(crate) fn names(&self, files: &[PathBuf], key: &HostKey, candidates: &[String]) -> Vec<KnownName> {
        let mut all = candidates.to_vec();
        all.extend(self.met().values().flatten().cloned());
        all.extend(self.configured());
        all.extend(self.expected().iter().cloned());
        all.sort();
        all.dedup();
        let look = |all: &[String]| known_hosts::names_of(files, key, all, SystemTime::now());
        match key.is_certificate() {
            true => look(&all),
            false => self
                .names
                .answer(files, (files.to_vec(), key.base64().to_owned(), all), |(_, _, candidates)| look(candidates)),
        }
    }

    /// Notes what the user's own `ssh` called a host that it logged in to and whose key `known_hosts` had for it: first as the
    /// user typed it.
    pub(crate) fn meet(&self, key: &[u8], names: Vec<String>) {
        let mut met = self.met();
        met.shift_remove(key);
        if met.len() >= MOST_HOSTS {
            met.shift_remove_index(0);
        }
        met.insert(key.to_vec(), names);
    }

    /// Takes these names for candidates from now on.
    pub(crate) fn expect(&self, names: Vec<String>) {
        *self.expected() = names;
    }

    fn expected(&self) -> MutexGuard<'_, Vec<String>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the user's own `ssh` called this host when it logged in.
    pub(crate) fn names_met(&self, key: &[u8]) -> Vec<String> {
        self.met().get(key).cloned().unwrap_or_default()
    }

    /// The hosts that the user's `~/.ssh/config` names one by one (`Host`, `HostName`), without what it includes.
    fn configured(&self) -> Vec<String> {
        let Some(file) = paths::home().map(|home| home.join(".ssh/config")) else { return Vec::new() };
        self.configured.answer(std::slice::from_ref(&file), file.clone(), |file| {
            host_entries(&std::fs::read_to_string(file).unwrap_or_default())
        })
    }

    fn met(&self) -> MutexGuard<'_, IndexMap<Vec<u8>, Vec<String>>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The single hosts of an ssh_config(5).
fn host_entries(text: &str) -> Vec<String> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split(|letter: char| letter.is_ascii_whitespace() || matches!(letter, '=' | '"'));
        let mut words = words.by_ref().filter(|word| !word.is_empty());
        let keyword = words.next().unwrap_or_default();
        if keyword.eq_ignore_ascii_case("host") || keyword.eq_ignore_ascii_case("hostname") {
            let single = words.filter(|word| !word.contains(['*', '?', '!', '%']));
            entries.extend(single.map(str::to_owned).take(MOST_CANDIDATES.saturating_sub(entries.len())));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_called_as_they_were_when_they_were_met_last() {
        let hosts = Hosts::default();
        hosts.meet(b"key", vec!["old".into()]);
        hosts.meet(b"key", vec!["box".into(), "box.example.org".into()]);
        assert_eq!(hosts.names_met(b"key"), ["box", "box.example.org"]);
        assert!(hosts.names_met(b"other").is_empty());
        (0..2 * MOST_HOSTS).for_each(|number| hosts.meet(&number.to_be_bytes(), Vec::new()));
        assert_eq!(hosts.met().len(), MOST_HOSTS);
    }

    #[test]
    fn single_hosts_of_a_configuration_are_candidates() {
        let text =
            "Host box *.example.org !bad\n  HostName=box.example.org\n# Host comment\nhost \"quoted\"\nUser me\n";
        assert_eq!(host_entries(text), ["box", "box.example.org", "quoted"]);
    }
}
