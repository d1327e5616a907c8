//! The process at the other end of a connection, as the kernel vouches for it.
//!
//! What a decision always needs is read when the connection is accepted, because the peer may be gone a moment later;
//! the rest is read when asked for, of the process that has the same number and started at the same moment.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::Unknown;
use super::environment::Environment;
use super::evidence::Phase;
use super::proc::{Confinement, Executable, Namespaces, ProcDir, Stat};

/// More ancestors than this are not named.
const MOST_ANCESTORS: usize = 16;

/// Who connected.
#[derive(Debug)]
pub struct Peer {
    /// User, as of the moment of `connect`; none when the kernel does not tell.
    pub user: Option<u32>,
    /// Group, as of the moment of `connect`.
    pub group: Option<u32>,
    /// The process; unknown when it is gone, out of sight, or its number has been given away.
    pub process: Result<Process, Unknown>,
}

/// A process. Late reads are about this process and no later one with its number. Holds no descriptor: ten thousand connections may wait.
#[derive(Debug)]
pub struct Process {
    /// Which process.
    pub id: ProcessId,
    /// What it was doing when it connected.
    pub stat: Stat,
    /// The program it runs; unknown for set-user-ID programs and other users' processes.
    pub executable: Result<Executable, Unknown>,
    /// Its argument vector. Any octets, any length up to 512 KiB: escape before showing.
    pub arguments: Result<Vec<OsString>, Unknown>,
}

/// A process for as long as the machine runs: its number, and when it started so that a later process is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// The process's number in our own namespace.
    pub pid: i32,
    /// When it started: clock ticks since boot.
    pub start: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub(crate) fn now(pid: i32) -> Option<Self> {
        let start = ProcDir::open(pid).and_then(|directory| directory.stat()).ok()?.start;
        Some(Self { pid, start })
    }

    /// Whether the process still runs.
    pub(crate) fn lives(self) -> bool {
        self.look().is_ok()
    }

    /// The process's directory below `/proc`, and what the process is doing now. The directory was opened by number, so it may be that of
    /// a later process; the start tells, and from then on the directory is tied to its process.
    fn look(self) -> Result<(ProcDir, Stat), Unknown> {
        let directory = ProcDir::open(self.pid)?;
        let stat = directory.stat()?;
        match stat.start == self.start {
            true => Ok((directory, stat)),
            false => Err(Unknown::new("the process that connected has ended")),
        }
    }
}

/// Tells whether a process still runs, at the price of a descriptor.
#[derive(Debug)]
pub(super) struct Lifeline(OwnedFd);

impl Lifeline {
    /// A pidfd becomes readable when its process ends: pidfd_open(2).
    pub(super) fn has_ended(&self) -> bool {
        let mut events = [PollFd::new(&self.0, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        !matches!(poll(&mut events, Some(&at_once)), Ok(0))
    }
}

/// A process further up, for prompts and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// The process's number.
    pub pid: i32,
    /// Its program, where it may be seen.
    pub executable: Option<PathBuf>,
    /// What it calls itself: argument zero. Escape before showing.
    pub name: Option<OsString>,
}

/// Where a process's terminal is, and whether the process has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// The device, as below `/dev`.
    pub name: String,
    /// Whether the process is in the terminal's foreground group.
    pub foreground: bool,
}

impl Peer {
    /// The process, where it is known.
    #[must_use]
    pub fn id(&self) -> Option<ProcessId> {
        self.process.as_ref().ok().map(|process| process.id)
    }

    /// Reads who is at the other end of an accepted Unix socket. Never fails: what cannot be read is unknown, with its reason.
    pub fn of(socket: impl AsFd) -> Self {
        match rustix::net::sockopt::socket_peercred(&socket) {
            Ok(credentials) => Self {
                user: Some(credentials.uid.as_raw()),
                group: Some(credentials.gid.as_raw()),
                process: Process::pin(credentials.pid.as_raw_pid(), crate::sys::peer_pidfd(&socket)),
            },
            Err(error) => Self {
                user: None,
                group: None,
                process: Err(Unknown::new(format!("the kernel does not tell who connected: {error}"))),
            },
        }
    }
}

impl Process {
    fn pin(pid: i32, pidfd: std::io::Result<OwnedFd>) -> Result<Self, Unknown> {
        if pid <= 0 {
            return Err(Unknown::new("the process that connected is in a process namespace out of our sight"));
        }
        let lifeline = match pidfd {
            Ok(pidfd) => Some(Lifeline(pidfd)),
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => None,
            Err(error) => {
                return Err(Unknown::new(format!("the process that connected is gone: {error}")));
            }
        };
        let process = ProcDir::open(pid).and_then(|directory| Self::read(pid, &directory));
        // The directory was opened by number. It belongs to the process that connected if that process still lives now:
        // its number cannot have been anybody else's in between.
        let ended = match (&lifeline, &process) {
            (Some(lifeline), _) => lifeline.has_ended(),
            // Before Linux 6.5 there is no descriptor of the peer, and its start, read again, at least shows that the
            // number has not changed hands while we read.
            (None, Ok(process)) => !process.id.lives(),
            (None, Err(_)) => false,
        };
        match ended {
            true => Err(Unknown::new("the process that connected has ended")),
            false => process,
        }
    }

