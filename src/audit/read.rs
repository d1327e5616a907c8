//! The log, read back: which records there are, and who used which key where.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::file::numbered;
use super::record::{Event, Outcome, Record};
use crate::config::Seconds;
use crate::pattern;

/// Which records are wanted; those that satisfy all of it.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Not older than this moment, in the form of [`Record::time`].
    pub since: Option<String>,
    /// Of this key: a fingerprint, or a pattern for the comment.
    pub key: Option<String>,
    /// To or through this host: a pattern for its name, or the fingerprint of its key.
    pub host: Option<String>,
    /// Of this class of origin; `local` and `forwarded` stand for all that begin so.
    pub origin: Option<String>,
}

/// How often and when something signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The host, or the key's fingerprint.
    pub name: String,
    /// The key's comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// How many signatures were made.
    pub signatures: u64,
    /// When the latest was.
    pub last: String,
    /// The keys used at the host, or the hosts the key was used for.
    pub with: BTreeSet<String>,
}

/// By what usage is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// By the host logged in to, or the kind of signature.
    Host,
    /// By key.
    Key,
}

impl Filter {
    /// Whether the record is wanted.
    #[must_use]
    pub fn accepts(&self, record: &Record) -> bool {
        let hosts = || {
            record
                .host()
                .into_iter()
                .chain(
                    record
                        .via
                        .iter()
                        .flat_map(|hop| hop.host.as_deref().into_iter().chain(std::iter::once(hop.host_key.as_str()))),
                )
                .chain(record.request.as_ref().and_then(|request| request.host_key.as_deref()))
        };
        let key = |wanted: &str| {
            record.key.as_ref().is_some_and(|key| {
                key.fingerprint == wanted || key.comment.as_deref().is_some_and(|comment| matches(wanted, comment))
            })
        };
        let origin = |wanted: &str| {
            record.origin.as_deref().is_some_and(|origin| {
                origin == wanted || origin.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('-'))
            })
        };
        self.since.as_deref().is_none_or(|since| record.time.as_str() >= since)
            && self.key.as_deref().is_none_or(key)
            && self.host.as_deref().is_none_or(|wanted| hosts().any(|host| matches(wanted, host)))
            && self.origin.as_deref().is_none_or(origin)
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    pattern == text || pattern::matches(pattern.as_bytes(), text.as_bytes())
}

/// Reads a moment as people write it: a time that has passed since (`2h`, `3d`), a day, or a day and time in UTC.
///
/// # Errors
/// It is none of these; a text for the user.
pub fn moment(text: &str, now: SystemTime) -> Result<String, String> {
    if let Some(ago) = Seconds::parse(text) {
        let then = now.checked_sub(Duration::from_secs(ago.0.into())).unwrap_or(SystemTime::UNIX_EPOCH);
        return Ok(super::timestamp(then));
    }
    let text = text.trim_end_matches('Z').replacen(' ', "T", 1);
    let day = if text.contains('T') { text } else { format!("{text}T00:00:00") };
    let full = if day.matches(':').count() == 1 { format!("{day}:00Z") } else { format!("{day}Z") };
    let parsed: Result<der::DateTime, _> = full.parse();
    parsed
        .map(|moment| super::timestamp(moment.to_system_time()))
        .map_err(|_| "not a time such as 2h, 3d, 2026-11-20 or 2026-11-20T08:30 (UTC)".to_owned())
}

/// Reads every file of the log, the oldest first, and gives each line with its record; without one where a line cannot be understood.
///
/// # Errors
/// A file that is there cannot be read.
pub fn for_each(path: &Path, mut take: impl FnMut(&str, Option<Record>)) -> io::Result<()> {
    for_each_aside(path, &mut take)?;
    read_file(path, &mut take)
}

/// The same for the files that were set aside.
///
/// # Errors
/// A file that is there cannot be read.
pub fn for_each_aside(path: &Path, mut take: impl FnMut(&str, Option<Record>)) -> io::Result<()> {
    let count = (1..).take_while(|number| numbered(path, *number).exists()).count();
    (1..=count)
        .rev()
        .try_for_each(|number| read_file(&numbered(path, u32::try_from(number).unwrap_or(u32::MAX)), &mut take))
}

fn read_file(path: &Path, take: &mut impl FnMut(&str, Option<Record>)) -> io::Result<()> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        take(text, serde_json::from_str(text).ok());
        line.clear();
    }
    Ok(())
}

/// Counts signatures that were made.
#[derive(Debug, Default)]
pub struct Count(BTreeMap<String, Usage>);

