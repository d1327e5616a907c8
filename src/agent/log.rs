//! Where the log goes: standard error in the foreground, a file of the user's otherwise.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::fmt::format::{DefaultFields, Format};

/// A log above this size is set aside when an agent starts, in octets.
const ROTATE_AT: u64 = 4 * 1024 * 1024;

/// Where the log of agents in the background is.
pub fn path() -> Option<PathBuf> {
    Some(crate::paths::state_home()?.join("hardkey/agent.log"))
}

/// Logs to standard error.
pub fn to_stderr(debug: bool) {
    let colours = rustix::termios::isatty(rustix::stdio::stderr());
    fmt(debug).with_ansi(colours).with_writer(io::stderr).init();
}

/// Logs to the file at [`path`]; nowhere when it cannot be written.
pub fn to_file() {
    if let Some(file) = path().and_then(|path| open(&path).ok()) {
        fmt(false).with_ansi(false).with_writer(file).init();
    }
}

/// A log on a full disk must not end the agent: by default what cannot be written is complained about on standard error, with a panic if that
/// fails too.
fn fmt(debug: bool) -> SubscriberBuilder<DefaultFields, Format, EnvFilter> {
    tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter(debug))
}

fn filter(debug: bool) -> EnvFilter {
    let default = if debug { "debug" } else { "info" };
    EnvFilter::try_from_env("HARDKEY_LOG").unwrap_or_else(|_| EnvFilter::new(default))
}

fn open(path: &std::path::Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    }
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > ROTATE_AT) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
