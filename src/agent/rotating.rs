//! The states that `hardkey rotate` gave to keys, read again when their file changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use crate::rotation::{Rotation, States};

/// What is known of the file.
#[derive(Default)]
pub(super) struct KeyStates(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The file by its number and time; a new one takes the place of the old.
    file: Option<(u64, i64, i64)>,
    states: Arc<States>,
}

impl KeyStates {
    /// The states now: one look for a file where nothing changed.
    pub(super) fn current(&self) -> Arc<States> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = Rotation::file() else { return Arc::clone(&known.states) };
        let found = fs::metadata(&path).ok().map(|found| (found.ino(), found.mtime(), found.mtime_nsec()));
        if found != known.file {
            known.file = found;
            match Rotation::read(&path) {
                Ok(rotation) => known.states = Arc::new(States::of(&rotation)),
                // What was retired stays so, rather than being offered because a file is broken.
                Err(error) => tracing::warn!("{}: {error}; the states of keys stay as they were", path.display()),
            }
        }
        Arc::clone(&known.states)
    }
}
