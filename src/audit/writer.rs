//! The one thread that writes records, in the order in which they were decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::file::LogFile;
use super::flood::Flood;
use super::journal::Journal;
use super::record::{Event, Outcome, Record};

/// Records that wait are written together, up to this many.
const MOST_AT_ONCE: usize = 1024;
/// A record that comes sooner than this after the last ones were written waits for others, for writing costs more than signing.
const GATHERING: Duration = Duration::from_millis(10);

/// What the thread is told.
pub(super) enum Message {
    /// Write this, decided at that time; the sender wants to know whether it was done, if it gave a way to tell it.
    Write(Box<Record>, SystemTime, Option<oneshot::Sender<bool>>),
    /// See whether anything could be written.
    Probe(oneshot::Sender<bool>),
    /// Write what is there, and end.
    Close(Sender<()>),
}

/// Where records go, and how the last attempt went.
pub(super) struct Writer {
    file: LogFile,
    journal: Option<Journal>,
    /// Records that could not be written since the last one that could.
    lost: u64,
    /// Records that did not get as far as this thread.
    overflow: Arc<AtomicU64>,
    failing: bool,
    flood: Flood,
    /// When something was written last.
    wrote: Option<Instant>,
}

impl Writer {
    pub(super) fn new(file: LogFile, journal: Option<Journal>, overflow: Arc<AtomicU64>) -> Self {
        Self { file, journal, lost: 0, overflow, failing: false, flood: Flood::default(), wrote: None }
    }

    /// Writes until told to end, or until nobody is left who could tell.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let first = match self.flood.due(Instant::now()) {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => messages.recv_timeout(wait),
            };
            let mut is_last = matches!(first, Err(RecvTimeoutError::Disconnected));
            if let Ok(Message::Write(_, _, None)) = first {
                self.gather();
            }
            let (mut records, mut waiting, mut probes, mut end) = (Vec::new(), Vec::new(), Vec::new(), None);
            for message in first.into_iter().chain(messages.try_iter()).take(MOST_AT_ONCE) {
                match message {
                    Message::Write(mut record, time, answer) => {
                        record.time = super::timestamp(time);
                        self.flood.admit(*record, Instant::now(), &mut records);
                        waiting.extend(answer);
                    }
                    Message::Probe(answer) => probes.push(answer),
                    Message::Close(done) => end = Some(done),
                }
                if end.is_some() {
                    break;
                }
            }
            is_last |= end.is_some();
            match is_last {
                true => self.flood.finish(&mut records),
                false => self.flood.summarise(Instant::now(), &mut records),
            }
            let is_idle = records.is_empty() && probes.is_empty();
            let written = is_idle || self.write(&records);
            // Whoever asked may have gone; that changes nothing.
            for answer in waiting.into_iter().chain(probes) {
                let _ = answer.send(written);
            }
            if let Some(done) = end {
                let _ = done.send(());
            }
            if is_last {
                return;
            }
        }
    }

    /// Lets further records come, if some were written just now.
    fn gather(&self) {
        let since = self.wrote.map_or(GATHERING, |wrote| wrote.elapsed());
        std::thread::sleep(GATHERING.saturating_sub(since));
    }

    fn write(&mut self, records: &[Record]) -> bool {
        let mut text = String::new();
        self.lost = self.lost.saturating_add(self.overflow.swap(0, Ordering::Relaxed));
        if let (Some(first), true) = (records.first(), self.lost > 0) {
            // Written with the first record that can be written again, so that the gap shows.
            text += &line(&Record {
                time: first.time.clone(),
                agent: first.agent,
                seq: first.seq.saturating_sub(1),
                outcome: Outcome::Done,
                count: Some(self.lost),
                ..Record::of(Event::Lost)
            });
        }
        let lines: Vec<String> = records.iter().map(line).collect();
        lines.iter().for_each(|line| text += line);
        self.tell_journal(records, &lines);
        let written = self.file.append(text.as_bytes());
        self.wrote = Some(Instant::now());
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the audit log is written again; {} records are missing", self.lost);
                }
                self.lost = 0;
                true
            }
            Err(error) => {
                self.lost = self.lost.saturating_add(records.len() as u64);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(
                        "audit log {}: {error}; decisions are not recorded there until it can be written",
                        self.file.path().display()
                    );
                }
                false
            }
        }
    }

    fn tell_journal(&self, records: &[Record], lines: &[String]) {
        let Some(journal) = &self.journal else { return };
        for (record, line) in records.iter().zip(lines) {
            let refused = record.outcome != Outcome::Done;
            if let Err(error) = journal.send(line.trim_end(), &super::sentence::of(record), refused) {
                tracing::debug!("journald did not take a record: {error}");
            }
        }
    }
}

fn line(record: &Record) -> String {
    // A record is made of texts and numbers, which always have a form in JSON.
    serde_json::to_string(record).unwrap_or_default() + "\n"
}
