//! The test's side: writing rules.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::ledger::Ledger;
use crate::rules::{BadRule, RuleSet};

/// The rules file of one faulty module; the grammar is in the [crate's documentation](crate).
///
/// Every change replaces the file as a whole, so that no call reads half of it.
#[derive(Debug, Clone)]
pub struct Rules {
    path: PathBuf,
}

/// Rules that could not be put in force.
#[derive(Debug, Error)]
pub enum RulesError {
    /// The test wrote a rule that the module does not know.
    #[error(transparent)]
    Bad(#[from] BadRule),
    /// The file or the counts beside it could not be read or written.
    #[error("the rules file cannot be read or replaced")]
    File(#[from] io::Error),
}

impl Rules {
    /// The rules in the file `path`, in a directory that exists. No file means no faults.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file, for [`RULES`](crate::RULES).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts `rules`, one a line, in the place of all rules so far. Counting (`after`, `times`) begins anew; wrong PINs
    /// stay counted.
    ///
    /// # Errors
    ///
    /// A rule is not understood, and the old rules stay in force; or the file cannot be written.
    pub fn set(&self, rules: &str) -> Result<(), RulesError> {
        RuleSet::parse(rules)?;
        let mut draft = self.path.clone().into_os_string();
        draft.push(format!(".{}", std::process::id()));
        fs::write(&draft, rules)?;
        Ok(fs::rename(&draft, &self.path)?)
    }

    /// Ends all faults; what [`set`](Self::set) says of counting applies.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn clear(&self) -> Result<(), RulesError> {
        self.set("")
    }

    /// Wrong PINs since the last right one, of all tokens together, as counted under `token pin-count`.
    ///
    /// # Errors
    ///
    /// The counts cannot be read.
    pub fn pin_failures(&self) -> Result<u32, RulesError> {
        Ok(Ledger::beside(&self.path).update(|counts| counts.all_pin_failures())?)
    }

    /// Forgets all wrong PINs, as entering the PUK does.
    ///
    /// # Errors
    ///
    /// The counts cannot be written.
    pub fn unblock_pins(&self) -> Result<(), RulesError> {
        Ok(Ledger::beside(&self.path).update(|counts| counts.forget_pin_failures())?)
    }
}

/// The module, `libfaulty_module.so`, as cargo built it for the running test, benchmark or program.
///
/// # Errors
///
/// It is not beside the running program, which was then not built by cargo with this crate as a dependency.
pub fn library() -> io::Result<PathBuf> {
    const NAME: &str = "libfaulty_module.so";
    let program = std::env::current_exe()?;
    let places = program.ancestors().skip(1).take(2).flat_map(|place| [place.join("deps"), place.to_owned()]);
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{NAME} is not beside {}", program.display()));
    places.map(|place| place.join(NAME)).find(|path| path.exists()).ok_or_else(missing)
}
