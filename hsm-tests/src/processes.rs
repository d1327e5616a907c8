//! The process tree, as `/proc` shows it.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use rustix::io::Errno;
pub use rustix::process::Pid;
use rustix::process::{Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

use crate::wait::until;

/// Whether the process runs. One that has ended but was not yet collected by its parent does not.
#[must_use]
pub fn is_alive(pid: Pid) -> bool {
    stat(pid).is_some_and(|stat| !stat.ended)
}

/// The running children of a process, oldest pid first.
#[must_use]
pub fn children(parent: Pid) -> Vec<Pid> {
    let mut found: Vec<Pid> = all()
        .into_iter()
        .filter(|(_, stat)| stat.parent == parent.as_raw_pid() && !stat.ended)
        .map(|(pid, _)| pid)
        .collect();
    found.sort_by_key(|pid| pid.as_raw_pid());
    found
}

/// The arguments of a process, its name first; none for one that is gone.
#[must_use]
pub(crate) fn arguments(pid: Pid) -> Vec<String> {
    let octets = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
    octets.split(|octet| *octet == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

/// The memory that a process has in use, in octets (`VmRSS` of proc_pid_status(5)).
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn resident_memory(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).expect("the status of a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process that uses memory");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kilobytes * 1024
}

/// Sends `signal`; a process that has gone already is no error.
pub fn signal(pid: Pid, signal: Signal) {
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => panic!("signal {signal:?} to process {}: {error}", pid.as_raw_pid()),
    }
}

/// Kills as `kill -9` does.
pub fn kill(pid: Pid) {
    signal(pid, Signal::KILL);
}

/// From now on a process whose parent ends becomes a child of this one, so that daemons cannot slip out of [`end_descendants`].
pub(crate) fn adopt_orphans() {
    set_child_subreaper(Some(getpid())).expect("become a child subreaper (prctl PR_SET_CHILD_SUBREAPER)");
}

/// Ends and collects everything below this process: asks first, so that programs remove what they keep outside the home, then kills.
/// Panics if something survives, unless a panic is under way already.
///
/// All `Child` values must have been waited for: this collects the exit status of every child.
pub(crate) fn end_descendants() {
    let asked = ends_all(Signal::TERM, Duration::from_secs(1));
    if !asked && !ends_all(Signal::KILL, Duration::from_secs(5)) && !std::thread::panicking() {
        panic!("processes that cannot be ended: {:?}", descendants(getpid()));
    }
}

fn ends_all(signal: Signal, limit: Duration) -> bool {
    until(limit, || {
        let left = descendants(getpid());
        for pid in &left {
            // A process that changed its user cannot be ended; the caller reports it as a survivor.
            let _ = kill_process(*pid, signal);
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        left.is_empty()
    })
}

fn descendants(root: Pid) -> Vec<Pid> {
    let all = all();
    let mut family = vec![root.as_raw_pid()];
    let mut next = 0;
    while next < family.len() {
        let parent = family[next];
        family.extend(all.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| pid.as_raw_pid()));
        next += 1;
    }
    all.keys().copied().filter(|pid| *pid != root && family.contains(&pid.as_raw_pid())).collect()
}

struct Stat {
    parent: i32,
    ended: bool,
}

fn all() -> HashMap<Pid, Stat> {
    let entries = fs::read_dir("/proc").expect("read /proc");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect()
}

/// `None` when there is no such process (proc_pid_stat(5); the name in parentheses may itself hold blanks and parentheses).
fn stat(pid: Pid) -> Option<Stat> {
    let text = fs::read(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { parent, ended: matches!(state, "Z" | "X") })
}
