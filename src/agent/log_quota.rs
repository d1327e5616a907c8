//! How much one client may write into the log by what it does wrong.
//!
//! Each refusal is a line in the log that says why, and a client can be refused a hundred thousand times a second. So lines of one kind that
//! one client causes have a quota. What is left out is counted, and the count is written with the next line of that kind.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::origin::peer::ProcessId;

/// So many lines of one kind at once, and later one for each pause.
const LINES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);
/// So many quotas are kept apart. When there are more, because somebody starts process after process, the others share one.
const MOST_QUOTAS: usize = 1024;

tokio::task_local! {
    static CLIENT: Option<ProcessId>;
}

/// Does something for a client: what is logged meanwhile counts towards the quota of its process. Those that are not known share one.
pub(super) async fn on_behalf_of<T>(client: Option<ProcessId>, work: impl Future<Output = T>) -> T {
    CLIENT.scope(client, work).await
}

/// Logs what a client caused that is not served.
pub(super) fn turned_away(log: impl FnOnce()) {
    CLIENT.sync_scope(None, log);
}

/// Writes an event like the format it stands before, unless its quota is used up. Details that were asked for (`HARDKEY_LOG=debug`) have
/// none.
pub(super) struct Moderated<F> {
    format: F,
    quotas: Mutex<Quotas<(Option<ProcessId>, Identifier)>>,
}

impl<F> Moderated<F> {
    pub(super) fn new(format: F) -> Self {
        Self { format, quotas: Mutex::new(Quotas::new()) }
    }

    /// How many lines were left out before this one; none when it is left out itself.
    fn take(&self, event: &Event<'_>) -> Option<u64> {
        let Ok(client) = CLIENT.try_with(|client| *client) else { return Some(0) };
        if *event.metadata().level() > Level::INFO {
            return Some(0);
        }
        let kind = event.metadata().callsite();
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        quotas.take((client, kind.clone()), (None, kind), Instant::now())
    }
}

impl<S, N, F> FormatEvent<S, N> for Moderated<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match self.take(event) {
            None => return Ok(()),
            Some(0) => {}
            Some(left_out) => writeln!(writer, "({left_out} lines like the next one were left out)")?,
        }
        self.format.format_event(context, writer, event)
    }
}

struct Quotas<K> {
    open: HashMap<K, Quota>,
    swept: Option<Instant>,
}

struct Quota {
    lines: u32,
    since: Instant,
    left_out: u64,
}

impl<K: Hash + Eq> Quotas<K> {
    fn new() -> Self {
        Self { open: HashMap::new(), swept: None }
    }

    fn take(&mut self, key: K, shared: K, now: Instant) -> Option<u64> {
        let full = self.open.len() >= MOST_QUOTAS && !self.open.contains_key(&key);
        if full && self.swept.is_none_or(|swept| now.duration_since(swept) >= PAUSE) {
            self.swept = Some(now);
            self.open.retain(|_, quota| {
                quota.refill(now);
                quota.lines < LINES || quota.left_out > 0
            });
        }
        let key = if full && self.open.len() >= MOST_QUOTAS { shared } else { key };
        self.open.entry(key).or_insert(Quota { lines: LINES, since: now, left_out: 0 }).take(now)
    }
}

impl Quota {
    fn take(&mut self, now: Instant) -> Option<u64> {
        self.refill(now);
        match self.lines.checked_sub(1) {
            Some(lines) => {
                self.lines = lines;
                Some(std::mem::take(&mut self.left_out))
            }
            None => {
                self.left_out += 1;
                None
            }
        }
    }

    fn refill(&mut self, now: Instant) {
        let pauses = now.duration_since(self.since).as_secs() / PAUSE.as_secs();
        self.lines = u32::try_from(pauses).map_or(LINES, |more| self.lines.saturating_add(more)).min(LINES);
        self.since += PAUSE * u32::try_from(pauses).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_counted_and_others_are_heard() {
        let (mut quotas, now) = (Quotas::new(), Instant::now());
        let written = (0..1000).filter(|_| quotas.take("flood", "", now).is_some()).count();
        assert_eq!(written, 30);
        assert_eq!(quotas.take("another", "", now), Some(0));
        let later = now + PAUSE;
        assert_eq!([quotas.take("flood", "", later), quotas.take("flood", "", later)], [Some(970), None]);
    }

    #[test]
    fn a_client_that_has_been_quiet_has_its_whole_quota_again() {
        let (mut quotas, now) = (Quotas::new(), Instant::now());
        for time in [now, now + Duration::from_secs(3600)] {
            assert_eq!((0..100).filter(|_| quotas.take("client", "", time).is_some()).count(), 30);
        }
    }

    #[test]
    fn processes_without_number_share_a_quota() {
        let (mut quotas, now) = (Quotas::new(), Instant::now());
        let written = (1..10_000).filter(|client| quotas.take(*client, 0, now).is_some()).count();
        assert_eq!(written, MOST_QUOTAS + 30);
        assert!(quotas.open.len() <= MOST_QUOTAS + 1);
        // Once there is room again, each has its own.
        assert_eq!(quotas.take(10_000, 0, now + Duration::from_secs(60)), Some(0));
        assert!(quotas.open.len() < 10);
    }
}
