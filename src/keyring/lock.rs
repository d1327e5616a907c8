//! The lock of RFC 9987 section 5.7: while it is on, nothing is listed, signed, added or removed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::passphrase::PassphraseHash;

/// The delay after the first wrong passphrase; it grows by as much with each further one.
const STEP: Duration = Duration::from_millis(100);
const MAX_STEPS: u32 = 100;
/// How many guesses may be tried before the time that the earlier ones cost is over. Those who wait for their answers cannot use up more
/// than one each, so it takes this many of them to delay somebody else; and nobody gains more than this many guesses by not waiting.
const MOST_UNPAID: usize = 16;

/// Whether the agent is locked, and what guesses at the passphrase have cost since.
///
/// Each guess costs time, and the costs of several add up, whoever makes them: all connections together guess as slowly as one does. But
/// only those who guess pay.
#[derive(Default)]
pub struct Lock {
    hash: Option<Arc<PassphraseHash>>,
    guesses: u32,
    /// When each guess is paid for, the earliest first.
    unpaid: VecDeque<Duration>,
}

/// Too many guesses are unpaid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passphrases are being tried")]
pub struct TooManyGuesses {
    /// How long until one of them is paid.
    pub wait: Duration,
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
        *self = Self { hash: Some(Arc::new(hash)), ..Self::default() };
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

    /// Enters a guess before it is tried, so that hanging up saves nothing; when its cost is paid, and so when its failure may be answered.
    /// `now` is the time of [`crate::clock`].
    ///
    /// # Errors
    /// It has to wait.
    pub fn guess(&mut self, now: Duration) -> Result<Duration, TooManyGuesses> {
        self.unpaid.retain(|paid| *paid > now);
        if let (true, Some(first)) = (self.unpaid.len() >= MOST_UNPAID, self.unpaid.front()) {
            return Err(TooManyGuesses { wait: first.saturating_sub(now) });
        }
        //= RFC 9987 section 10: an agent SHOULD take countermeasures against brute-force guessing attacks on the
        //= passphrase
        self.guesses = (self.guesses + 1).min(MAX_STEPS);
        let paid = self.unpaid.back().copied().unwrap_or(now) + STEP * self.guesses;
        self.unpaid.push_back(paid);
        Ok(paid)
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
    fn each_guess_takes_longer_up_to_ten_seconds() {
        let mut lock = Lock::default();
        let mut now = Duration::ZERO;
        let mut costs = (0..200).map(|_| {
            let paid = lock.guess(now).expect("one at a time");
            let cost = paid - now;
            now = paid;
            cost
        });
        assert_eq!([costs.next(), costs.next()], [Some(STEP), Some(2 * STEP)]);
        assert_eq!(costs.max(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn guessing_side_by_side_gains_a_few_guesses_and_no_rate() {
        let (alone, together) = (Duration::from_secs(3600), Duration::from_secs(3600));
        let one_by_one = guesses_within(alone, |paid, _| paid);
        // Nobody waits for an answer: whatever the lock allows is guessed at once.
        let at_once = guesses_within(together, |_, now| now);
        assert!(at_once <= one_by_one + MOST_UNPAID, "{at_once} guesses, {one_by_one} by waiting");
    }

    #[test]
    fn those_who_wait_for_their_answers_keep_nobody_from_trying() {
        let mut lock = Lock::default();
        let mut free = vec![Duration::ZERO; MOST_UNPAID - 1];
        for _ in 0..1000 {
            let next = free.iter_mut().min().expect("guessers");
            let now = *next;
            *next = lock.guess(now).expect("each has paid for the last one");
            assert!(lock.unpaid.len() < MOST_UNPAID, "another has to wait");
        }
    }

    /// How many guesses are tried in a time, by one who is ready again at the moment that `ready` makes of when the last one is paid and when
    /// it was tried.
    fn guesses_within(time: Duration, ready: impl Fn(Duration, Duration) -> Duration) -> usize {
        let mut lock = Lock::default();
        let (mut now, mut count) = (Duration::ZERO, 0);
        while now < time {
            match lock.guess(now) {
                Ok(paid) => {
                    count += 1;
                    now = ready(paid, now);
                }
                Err(TooManyGuesses { wait }) => now += wait,
            }
        }
        count
    }
}
