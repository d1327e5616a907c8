//! A `[[module]]` section of the agent's configuration.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::token::Token;

/// How the agent is told about a PKCS#11 module.
#[derive(Clone)]
pub struct Module {
    path: PathBuf,
    pin: Pin,
    environment: Vec<(&'static str, OsString)>,
    lines: Vec<String>,
}

#[derive(Clone)]
enum Pin {
    Unsaid,
    Asked,
    File(PathBuf),
}

impl Module {
    /// The module of a token, with the right PIN in a file.
    #[must_use]
    pub fn of(token: &Token) -> Self {
        Self {
            path: token.library(),
            pin: Pin::File(token.pin_file()),
            environment: token.environment(),
            lines: Vec::new(),
        }
    }

    /// A module at any path, without environment or PIN.
    #[must_use]
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_path_buf(), pin: Pin::Unsaid, environment: Vec::new(), lines: Vec::new() }
    }

    /// Sets a variable in the environment of this module's workers.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The PIN is read from this file.
    #[must_use]
    pub fn pin_from(mut self, file: impl AsRef<Path>) -> Self {
        self.pin = Pin::File(file.as_ref().to_path_buf());
        self
    }

    /// The PIN is asked from a person.
    #[must_use]
    pub fn pin_asked(mut self) -> Self {
        self.pin = Pin::Asked;
        self
    }

    /// Nothing is said about the PIN.
    #[must_use]
    pub fn pin_unsaid(mut self) -> Self {
        self.pin = Pin::Unsaid;
        self
    }

    /// Another module that passes calls on to this one.
    pub(crate) fn behind(mut self, module: PathBuf) -> Self {
        let behind = std::mem::replace(&mut self.path, module);
        self.env(faulty_module::BACKEND, behind)
    }

    /// The same library at another path.
    pub(crate) fn moved_to(mut self, path: PathBuf) -> Self {
        self.path = path;
        self
    }

    /// Only the keys that match one of these URIs or fingerprints.
    #[must_use]
    pub fn keys(self, selectors: &[&str]) -> Self {
        let list: Vec<String> = selectors.iter().map(quoted).collect();
        self.line(format!("keys = [{}]", list.join(", ")))
    }

    /// Any further line of the section.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn pin_file(&self) -> Option<&Path> {
        match &self.pin {
            Pin::File(file) => Some(file),
            Pin::Unsaid | Pin::Asked => None,
        }
    }

    /// The variables in the environment of its workers.
    #[must_use]
    pub fn environment(&self) -> &[(&'static str, OsString)] {
        &self.environment
    }
}

impl fmt::Display for Module {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "[[module]]")?;
        writeln!(out, "path = {}", quoted(self.path.display()))?;
        match &self.pin {
            Pin::Unsaid => {}
            Pin::Asked => writeln!(out, "pin = \"ask\"")?,
            Pin::File(file) => writeln!(out, "pin = {{ file = {} }}", quoted(file.display()))?,
        }
        if !self.environment.is_empty() {
            let pairs: Vec<String> =
                self.environment.iter().map(|(name, value)| format!("{name} = {}", quoted(value.display()))).collect();
            writeln!(out, "env = {{ {} }}", pairs.join(", "))?;
        }
        self.lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}

/// A TOML literal string: nothing in it is special.
pub(crate) fn quoted(text: impl fmt::Display) -> String {
    let text = text.to_string();
    assert!(!text.contains(['\'', '\n']), "{text:?} does not fit a TOML literal string");
    format!("'{text}'")
}
