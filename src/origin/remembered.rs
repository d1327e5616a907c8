//! What reading files has told, kept for as long as the files are what they were.

use std::fs;
use std::hash::Hash;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use indexmap::IndexMap;

/// More answers than this are not kept.
const MOST_ANSWERS: usize = 256;
/// A file that was changed less than this ago may be changed again within the same tick of its time stamps.
const SETTLED: Duration = Duration::from_secs(1);

/// Answers to questions about files, by question.
#[derive(Debug)]
pub(crate) struct Remembered<Q, A>(Mutex<IndexMap<Q, (Vec<Stamp>, A)>>);

/// What changes when a file does; none for one that is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl<Q, A> Default for Remembered<Q, A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Q: Hash + Eq, A: Clone> Remembered<Q, A> {
    /// The answer to a question about these files, by reading them if they have changed since it was last asked. Blocks.
    pub(crate) fn answer(&self, files: &[PathBuf], question: Q, read: impl FnOnce(&Q) -> A) -> A {
        // Before reading: what changes meanwhile is read again the next time.
        let stamps: Option<Vec<Stamp>> = files.iter().map(|file| stamp(file)).collect();
        let Some(stamps) = stamps else { return read(&question) };
        if let Some((_, answer)) = self.lock().get(&question).filter(|(before, _)| *before == stamps) {
            return answer.clone();
        }
        let answer = read(&question);
        let mut answers = self.lock();
        if answers.len() >= MOST_ANSWERS {
            answers.shift_remove_index(0);
        }
        answers.insert(question, (stamps, answer.clone()));
        answer
    }

    fn lock(&self) -> MutexGuard<'_, IndexMap<Q, (Vec<Stamp>, A)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// None for a file that was changed just now.
fn stamp(file: &Path) -> Option<Stamp> {
    let Ok(metadata) = fs::metadata(file) else { return Some(None) };
    let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    // A time in the future says nothing either.
    let is_settled = changed.elapsed().is_ok_and(|age| age > SETTLED);
    let time = metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec());
    let status = metadata.ctime().wrapping_mul(1_000_000_000).wrapping_add(metadata.ctime_nsec());
    is_settled.then(|| Some((metadata.dev(), metadata.ino(), metadata.size(), time, status)))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::{File, FileTimes};

    use super::*;
    use crate::origin::testing::Scratch;

    #[test]
    fn a_file_is_read_again_when_it_has_changed_and_only_then() {
        let scratch = Scratch::new();
        let files = [scratch.path("one"), scratch.path("two")];
        let (remembered, reads) = (Remembered::default(), Cell::new(0));
        let ask = |question: &'static str| {
            remembered.answer(&files, question, |_| {
                reads.set(reads.get() + 1);
                reads.get()
            })
        };
        let settle = |text: &str| {
            fs::write(&files[1], text).expect("write");
            let past = FileTimes::new().set_modified(SystemTime::now() - 2 * SETTLED);
            File::options().write(true).open(&files[1]).and_then(|file| file.set_times(past)).expect("times");
        };
        assert_eq!([ask("a"), ask("a"), ask("b"), ask("a")], [1, 1, 2, 1], "no file is there");
        settle("lines");
        assert_eq!([ask("a"), ask("a")], [3, 3]);
        settle("LINES");
        assert_eq!([ask("a"), ask("a")], [4, 4], "as long as before, and changed");
        fs::write(&files[1], "lines").expect("write");
        assert_eq!([ask("a"), ask("a")], [5, 6], "changed just now");
    }

    #[test]
    fn only_so_much_is_kept() {
        let remembered = Remembered::default();
        for number in 0..2 * MOST_ANSWERS {
            assert_eq!(remembered.answer(&[], number, |number| *number), number);
        }
        assert_eq!(remembered.lock().len(), MOST_ANSWERS);
    }
}
