//! `hardkey log`: what the agent decided, read from the audit log.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use rustix::fs::inotify;

use crate::audit::read::{self, By, Count, Filter, Usage};
use crate::audit::record::Record;
use crate::audit::sentence;
use crate::config::Config;

#[derive(Args)]
pub(super) struct Arguments {
    /// Not older than this: 2h, 3d, 2026-11-20, or 2026-11-20T08:30 in UTC
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<String>,
    /// About this key: a fingerprint, or a pattern for the comment
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// To or through this host: a pattern for its name, or its key's fingerprint
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// From there: local, forwarded, unknown, or a class such as local-direct
    #[arg(long, value_name = "CLASS", value_parser = ["local", "forwarded", "unknown", "local-direct", "local-tool",
        "forwarded-verified", "forwarded-known-hop", "forwarded-unverified"])]
    origin: Option<String>,
    /// Count the signatures of each host or key instead of showing the records
    #[arg(long, value_name = "WHAT", conflicts_with = "follow")]
    by: Option<By>,
    /// Go on with what is decided from now on
    #[arg(long)]
    follow: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The configuration that says where the log is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let config = Config::find(arguments.config.as_deref()).map_err(|error| error.to_string())?;
    let path = config.audit.path.file().ok_or("decisions are not recorded; see [audit] in the configuration")?;
    let filter = Filter {
        since: arguments.since.clone(),
        key: arguments.key.clone(),
        host: arguments.host.clone(),
        origin: arguments.origin.clone(),
    };
    match arguments.by {
        Some(by) => count(&path, &filter, by, arguments.json),
        None if arguments.follow => follow(&path, &filter, arguments.json),
        None => show(&path, &filter, arguments.json),
    }
}

fn since(text: &str) -> Result<String, String> {
    read::moment(text, SystemTime::now())
}

fn show(path: &Path, filter: &Filter, json: bool) -> Result<ExitCode, String> {
    let mut text = String::new();
    let mut broken = 0;
    let each = |line: &str, record: Option<Record>| match record {
        Some(record) => text += &shown(line, &record, filter, json).unwrap_or_default(),
        None => broken += 1,
    };
    read::for_each(path, each).map_err(|error| format!("{}: {error}", path.display()))?;
    let done = super::print(&text);
    note_broken(broken);
    done
}

fn count(path: &Path, filter: &Filter, by: By, json: bool) -> Result<ExitCode, String> {
    let mut count = Count::default();
    let mut broken = 0;
    let each = |_: &str, record: Option<Record>| match record {
        Some(record) if filter.accepts(&record) => count.take(&record, by),
        Some(_) => {}
        None => broken += 1,
    };
    read::for_each(path, each).map_err(|error| format!("{}: {error}", path.display()))?;
    let usages = count.usages();
    note_broken(broken);
    if json {
        let text = serde_json::to_string_pretty(&usages).map_err(|error| error.to_string())?;
        return super::print(&(text + "\n"));
    }
    match usages.is_empty() {
        true => super::print("no signatures\n"),
        false => super::print(&table(&usages, by)),
    }
}

fn table(usages: &[Usage], by: By) -> String {
    let (first, with) = match by {
        By::Host => ("HOST", "KEYS"),
        By::Key => ("KEY", "HOSTS"),
    };
    let header = [first, "SIGNATURES", "LAST", with].map(str::to_owned);
    let rows = usages.iter().map(|usage| {
        let name = match &usage.comment {
            Some(comment) => format!("{comment} {}", usage.name),
            None => usage.name.clone(),
        };
        let with: Vec<&str> = usage.with.iter().map(String::as_str).collect();
        [name, usage.signatures.to_string(), usage.last.clone(), with.join(", ")]
    });
    super::list::columns(std::iter::once(header).chain(rows).collect())
}

/// Shows what is there, then waits for more in whatever file stands at the path.
fn follow(path: &Path, filter: &Filter, json: bool) -> Result<ExitCode, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let folder = path.parent().ok_or("the log has no folder")?;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(|error| fail(error.into()))?;
    let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&watch, folder, events)
        .map_err(|error| format!("{}: {error}; is there an agent that records?", folder.display()))?;
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut changes = inotify::Reader::new(&watch, &mut buffer);
    let mut tail = Tail::default();
    // The files set aside, once; what follows is in the current one.
    let current = File::open(path).ok();
    let mut aside = String::new();
    let each = |line: &str, record: Option<Record>| {
        aside += &record.and_then(|record| shown(line, &record, filter, json)).unwrap_or_default();
    };
    read::for_each_aside(path, each).map_err(fail)?;
    super::print(&aside)?;
    tail.file = current.map(BufReader::new);
    loop {
        let mut text = String::new();
        tail.read(path, |line| {
            let record = serde_json::from_str::<Record>(line).ok();
            text += &record.and_then(|record| shown(line, &record, filter, json)).unwrap_or_default();
        })
        .map_err(fail)?;
        // print() takes a closed pipe for success, and here it is the end.
        let written = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            written => written.map_err(|error| format!("cannot print: {error}"))?,
        }
        changes.next().map_err(|error| fail(error.into()))?;
    }
}

/// The end of the current file.
#[derive(Default)]
struct Tail {
    file: Option<BufReader<File>>,
    /// The beginning of a line whose end is not there yet.
    part: Vec<u8>,
}

impl Tail {
    /// Takes each whole line that has come, and goes on to the next file when this one was set aside.
    fn read(&mut self, path: &Path, mut take: impl FnMut(&str)) -> std::io::Result<()> {
        loop {
            if let Some(file) = &mut self.file {
                while file.read_until(b'\n', &mut self.part)? > 0 && self.part.ends_with(b"\n") {
                    take(String::from_utf8_lossy(&self.part).trim_end());
                    self.part.clear();
                }
            }
            let Ok(there) = std::fs::metadata(path) else { return Ok(()) };
            let ours = self.file.as_ref().map(|file| file.get_ref().metadata()).transpose()?;
            if ours.is_some_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino())) {
                return Ok(());
            }
            self.file = Some(BufReader::new(File::open(path)?));
            self.part.clear();
        }
    }
}

/// A record as it is printed, if it is wanted.
fn shown(line: &str, record: &Record, filter: &Filter, json: bool) -> Option<String> {
    let text = if json { line.to_owned() } else { format!("{}  {}", record.time, sentence::of(record)) };
    filter.accepts(record).then(|| text + "\n")
}

#[expect(clippy::print_stderr, reason = "a note beside the output")]
fn note_broken(count: u64) {
    if count > 0 {
        eprintln!("hardkey: {count} lines of the log cannot be understood and are left out");
    }
}
