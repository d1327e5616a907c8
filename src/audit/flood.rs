//! How much of the log one source can fill with what is not done.
//!
//! A program that is refused can ask again a thousand times a second, and each record would push an older one out of the log. So of the
//! refusals of one source some are recorded one by one; of the others the log says how many there were, and what the last one was.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::record::{Event, Outcome, Record};

/// So many refusals of one source are recorded one by one, and later one more for each pause.
const RECORDS: u32 = 20;
const PAUSE: Duration = Duration::from_secs(180);
/// After this long it is recorded how many were left out.
const SUMMARY_AFTER: Duration = Duration::from_secs(60);
/// So many sources are told apart; all others are one.
const MOST_SOURCES: usize = 256;

/// Who is refused what, as far as it is told apart: nothing of it can a client make up as often as it likes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Source {
    event: Event,
    program: Option<String>,
    first_hop: Option<String>,
}

struct Quota {
    left: u32,
    since: Instant,
    held: Option<Held>,
}

/// What is not recorded one by one.
struct Held {
    last: Record,
    count: u64,
    since: Instant,
}

/// The quotas of all sources.
#[derive(Default)]
pub(super) struct Flood(HashMap<Source, Quota>);

impl Flood {
    /// Takes a record, and adds what is to be written: the record, or nothing; before it, how many like it were left out.
    pub(super) fn admit(&mut self, record: Record, now: Instant, into: &mut Vec<Record>) {
        // Each PIN that is refused cost the token a try, so there are few.
        if record.outcome == Outcome::Done || record.event == Event::Pin {
            return into.push(record);
        }
        let mut source = Source {
            event: record.event,
            program: record.peer.as_ref().and_then(|peer| peer.program.clone()),
            first_hop: record.via.first().map(|hop| hop.host_key.clone()),
        };
        if self.0.len() >= MOST_SOURCES && !self.0.contains_key(&source) {
            self.0.retain(|_, quota| !quota.is_full(now));
            if self.0.len() >= MOST_SOURCES {
                source = Source::default();
            }
        }
        self.0.entry(source).or_insert(Quota { left: RECORDS, since: now, held: None }).take(record, now, into);
    }

    /// Adds a record for each source of which some have been left out for a while.
    pub(super) fn summarise(&mut self, now: Instant, into: &mut Vec<Record>) {
        self.end(into, |held| now.duration_since(held.since) >= SUMMARY_AFTER);
    }

    /// Adds a record for each source of which some have been left out.
    pub(super) fn finish(&mut self, into: &mut Vec<Record>) {
        self.end(into, |_| true);
    }

    /// How long until there is something to say.
    pub(super) fn due(&self, now: Instant) -> Option<Duration> {
        let since = self.0.values().filter_map(|quota| quota.held.as_ref()).map(|held| held.since).min()?;
        Some(SUMMARY_AFTER.saturating_sub(now.duration_since(since)))
    }

    fn end(&mut self, into: &mut Vec<Record>, is_due: impl Fn(&Held) -> bool) {
        for quota in self.0.values_mut() {
            into.extend(quota.held.take_if(|held| is_due(held)).map(Held::summary));
        }
    }
}

impl Quota {
    fn take(&mut self, record: Record, now: Instant, into: &mut Vec<Record>) {
        self.refill(now);
        match (self.left.checked_sub(1), &mut self.held) {
            (Some(left), _) => {
                self.left = left;
                into.extend(self.held.take().map(Held::summary));
                into.push(record);
            }
            (None, Some(held)) => {
                held.count += 1;
                held.last = record;
            }
            (None, held) => *held = Some(Held { last: record, count: 1, since: now }),
        }
    }

    fn refill(&mut self, now: Instant) {
        let pauses = now.duration_since(self.since).as_secs() / PAUSE.as_secs();
        let pauses = u32::try_from(pauses).unwrap_or(RECORDS);
        self.left = self.left.saturating_add(pauses).min(RECORDS);
        self.since += PAUSE * pauses;
    }

    /// Whether it is as if it had never been used.
    fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left == RECORDS && self.held.is_none()
    }
}

impl Held {
    /// The last one, and how many it stands for.
    fn summary(self) -> Record {
        Record { more: Some(self.count), ..self.last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::Peer;

    fn refusal(program: &str, seq: u64) -> Record {
        let peer = Some(Peer { program: Some(program.to_owned()), ..Peer::default() });
        Record { seq, peer, outcome: Outcome::Refused, ..Record::of(Event::Sign) }
    }

    fn admitted(flood: &mut Flood, records: impl IntoIterator<Item = Record>, now: Instant) -> Vec<Record> {
        let mut written = Vec::new();
        records.into_iter().for_each(|record| flood.admit(record, now, &mut written));
        written
    }

    #[test]
    fn a_flood_is_counted_and_others_are_recorded() {
        let (mut flood, now) = (Flood::default(), Instant::now());
        let written = admitted(&mut flood, (1..=1000).map(|seq| refusal("flood", seq)), now);
        assert_eq!(written.len(), 20);
        assert_eq!(admitted(&mut flood, [refusal("other", 1)], now).len(), 1);
        let done = Record { outcome: Outcome::Done, ..refusal("flood", 1001) };
        assert_eq!(admitted(&mut flood, [done], now).len(), 1, "what is done is always recorded");

        let mut summary = Vec::new();
        flood.summarise(now, &mut summary);
        assert!(summary.is_empty() && flood.due(now) == Some(SUMMARY_AFTER));
        flood.summarise(now + SUMMARY_AFTER, &mut summary);
        assert_eq!(summary.iter().map(|record| (record.more, record.seq)).collect::<Vec<_>>(), [(Some(980), 1000)]);
        assert_eq!(flood.due(now), None);
    }

    #[test]
    fn what_was_left_out_is_told_before_the_next_one_and_at_the_end() {
        let (mut flood, now) = (Flood::default(), Instant::now());
        admitted(&mut flood, (1..=25).map(|seq| refusal("flood", seq)), now);
        let later = admitted(&mut flood, [refusal("flood", 26), refusal("flood", 27)], now + PAUSE);
        assert_eq!(
            later.iter().map(|record| (record.more, record.seq)).collect::<Vec<_>>(),
            [(Some(5), 25), (None, 26)]
        );
        let mut end = Vec::new();
        flood.finish(&mut end);
        assert_eq!(end.iter().map(|record| record.more).collect::<Vec<_>>(), [Some(1)]);
    }

    #[test]
    fn many_sources_share_one_quota() {
        let (mut flood, now) = (Flood::default(), Instant::now());
        let many = |names: std::ops::Range<u64>| names.map(|name| refusal(&name.to_string(), name));
        assert_eq!(admitted(&mut flood, many(0..10_000), now).len(), MOST_SOURCES + 20);
        assert!(flood.0.len() <= MOST_SOURCES + 1);
        assert_eq!(admitted(&mut flood, many(20_000..20_001), now + PAUSE * 2).len(), 1);
    }
}