    fn read(pid: i32, directory: &ProcDir) -> Result<Self, Unknown> {
        let stat = directory.stat()?;
        Ok(Self {
            id: ProcessId { pid, start: stat.start },
            stat,
            executable: directory.executable(),
            arguments: directory.arguments(),
        })
    }

    /// The process that has this number now, for whoever means no certain one.
    ///
    /// # Errors
    /// There is none.
    pub fn of(pid: i32) -> Result<Self, Unknown> {
        ProcDir::open(pid).and_then(|directory| Self::read(pid, &directory))
    }

    /// How far the process has got.
    ///
    /// # Errors
    /// The process has ended or its descriptors may not be seen.
    pub fn phase(&self) -> Result<Phase, Unknown> {
        let stat = self.stat_now()?;
        Ok(Phase {
            age: self.age(),
            listens: self.listens()?,
            forked: stat.forked_without_exec(),
            detached: stat.session == self.id.pid && stat.terminal == 0,
        })
    }

    /// How long the process has been running; counts time in suspend.
    #[must_use]
    pub fn age(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        let now = Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
        now.saturating_sub(ticks(self.id.start))
    }

    /// What the process is doing now.
    ///
    /// # Errors
    /// The process has ended.
    pub fn stat_now(&self) -> Result<Stat, Unknown> {
        self.id.look().map(|(_, stat)| stat)
    }

    /// What tells from now on whether the process still runs.
    ///
    /// # Errors
    /// It has ended, or the kernel does not give it.
    pub(super) fn lifeline(&self) -> Result<Lifeline, Unknown> {
        let gone = |error| Unknown::new(format!("the process that connected cannot be watched: {error}"));
        let pid = Pid::from_raw(self.id.pid).ok_or_else(|| gone(Errno::SRCH))?;
        let lifeline = Lifeline(pidfd_open(pid, PidfdFlags::empty()).map_err(gone)?);
        // It was opened by number. If our process lives now, the number cannot have been anybody else's in between.
        self.stat_now().map(|_| lifeline)
    }

    /// The namespaces the process is in.
    ///
    /// # Errors
    /// The process has ended or may not be looked into.
    pub fn namespaces(&self) -> Result<Namespaces, Unknown> {
        self.directory()?.namespaces()
    }

    /// What the process has had taken away.
    ///
    /// # Errors
    /// The process has ended.
    pub fn confinement(&self) -> Result<Confinement, Unknown> {
        self.directory()?.confinement()
    }

    /// Whether the process holds a listening Unix socket now.
    ///
    /// # Errors
    /// The process has ended or its descriptors may not be seen.
    pub fn listens(&self) -> Result<bool, Unknown> {
        self.directory()?.listens()
    }

    /// The process's working directory now.
    ///
    /// # Errors
    /// The process has ended or may not be looked into.
    pub fn working_directory(&self) -> Result<PathBuf, Unknown> {
        self.directory()?.working_directory()
    }

    /// The environment the process was started with.
    ///
    /// # Errors
    /// The process has ended, may not be looked into, or its environment is larger than 512 KiB.
    pub fn environment(&self) -> Result<Environment, Unknown> {
        self.directory()?.environment().map(Environment::parse)
    }

    /// The processes above this one, nearest first, without the system's first process; at most 16.
    #[must_use]
    pub fn ancestors(&self) -> Vec<Ancestor> {
        let mut ancestors = Vec::new();
        let (mut parent, mut child_start) = (self.stat.parent, self.id.start);
        while parent > 1 && ancestors.len() < MOST_ANCESTORS {
            let Some((directory, stat)) = parent_of(parent, child_start) else { break };
            ancestors.push(Ancestor {
                pid: parent,
                executable: directory.executable().ok().map(|executable| executable.path),
                name: directory.arguments().ok().and_then(|arguments| arguments.into_iter().next()),
            });
            (parent, child_start) = (stat.parent, stat.start);
        }
        ancestors
    }

    fn directory(&self) -> Result<ProcDir, Unknown> {
        self.id.look().map(|(directory, _)| directory)
    }

    /// The process's controlling terminal, if it had one when it connected.
    #[must_use]
    pub fn terminal(&self) -> Option<Terminal> {
        let device = u32::from_ne_bytes(self.stat.terminal.to_ne_bytes());
        (device != 0).then(|| Terminal {
            name: terminal_name(device),
            foreground: self.stat.foreground_group == self.stat.group,
        })
    }
}

/// The process with this number, as the parent of one that started at `child_start`; none where it may not be seen.
pub(super) fn parent_of(number: i32, child_start: u64) -> Option<(ProcDir, Stat)> {
    let directory = ProcDir::open(number).ok()?;
    let stat = directory.stat().ok()?;
    // A parent is older than its child; a younger one is a stranger that got the number.
    (stat.start <= child_start).then_some((directory, stat))
}

fn ticks(count: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_secs(count / per_second)
        + Duration::from_secs(count % per_second) / u32::try_from(per_second).unwrap_or(100)
}

/// Names a terminal by its device number; numbers as in the kernel's list of allocated devices.
pub(super) fn terminal_name(device: u32) -> String {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        _ => format!("char {major}:{minor}"),
    }
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
