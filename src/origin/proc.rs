//! One process as `/proc` shows it, held so that what is read belongs to that process and to no later one of the same number.
//!
//! A directory descriptor of `/proc/PID` stays tied to the process it was opened for: when that process is gone, reads
//! through it fail with `ESRCH`, also after its number has been given away. So whoever holds a [`ProcDir`] that was checked
//! once can read late without looking for races again.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, readlinkat, statat};

use super::Unknown;

/// The state of a process fits in here, 52 numbers and a short name: octets.
const LARGEST_STATE: usize = 2048;
/// What is expected of arguments, for reading most of them at once: octets.
const USUAL_TEXT: usize = 4096;
/// Arguments and environments larger than this are not read: octets.
const LARGEST_TEXT: u64 = 512 * 1024;
/// Socket tables larger than this are not read: octets.
const LARGEST_SOCKET_TABLE: u64 = 16 * 1024 * 1024;

/// A file by device and inode: the same file whatever it is called, and never another one while it is kept open or in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The device the file is on.
    pub device: u64,
    /// The file's number on that device.
    pub inode: u64,
}

impl FileId {
    pub(crate) fn of(stat: &rustix::fs::Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// The program a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executable {
    /// Where the kernel says it lies; ends in ` (deleted)` when it was replaced. For people, not for decisions.
    pub path: PathBuf,
    /// Which file it is.
    pub file: FileId,
    /// The file's owner.
    pub owner: u32,
    /// The file's type and permission bits.
    pub mode: u32,
}

/// The parts of `/proc/PID/stat` that tell what a process is doing: proc_pid_stat(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// State letter, `Z` for a process that has ended.
    pub state: char,
    /// Parent process.
    pub parent: i32,
    /// Process group.
    pub group: i32,
    /// Session; equal to the process number for a session leader.
    pub session: i32,
    /// Controlling terminal as a device number, 0 for none.
    pub terminal: i32,
    /// Foreground process group of that terminal, -1 for none.
    pub foreground_group: i32,
    /// `PF_*` flags of the kernel.
    pub flags: u32,
    /// Start of the process: clock ticks since boot.
    pub start: u64,
}

/// The kernel's mark for a process that was forked and has not executed a program since: `PF_FORKNOEXEC`.
const FORKED_WITHOUT_EXEC: u32 = 0x40;

impl Stat {
    /// Whether this process is a fork that goes on running its parent's program, as `ssh` does to put itself into the background.
    #[must_use]
    pub fn forked_without_exec(&self) -> bool {
        self.flags & FORKED_WITHOUT_EXEC != 0
    }

    fn parse(text: &str) -> Option<Self> {
        // The program's name comes first, in parentheses, and may itself hold parentheses and spaces.
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let mut number = || fields.next()?.parse::<i32>().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        let (terminal, foreground_group) = (number()?, number()?);
        let flags = fields.next()?.parse().ok()?;
        let start = fields.nth(12)?.parse().ok()?;
        Some(Self { state, parent, group, session, terminal, foreground_group, flags, start })
    }
}

/// The namespaces that decide whether a process sees the same users, processes and files as we do: namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces {
    /// User namespace.
    pub user: FileId,
    /// Process number namespace.
    pub pid: FileId,
    /// Mount namespace.
    pub mount: FileId,
}

/// What a process has had taken away from it, for ever and for all that it starts: proc_pid_status(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// No program gives it rights that it does not have: `NoNewPrivs`.
    pub no_new_privileges: bool,
    /// How many filters its system calls pass: `Seccomp_filters`; 0 where the kernel does not tell.
    pub filters: u32,
}

impl Confinement {
    /// Whether something is taken away here that is not taken away there.
    #[must_use]
    pub const fn is_tighter_than(self, other: Self) -> bool {
        self.no_new_privileges && !other.no_new_privileges || self.filters > other.filters
    }

    fn parse(status: &str) -> Option<Self> {
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().parse::<u32>().ok()
        };
        let no_new_privileges = number("NoNewPrivs")? != 0;
        Some(Self { no_new_privileges, filters: number("Seccomp_filters").unwrap_or(0) })
    }
}

/// A process's directory below `/proc`, open.
#[derive(Debug)]
pub struct ProcDir(OwnedFd);

impl ProcDir {
    /// Opens the directory of the process that has the number `pid` now. That it is the process meant is the caller's to check.
    pub(crate) fn open(pid: i32) -> Result<Self, Unknown> {
        Self::open_path(&format!("/proc/{pid}"))
    }

    /// Opens our own directory.
    pub(crate) fn own() -> Result<Self, Unknown> {
        Self::open_path("/proc/self")
    }

