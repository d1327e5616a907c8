//! The call log: one line a call, written by every process that has the module loaded, read by the test.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::watch::Watch;

/// What the program under test has called, read from the log file.
#[derive(Debug, Clone)]
pub struct CallLog {
    path: PathBuf,
}

/// One line of the log: `PID SEQUENCE C_Name ARGUMENTS -> OUTCOME MICROSECONDS`.
///
/// A call has one line when it returns, and one more before for each fault that delays or ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The calling process.
    pub process: u32,
    /// The call's number in that process, from 0.
    pub sequence: u64,
    /// The function's name, `C_Sign`.
    pub function: String,
    /// Handles, lengths and other arguments as `name=value`, space-separated; never a PIN or its length.
    pub arguments: String,
    /// How the call ended or which fault it met.
    pub outcome: Outcome,
    /// How long after the call began.
    pub elapsed: Duration,
}

/// What happened to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It returned this `CKR_X`.
    Returned(String),
    /// It met this fault (`hang`, `delay`, …) and has not returned yet.
    Fault(String),
}

impl CallLog {
    /// The log in the file `path`, which need not exist yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file, for [`LOG`](crate::LOG).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All lines so far.
    ///
    /// # Errors
    ///
    /// The file cannot be read or was not written by the module. No file is an empty log.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let foreign = |line| io::Error::new(io::ErrorKind::InvalidData, format!("not a line of a call log: {line}"));
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| Entry::parse(line).ok_or_else(|| foreign(line))).collect()
    }

    /// How often `function` was called, by all processes together, whether or not the call has returned.
    ///
    /// # Panics
    ///
    /// When [`entries`](Self::entries) fails: a test that cannot count has failed.
    pub fn count(&self, function: &str) -> usize {
        let entries = self.read();
        let calls = entries.iter().filter(|entry| entry.function == function);
        calls.map(|entry| (entry.process, entry.sequence)).collect::<BTreeSet<_>>().len()
    }

    /// How often `function` returned `value` (`CKR_OK`).
    ///
    /// # Panics
    ///
    /// As [`count`](Self::count).
    pub fn count_returned(&self, function: &str, value: &str) -> usize {
        let returned = |entry: &&Entry| entry.function == function && entry.outcome.returned(value);
        self.read().iter().filter(returned).count()
    }

    /// The processes that have called the module, in the order of their first call.
    ///
    /// # Panics
    ///
    /// As [`count`](Self::count).
    pub fn processes(&self) -> Vec<u32> {
        let mut seen = Vec::new();
        for entry in self.read() {
            if !seen.contains(&entry.process) {
                seen.push(entry.process);
            }
        }
        seen
    }

    /// Waits until an entry satisfies `wanted`, for at most `timeout`; `None` when that passed.
    ///
    /// # Panics
    ///
    /// As [`count`](Self::count), and when the log's directory cannot be watched.
    pub fn wait_for(&self, timeout: Duration, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let watch = Watch::around(&self.path).expect("the call log's directory can be watched");
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(entry) = self.read().into_iter().find(&wanted) {
                return Some(entry);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            watch.wait(Some(left)).expect("the call log's directory can be watched");
        }
    }

    /// Empties the log, so that counting begins anew. Calls under way may still add their line.
    ///
    /// # Errors
    ///
    /// The file exists and cannot be removed.
    pub fn clear(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn read(&self) -> Vec<Entry> {
        self.entries().expect("the call log can be read")
    }
}

impl Entry {
    /// Adds the line to `path`, in one write so that the lines of several processes do not mix.
    pub(crate) fn append(&self, path: &Path) -> io::Result<()> {
        let line = format!("{self}\n");
        OpenOptions::new().append(true).create(true).open(path)?.write_all(line.as_bytes())
    }

    fn parse(line: &str) -> Option<Self> {
        let (call, end) = line.split_once(" -> ")?;
        let mut call = call.splitn(4, ' ');
        let (outcome, micros) = end.split_once(' ')?;
        Some(Self {
            process: call.next()?.parse().ok()?,
            sequence: call.next()?.parse().ok()?,
            function: call.next()?.to_owned(),
            arguments: call.next().unwrap_or_default().to_owned(),
            outcome: match outcome.strip_prefix("fault:") {
                Some(fault) => Outcome::Fault(fault.to_owned()),
                None => Outcome::Returned(outcome.to_owned()),
            },
            elapsed: Duration::from_micros(micros.parse().ok()?),
        })
    }
}

impl Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.process, self.sequence, self.function)?;
        if !self.arguments.is_empty() {
            write!(f, " {}", self.arguments)?;
        }
        match &self.outcome {
            Outcome::Returned(value) => write!(f, " -> {value}")?,
            Outcome::Fault(fault) => write!(f, " -> fault:{fault}")?,
        }
        write!(f, " {}", self.elapsed.as_micros())
    }
}

impl Outcome {
    /// Whether the call returned `value` (`CKR_OK`).
    pub fn returned(&self, value: &str) -> bool {
        *self == Self::Returned(value.to_owned())
    }

    /// Whether this is the line of `fault` (`hang`).
    pub fn met(&self, fault: &str) -> bool {
        *self == Self::Fault(fault.to_owned())
    }
}

/// Octets in hexadecimal, as rules and the log have them.
#[must_use]
pub fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What [`hexadecimal`] was made of; none for any other text.
#[must_use]
pub fn octets(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(std::str::from_utf8);
    pairs
        .map(|pair| pair.ok().filter(|pair| pair.len() == 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_it_was_written() {
        for line in ["17 3 C_Sign session=1 data=51 -> CKR_OK 804", "17 0 C_Finalize -> fault:hang 2"] {
            let entry = Entry::parse(line).unwrap();
            assert_eq!(entry.to_string(), line);
        }
        assert_eq!(Entry::parse("nonsense"), None);
    }

    #[test]
    fn a_delayed_call_counts_once() {
        let directory = tempfile::tempdir().unwrap();
        let log = CallLog::at(directory.path().join("calls"));
        assert_eq!(log.count("C_Sign"), 0);
        fs::write(log.path(), "17 3 C_Sign -> fault:delay 2\n17 3 C_Sign -> CKR_OK 300\n18 3 C_Sign -> CKR_OK 7\n")
            .unwrap();
        assert_eq!(log.count("C_Sign"), 2);
        assert_eq!(log.count_returned("C_Sign", "CKR_OK"), 2);
        assert_eq!(log.processes(), [17, 18]);
    }
}
