//! The lock of RFC 9987 section 5.7: while it is on, nothing is listed, signed, added or removed.

use std::sync::Arc;
use std::time::Duration;

use crate::crypto::passphrase::PassphraseHash;

/// The delay after the first wrong passphrase; it grows by as much with each further one.
const STEP: Duration = Duration::from_millis(100);
const MAX_STEPS: u32 = 100;

/// Whether the agent is locked, and how often a wrong passphrase was given since.
#[derive(Default)]
pub struct Lock {
    hash: Option<Arc<PassphraseHash>>,
    failures: u32,
}

/// The agent is locked already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent is locked already")]
pub struct Locked;

impl Lock {
    /// Whether it is on.
    pub const fn is_locked(&self) -> bool {
        self.hash.is_some()
    }

    /// Locks.
    ///
    /// # Errors
    /// It is locked already; the first passphrase stays in force.
    pub fn lock(&mut self, hash: PassphraseHash) -> Result<(), Locked> {
        if self.is_locked() {
            return Err(Locked);
        }
        self.hash = Some(Arc::new(hash));
        self.failures = 0;
        Ok(())
    }

    /// What a passphrase has to match; `None` when not locked.
    pub fn hash(&self) -> Option<Arc<PassphraseHash>> {
        self.hash.clone()
    }

    /// Unlocks, if the lock is still the one whose passphrase was matched.
    pub fn unlock(&mut self, matched: &Arc<PassphraseHash>) -> bool {
        let same = self.hash.as_ref().is_some_and(|hash| Arc::ptr_eq(hash, matched));
        if same {
            *self = Self::default();
        }
        same
    }

    /// Counts a wrong passphrase; how long its connection has to wait for the answer.
    pub fn failed(&mut self) -> Duration {
        //= RFC 9987 section 10: an agent SHOULD take countermeasures against brute-force guessing attacks on the
        //= passphrase
        self.failures = (self.failures + 1).min(MAX_STEPS);
        STEP * self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> PassphraseHash {
        PassphraseHash::new(&text.as_bytes().to_vec().into()).expect("randomness")
    }

    #[test]
    fn the_first_passphrase_stays_in_force() {
        let mut lock = Lock::default();
        assert_eq!(lock.lock(hash("a")), Ok(()));
        let first = lock.hash().expect("locked");
        assert_eq!(lock.lock(hash("b")), Err(Locked));
        assert!(lock.unlock(&first));
        assert!(!lock.is_locked());
        assert!(!lock.unlock(&first));
    }

    #[test]
    fn each_wrong_passphrase_waits_longer_up_to_ten_seconds() {
        let mut lock = Lock::default();
        assert!(lock.failed() < lock.failed());
        assert_eq!((0..200).map(|_| lock.failed()).max(), Some(Duration::from_secs(10)));
    }
}