    fn open_path(path: &str) -> Result<Self, Unknown> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty())
            .map(Self)
            .map_err(|error| Unknown::new(format!("cannot open {path}: {error}")))
    }

    /// Reads the process's state; fails when it has gone or has ended and only waits to be collected.
    pub(crate) fn stat(&self) -> Result<Stat, Unknown> {
        let mut text = [0; LARGEST_STATE];
        // The kernel makes it up at the first read, and gives all of it if there is room.
        let length = rustix::io::read(self.file("stat")?, &mut text)
            .map_err(|error| Unknown::new(format!("cannot read the process's stat: {error}")))?;
        let stat = Stat::parse(&String::from_utf8_lossy(&text[..length]))
            .ok_or_else(|| Unknown::new("the kernel's process state is not in its documented form"))?;
        match stat.state {
            'Z' | 'X' | 'x' => Err(Unknown::new("the process has ended")),
            _ => Ok(stat),
        }
    }

    /// Which program the process runs. Not to be had of set-user-ID programs and of other users' processes.
    pub(crate) fn executable(&self) -> Result<Executable, Unknown> {
        let failed = |error| Unknown::new(format!("cannot tell which program the process runs: {error}"));
        let stat = statat(&self.0, "exe", AtFlags::empty()).map_err(failed)?;
        let path = readlinkat(&self.0, "exe", Vec::new()).map_err(failed)?;
        Ok(Executable {
            path: PathBuf::from(OsString::from_vec(path.into_bytes())),
            file: FileId::of(&stat),
            owner: stat.st_uid,
            mode: stat.st_mode,
        })
    }

    /// The process's argument vector, as the process itself may have rewritten it (`ssh: … [mux]`).
    pub(crate) fn arguments(&self) -> Result<Vec<OsString>, Unknown> {
        Ok(split_at_nul(&self.read("cmdline", LARGEST_TEXT)?))
    }

    /// The environment the process was started with, as `NAME=value`.
    pub(crate) fn environment(&self) -> Result<Vec<OsString>, Unknown> {
        Ok(split_at_nul(&self.read("environ", LARGEST_TEXT)?))
    }

    /// The process's namespaces.
    pub(crate) fn namespaces(&self) -> Result<Namespaces, Unknown> {
        let id = |name: &str| {
            statat(&self.0, name, AtFlags::empty())
                .map(|stat| FileId::of(&stat))
                .map_err(|error| Unknown::new(format!("cannot tell the process's namespaces: {error}")))
        };
        Ok(Namespaces { user: id("ns/user")?, pid: id("ns/pid")?, mount: id("ns/mnt")? })
    }

    /// What the process has had taken away.
    pub(crate) fn confinement(&self) -> Result<Confinement, Unknown> {
        let text = self.read("status", 64 * 1024)?;
        Confinement::parse(&String::from_utf8_lossy(&text))
            .ok_or_else(|| Unknown::new("the kernel does not tell how the process is confined"))
    }

    /// The process's working directory.
    pub(crate) fn working_directory(&self) -> Result<PathBuf, Unknown> {
        readlinkat(&self.0, "cwd", Vec::new())
            .map(|path| PathBuf::from(OsString::from_vec(path.into_bytes())))
            .map_err(|error| Unknown::new(format!("cannot tell the process's working directory: {error}")))
    }

    /// Whether the process holds a listening Unix socket, as an `ssh` multiplexing master does.
    pub(crate) fn listens(&self) -> Result<bool, Unknown> {
        let failed = |error: io::Error| Unknown::new(format!("cannot tell the process's sockets: {error}"));
        let held = self.sockets().map_err(|error| failed(error.into()))?;
        if held.is_empty() {
            return Ok(false);
        }
        let mut table = BufReader::new(self.file("net/unix")?.take(LARGEST_SOCKET_TABLE));
        let mut line = Vec::new();
        let mut read = 0;
        loop {
            line.clear();
            let octets = table.read_until(b'\n', &mut line).map_err(failed)?;
            if octets == 0 {
                return match read < LARGEST_SOCKET_TABLE {
                    true => Ok(false),
                    false => Err(Unknown::new("the system's table of Unix sockets is too long to read")),
                };
            }
            read += octets as u64;
            if listening_inode(&line).is_some_and(|inode| held.contains(&inode)) {
                return Ok(true);
            }
        }
    }

    /// Inodes of the sockets among the process's descriptors.
    fn sockets(&self) -> rustix::io::Result<HashSet<u64>> {
        let directory = openat(&self.0, "fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut sockets = HashSet::new();
        for entry in Dir::read_from(&directory)? {
            let name = entry?;
            // A descriptor that was closed meanwhile is none that listens.
            let Ok(target) = readlinkat(&directory, name.file_name(), Vec::new()) else {
                continue;
            };
            let inode: Option<u64> = target
                .to_str()
                .ok()
                .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            sockets.extend(inode);
        }
        Ok(sockets)
    }

    fn file(&self, name: &str) -> Result<File, Unknown> {
        openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map(File::from)
            .map_err(|error| Unknown::new(format!("cannot read the process's {name}: {error}")))
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, Unknown> {
        let mut octets = Vec::with_capacity(USUAL_TEXT);
        self.file(name)?
            .take(limit + 1)
            .read_to_end(&mut octets)
            .map_err(|error| Unknown::new(format!("cannot read the process's {name}: {error}")))?;
        if octets.len() as u64 > limit {
            return Err(Unknown::new(format!("the process's {name} is longer than {limit} octets")));
        }
        Ok(octets)
    }
}

/// Splits what `/proc` gives for vectors of strings; the last string is terminated, too.
fn split_at_nul(octets: &[u8]) -> Vec<OsString> {
    let Some(octets) = octets.strip_suffix(b"\0") else {
        return match octets {
            [] => Vec::new(),
            _ => vec![OsStr::from_bytes(octets).to_owned()],
        };
    };
    octets.split(|octet| *octet == 0).map(|string| OsStr::from_bytes(string).to_owned()).collect()
}

/// The inode in a line of `/proc/net/unix` whose socket listens (`__SO_ACCEPTCON`, 0x10000, in the fourth column).
fn listening_inode(line: &[u8]) -> Option<u64> {
    let line = String::from_utf8_lossy(line);
    let mut columns = line.split_ascii_whitespace();
    let flags = u32::from_str_radix(columns.nth(3)?, 16).ok()?;
    let inode = columns.nth(2)?.parse().ok()?;
    (flags & 0x1_0000 != 0).then_some(inode)
}

#[cfg(test)]
#[path = "proc_tests.rs"]
mod tests;
