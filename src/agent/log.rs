//! Where the log goes: standard error in the foreground, a file of the user's otherwise.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Format;

use super::log_quota::Moderated;
use crate::audit::file::LogFile;

/// A log above this size is set aside, in octets.
const ROTATE_AT: u64 = 4 * 1024 * 1024;
/// What cannot be written would be complained about on standard error, with a panic if that fails too: a full disk must not end the agent.
const COMPLAIN: bool = false;
/// How many files there are: the log, and the one that was set aside last.
const FILES: u32 = 2;

/// Where the log of agents in the background is.
pub fn path() -> Option<PathBuf> {
    Some(crate::paths::state_home()?.join("hardkey/agent.log"))
}

/// Logs to standard error.
pub fn to_stderr(debug: bool) {
    let colours = rustix::termios::isatty(rustix::stdio::stderr());
    let format = Moderated::new(Format::default());
    tracing_subscriber::fmt()
        .log_internal_errors(COMPLAIN)
        .with_env_filter(filter(debug))
        .with_ansi(colours)
        .event_format(format)
        .with_writer(io::stderr)
        .init();
}

/// Logs to the file at [`path`]; nothing where it cannot be written.
pub fn to_file() {
    if let Some(path) = path() {
        let file = Rotating(Mutex::new(LogFile::new(path, ROTATE_AT, FILES)));
        let format = Moderated::new(Format::default());
        tracing_subscriber::fmt()
            .log_internal_errors(COMPLAIN)
            .with_env_filter(filter(false))
            .with_ansi(false)
            .event_format(format)
            .with_writer(file)
            .init();
    }
}

/// A log that is set aside when it is full.
struct Rotating(Mutex<LogFile>);

struct Turn<'a>(MutexGuard<'a, LogFile>);

impl<'a> MakeWriter<'a> for Rotating {
    type Writer = Turn<'a>;

    fn make_writer(&'a self) -> Turn<'a> {
        Turn(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl io::Write for Turn<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !line.is_empty() {
            self.0.append(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn filter(debug: bool) -> EnvFilter {
    let default = if debug { "debug" } else { "info" };
    EnvFilter::try_from_env("HARDKEY_LOG").unwrap_or_else(|_| EnvFilter::new(default))
}
