//! What all processes that share a rules file have to count together: faults that were met, PINs that were wrong.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::rules::FunctionRule;

/// A file beside the rules file, locked while it is read and written.
pub(crate) struct Ledger {
    path: PathBuf,
}

/// The ledger's contents, held under its lock.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The version of the rules file that `rules` speaks of.
    version: String,
    /// By the rule's text: calls it has covered, faults it has made.
    rules: BTreeMap<String, Met>,
    /// By the token's serial number: wrong PINs since the last right one.
    pin_failures: BTreeMap<String, u32>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Met {
    calls: u64,
    faults: u64,
}

impl Ledger {
    /// The ledger that belongs to `rules`.
    pub(crate) fn beside(rules: &Path) -> Self {
        let mut path = rules.as_os_str().to_owned();
        path.push(".counts");
        Self { path: path.into() }
    }

    /// Reads, lets `work` change and writes back, while no other process can.
    pub(crate) fn update<T>(&self, work: impl FnOnce(&mut Counts) -> T) -> io::Result<T> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        file.lock()?;
        let mut counts = Counts::read(&mut file)?;
        let result = work(&mut counts);
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(counts.to_string().as_bytes())?;
        Ok(result)
    }
}

impl Counts {
    /// Counts one call that `rule` covers and decides whether it is spared, by `after` and `times`. `dice` is asked
    /// for those calls only that are left.
    pub(crate) fn meets(&mut self, version: &str, rule: &FunctionRule, dice: impl FnOnce() -> bool) -> bool {
        if self.version != version {
            self.rules.clear();
            version.clone_into(&mut self.version);
        }
        let met = self.rules.entry(rule.text.clone()).or_default();
        met.calls += 1;
        let hit = met.calls > rule.after && rule.times.is_none_or(|times| met.faults < times) && dice();
        met.faults += u64::from(hit);
        hit
    }

    /// Wrong PINs that `token` has seen since the last right one.
    pub(crate) fn pin_failures(&self, token: &str) -> u32 {
        self.pin_failures.get(token).copied().unwrap_or(0)
    }

    /// The same for all tokens together.
    pub(crate) fn all_pin_failures(&self) -> u32 {
        self.pin_failures.values().sum()
    }

    pub(crate) fn set_pin_failures(&mut self, token: &str, failures: u32) {
        self.pin_failures.insert(token.to_owned(), failures);
    }

    pub(crate) fn forget_pin_failures(&mut self) {
        self.pin_failures.clear();
    }

    /// The format is private to this file: `version V`, `rule CALLS FAULTS TEXT`, `pin FAILURES SERIAL`.
    fn read(file: &mut File) -> io::Result<Self> {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut counts = Self::default();
        for line in text.lines() {
            counts
                .read_line(line)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a ledger of rules"))?;
        }
        Ok(counts)
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once(' ')?;
        match kind {
            "version" => rest.clone_into(&mut self.version),
            "rule" => {
                let mut words = rest.splitn(3, ' ');
                let met = Met { calls: words.next()?.parse().ok()?, faults: words.next()?.parse().ok()? };
                self.rules.insert(words.next()?.to_owned(), met);
            }
            "pin" => {
                let (failures, token) = rest.split_once(' ')?;
                self.pin_failures.insert(token.to_owned(), failures.parse().ok()?);
            }
            _ => return None,
        }
        Some(())
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "version {}", self.version)?;
        for (text, met) in &self.rules {
            writeln!(f, "rule {} {} {text}", met.calls, met.faults)?;
        }
        for (token, failures) in &self.pin_failures {
            writeln!(f, "pin {failures} {token}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleSet;

    #[test]
    fn counts_are_kept_between_processes_and_begin_anew_with_a_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let rules = RuleSet::parse("C_Sign hang after 1 times 2").unwrap();
        let meets = |version: &str| {
            let ledger = Ledger::beside(&directory.path().join("rules"));
            ledger.update(|counts| counts.meets(version, &rules.functions[0], || true)).unwrap()
        };
        assert_eq!([(); 5].map(|()| meets("first")), [false, true, true, false, false]);
        assert_eq!([(); 2].map(|()| meets("second")), [false, true]);
    }

    #[test]
    fn wrong_pins_outlive_a_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::beside(&directory.path().join("rules"));
        let rules = RuleSet::parse("C_Sign hang times 2").unwrap();
        ledger.update(|counts| counts.set_pin_failures("a 1", 2)).unwrap();
        ledger.update(|counts| counts.meets("second", &rules.functions[0], || true)).unwrap();
        assert_eq!(ledger.update(|counts| counts.pin_failures("a 1")).unwrap(), 2);
        assert_eq!(ledger.update(|counts| counts.pin_failures("b")).unwrap(), 0);
    }
}