impl Count {
    /// Takes in a record.
    pub fn take(&mut self, record: &Record, by: By) {
        let (Event::Sign, Outcome::Done, Some(key)) = (record.event, record.outcome, &record.key) else { return };
        let host = place(record);
        let shown = key.comment.clone().filter(|comment| !comment.is_empty());
        let (name, comment, with) = match by {
            By::Host => (host, None, shown.unwrap_or_else(|| key.fingerprint.clone())),
            By::Key => (key.fingerprint.clone(), shown, host),
        };
        let usage = self.0.entry(name.clone()).or_insert_with(|| Usage {
            name,
            comment: None,
            signatures: 0,
            last: String::new(),
            with: BTreeSet::new(),
        });
        usage.signatures += 1;
        usage.comment = comment.or_else(|| usage.comment.take());
        if record.time > usage.last {
            usage.last.clone_from(&record.time);
        }
        usage.with.insert(with);
    }

    /// What was counted, the latest used first.
    #[must_use]
    pub fn usages(self) -> Vec<Usage> {
        let mut usages: Vec<Usage> = self.0.into_values().collect();
        usages.sort_by(|one, other| other.last.cmp(&one.last));
        usages
    }
}

/// Where a signature was good for: a host, or what else it was.
fn place(record: &Record) -> String {
    if let Some(host) = record.host() {
        return host.to_owned();
    }
    match &record.request {
        Some(request) if request.kind == "sshsig" => {
            format!("(signature: {})", request.namespace.as_deref().unwrap_or_default())
        }
        Some(request) if request.kind == "login" => "(unknown host)".to_owned(),
        Some(request) => format!("({})", request.kind),
        None => "(unknown)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Hop, Key, Signed};
    use super::*;

    fn login(time: &str, host: &str, key: &str) -> Record {
        let request = Signed { kind: "bound-login".into(), host: Some(host.into()), ..Signed::default() };
        let key = Key { fingerprint: format!("SHA256:{key}"), comment: Some(key.into()), ..Key::default() };
        Record {
            time: time.into(),
            outcome: Outcome::Done,
            origin: Some("forwarded-verified".into()),
            via: vec![Hop { host: Some("hop".into()), host_key: "SHA256:hop".into(), proved: true }],
            request: Some(request),
            key: Some(key),
            ..Record::of(Event::Sign)
        }
    }

    #[test]
    fn filters_know_keys_hosts_hops_origins_and_times() {
        let record = login("2026-11-20T10:00:00.000Z", "db1.example", "old");
        let accepts = |filter: Filter| filter.accepts(&record);
        let of = |field: &str, value: &str| {
            let value = Some(value.to_owned());
            let mut filter = Filter::default();
            match field {
                "since" => filter.since = value,
                "key" => filter.key = value,
                "host" => filter.host = value,
                _ => filter.origin = value,
            }
            filter
        };
        let yes = [
            ("since", "2026-11-20T10:00:00.000Z"),
            ("key", "old"),
            ("key", "o*"),
            ("key", "SHA256:old"),
            ("host", "*.example"),
            ("host", "hop"),
            ("host", "SHA256:hop"),
            ("origin", "forwarded"),
            ("origin", "forwarded-verified"),
        ];
        for (field, value) in yes {
            assert!(accepts(of(field, value)), "{field} {value}");
        }
        let no = [
            ("since", "2026-11-20T10:00:00.001Z"),
            ("key", "new"),
            ("host", "db2.example"),
            ("origin", "local"),
            ("origin", "forward"),
        ];
        for (field, value) in no {
            assert!(!accepts(of(field, value)), "{field} {value}");
        }
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_208_000);
        for (text, expected) in [
            ("20s", "2026-11-20T20:53:00.000Z"),
            ("1h", "2026-11-20T19:53:20.000Z"),
            ("2026-11-20", "2026-11-20T00:00:00.000Z"),
            ("2026-11-20T08:30", "2026-11-20T08:30:00.000Z"),
            ("2026-11-20 08:30:15", "2026-11-20T08:30:15.000Z"),
            ("2026-11-20T08:30:15Z", "2026-11-20T08:30:15.000Z"),
        ] {
            assert_eq!(moment(text, now).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "2026-11-20T25:00", "-3d"] {
            assert!(moment(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn usage_is_counted_by_host_and_by_key_and_refusals_are_no_use() {
        let refused = Record { outcome: Outcome::Refused, ..login("2026-11-23T00:00:00.000Z", "c", "old") };
        let records = [
            login("2026-11-20T00:00:00.000Z", "a", "old"),
            login("2026-11-22T00:00:00.000Z", "b", "old"),
            login("2026-11-21T00:00:00.000Z", "a", "new"),
            refused,
        ];
        let count = |by| {
            let mut count = Count::default();
            records.iter().for_each(|record| count.take(record, by));
            count.usages().into_iter().map(|usage| (usage.name, usage.signatures)).collect::<Vec<_>>()
        };
        assert_eq!(count(By::Host), [("b".to_owned(), 1), ("a".to_owned(), 2)]);
        assert_eq!(count(By::Key), [("SHA256:old".to_owned(), 2), ("SHA256:new".to_owned(), 1)]);
    }
}
