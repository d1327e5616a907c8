//! How much of one source a person has had: three times no, or one "mute", and it is not shown for a while.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Refusal;
use super::dialog::Source;

/// How long a source stays silent, and how long a no counts.
pub(super) const SILENCE: Duration = Duration::from_secs(600);
const MOST_DENIALS: usize = 3;

/// The denials of each source. Times are those of [`crate::clock`].
#[derive(Default)]
pub(super) struct Patience(Mutex<HashMap<Source, Record>>);

#[derive(Default)]
struct Record {
    denials: Vec<Duration>,
    silent_until: Option<Duration>,
}

impl Patience {
    /// # Errors
    /// The source is silenced.
    pub(super) fn check(&self, source: Option<&Source>, now: Duration) -> Result<(), Refusal> {
        let records = self.lock();
        let until = source.and_then(|source| records.get(source)?.silent_until);
        match until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero()) {
            Some(left) => Err(Refusal::Muted(left)),
            None => Ok(()),
        }
    }

    /// Forgets earlier denials.
    pub(super) fn allowed(&self, source: Option<&Source>) {
        if let Some(source) = source {
            self.lock().remove(source);
        }
    }

    /// Counts a no.
    pub(super) fn denied(&self, source: Option<&Source>, now: Duration) {
        let Some(source) = source else { return };
        let mut records = self.lock();
        records.retain(|_, record| !record.is_over(now));
        let record = records.entry(source.clone()).or_default();
        record.denials.retain(|at| now.saturating_sub(*at) < SILENCE);
        record.denials.push(now);
        if record.denials.len() >= MOST_DENIALS {
            record.silence(source, now);
        }
    }

    /// Silences a source at once.
    pub(super) fn mute(&self, source: Option<&Source>, now: Duration) {
        if let Some(source) = source {
            self.lock().entry(source.clone()).or_default().silence(source, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn silence(&mut self, source: &Source, now: Duration) {
        tracing::warn!("requests of {source} are refused without a dialog for {} minutes", SILENCE.as_secs() / 60);
        *self = Self { denials: Vec::new(), silent_until: Some(now + SILENCE) };
    }

    fn is_over(&self, now: Duration) -> bool {
        let denials = self.denials.iter().map(|at| *at + SILENCE);
        denials.chain(self.silent_until).all(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    fn hop(session: u8) -> Source {
        Source::Hop { session: vec![session], name: "devbox".to_owned() }
    }

    #[test]
    fn three_times_no_is_enough_for_ten_minutes() {
        let patience = Patience::default();
        let hop_one = hop(1);
        for _ in 0..3 {
            assert_eq!(patience.check(Some(&hop_one), START), Ok(()));
            patience.denied(Some(&hop_one), START);
        }
        assert_eq!(patience.check(Some(&hop_one), START + SILENCE / 2), Err(Refusal::Muted(SILENCE / 2)));
        assert_eq!(patience.check(Some(&hop(2)), START), Ok(()));
        assert_eq!(patience.check(None, START), Ok(()));
        assert_eq!(patience.check(Some(&hop_one), START + SILENCE), Ok(()));
    }

    #[test]
    fn a_yes_in_between_or_time_makes_up_for_a_no() {
        let patience = Patience::default();
        let hop = hop(1);
        patience.denied(Some(&hop), START);
        patience.denied(Some(&hop), START);
        patience.allowed(Some(&hop));
        patience.denied(Some(&hop), START);
        patience.denied(Some(&hop), START);
        patience.denied(Some(&hop), START + SILENCE);
        assert_eq!(patience.check(Some(&hop), START + SILENCE), Ok(()));
        patience.mute(Some(&hop), START);
        assert!(patience.check(Some(&hop), START).is_err());
    }
}
