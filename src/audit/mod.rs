//! The record of each decision: what was asked, by whom, what came of it and why.
//!
//! Owns the log's schema, its file and the way to journald. Never waits while a request does, unless the user has said that nothing may go
//! unrecorded; never holds what was signed, a PIN or a passphrase.

pub(crate) mod file;
mod flood;
mod journal;
pub mod read;
pub mod record;
pub mod sentence;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::config::{AuditConfig, AuditPath};
use file::LogFile;
use journal::{Journal, SOCKET};
use record::Record;
use writer::{Message, Writer};

/// How long the end of the agent, or a request that must be recorded, waits for the writer.
const PATIENCE: Duration = Duration::from_secs(5);
/// More records than this do not wait for a disk that does not answer; further ones are lost, and counted.
const MOST_WAITING: usize = 4096;
const MEBIBYTE: u64 = 1 << 20;

/// The way to the log.
#[derive(Debug, Default)]
pub struct Audit {
    required: bool,
    /// None when nothing is recorded, or not any more.
    line: Mutex<Option<Line>>,
    overflow: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Line {
    messages: SyncSender<Message>,
    seq: u64,
}

/// What had to be recorded cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written, and [audit] says required = true; see the agent's own log for the reason")]
pub struct Unwritten;

impl Audit {
    /// Begins to record as the configuration says.
    #[must_use]
    pub fn start(config: &AuditConfig) -> Self {
        let off = Self { required: config.required, ..Self::default() };
        let Some(path) = config.path.file() else {
            if config.path != AuditPath::Off {
                tracing::error!("audit log: neither XDG_STATE_HOME nor HOME says where; decisions are not recorded");
            }
            return off;
        };
        let limit = u64::from(config.size.get()) * MEBIBYTE;
        let file = LogFile::new(path, limit, config.files.get());
        let (messages, receiver) = sync_channel(MOST_WAITING);
        let writer = Writer::new(file, Journal::at(SOCKET), Arc::clone(&off.overflow));
        match std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&receiver)) {
            Ok(_) => Self { line: Mutex::new(Some(Line { messages, seq: 0 })), ..off },
            Err(error) => {
                tracing::error!("audit log: {error}; decisions are not recorded");
                off
            }
        }
    }

    /// Records a decision. Never waits.
    pub fn record(&self, record: impl Into<Box<Record>>) {
        self.send(record.into(), None);
    }

    /// Records a decision, and waits until that is done where the user wants it so.
    ///
    /// # Errors
    /// It must be recorded and cannot be.
    pub async fn insist(&self, record: Box<Record>) -> Result<(), Unwritten> {
        if !self.required {
            self.record(record);
            return Ok(());
        }
        let (answer, written) = oneshot::channel();
        self.send(record, Some(answer));
        wait_for(written).await
    }

    /// Whether what is about to be done can be recorded; always, where the user does not insist on it.
    ///
    /// # Errors
    /// It must be recorded and cannot be.
    pub async fn ready(&self) -> Result<(), Unwritten> {
        if !self.required {
            return Ok(());
        }
        let (answer, writable) = oneshot::channel();
        if let Some(line) = &*self.line() {
            let _ = line.messages.try_send(Message::Probe(answer));
        }
        wait_for(writable).await
    }

    /// Writes what is there and records nothing more. Waits, but not for long.
    pub fn close(&self) {
        let Some(line) = self.line().take() else { return };
        let (done, closed) = channel();
        // Where thousands of records wait for a disk that hangs, the end does not.
        if line.messages.try_send(Message::Close(done)).is_ok() && closed.recv_timeout(PATIENCE).is_err() {
            tracing::error!("the last records of the audit log could not be written in time");
        }
    }

    fn send(&self, mut record: Box<Record>, answer: Option<oneshot::Sender<bool>>) {
        let mut line = self.line();
        let Some(line) = &mut *line else { return };
        line.seq += 1;
        record.seq = line.seq;
        record.agent = std::process::id();
        match line.messages.try_send(Message::Write(record, SystemTime::now(), answer)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.overflow.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn wait_for(answer: oneshot::Receiver<bool>) -> Result<(), Unwritten> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(true)) => Ok(()),
        _ => Err(Unwritten),
    }
}

/// Where the log is when the configuration does not say.
#[must_use]
pub fn default_path() -> Option<PathBuf> {
    Some(crate::paths::state_home()?.join("hardkey/audit.jsonl"))
}

/// A moment in UTC, with milliseconds (RFC 3339).
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match der::DateTime::from_unix_duration(Duration::from_secs(since.as_secs())) {
        Ok(at) => format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minutes(),
            at.seconds(),
            since.subsec_millis()
        ),
        // Beyond the year 9999.
        Err(_) => "9999-12-31T23:59:59.999Z".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc_with_milliseconds() {
        let at = |millis| timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(1_795_207_996_007), "2026-11-20T20:53:16.007Z");
    }
}
