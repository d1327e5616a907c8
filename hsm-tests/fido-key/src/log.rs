//! What happened at the key, one line for each event, for tests to assert on.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// The log; clones write to the same one.
///
/// A command's line has its name and its status: two hexadecimal digits for CTAP2, four for U2F, `-` if it was never answered. Other lines are a word:
/// `plug`, `unplug`, `asks` (for a touch), `touched`, `denied`, `late` (nobody touched), `cancelled`, `cancel` (asked for by the client), `busy` (a second client was turned away),
/// `freeze`, `thaw`.
#[derive(Clone, Debug, Default)]
pub struct Log {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: Vec<String>,
    file: Option<File>,
}

impl Log {
    /// A log that is written to a file too, line by line.
    #[must_use]
    pub fn to(file: File) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { lines: Vec::new(), file: Some(file) })) }
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    pub(crate) fn add(&self, line: impl Into<String>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let line = line.into();
        if let Some(file) = &mut inner.file {
            // The lines in memory are still there if the disk is full.
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
        inner.lines.push(line);
    }
}
