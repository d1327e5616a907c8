//! Where the person sits who waits for a process: its environment and its terminal, as they are now.
//!
//! What a question is shown with is looked up when there is a question: the terminal may have gone to another job since the process connected.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;

use super::environment::Environment;
use super::peer::{ProcessId, terminal_name};
use super::proc::{Namespaces, ProcDir, Stat};

/// A terminal whose foreground job a process belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreground {
    /// The device's file.
    pub path: PathBuf,
    /// The process.
    pub holder: ProcessId,
    device: i32,
}

impl ProcessId {
    /// This process.
    pub(crate) fn own() -> Option<Self> {
        let stat = ProcDir::own().and_then(|directory| directory.stat()).ok()?;
        Some(Self { pid: rustix::process::getpid().as_raw_pid(), start: stat.start })
    }

    /// The environment that the process was started with; empty where it may not be seen, and in a container: what is kept apart from the person
    /// must not name the screen on which the person is asked.
    pub(crate) fn environment(self) -> Environment {
        let directory = self
            .directory()
            .map(|(directory, _)| directory)
            .filter(|directory| shares(directory, |its| (its.user, its.pid)));
        let strings = directory.and_then(|directory| directory.environment().ok());
        strings.map_or_else(Environment::default, Environment::parse)
    }

    /// The terminal that the process has in the foreground, if it has one that is ours to use: the same device here as there, and the user's.
    pub(crate) fn foreground(self) -> Option<Foreground> {
        let (directory, stat) = self.directory()?;
        let has_it = stat.terminal != 0 && stat.foreground_group == stat.group;
        // In another mount namespace /dev/pts/3 is another terminal.
        if !has_it || !shares(&directory, |its| its) {
            return None;
        }
        let device = u32::from_ne_bytes(stat.terminal.to_ne_bytes());
        let path = PathBuf::from("/dev").join(terminal_name(device));
        let file = std::fs::symlink_metadata(&path).ok()?;
        let same = file.file_type().is_char_device()
            && rustix::fs::major(file.rdev()) == (device >> 8) & 0xfff
            && rustix::fs::minor(file.rdev()) == (device & 0xff) | ((device >> 12) & 0xfff00);
        let users = file.uid() == rustix::process::getuid().as_raw();
        (same && users).then_some(Foreground { path, holder: self, device: stat.terminal })
    }

    /// The terminal that this process has in the foreground, by the name under which a process may open its own whoever the device's file belongs
    /// to: after `su` it is another user's.
    pub(crate) fn own_foreground() -> Option<Foreground> {
        let own = Self::own()?;
        let (_, stat) = own.directory()?;
        let has_it = stat.terminal != 0 && stat.foreground_group == stat.group;
        has_it.then(|| Foreground { path: PathBuf::from("/dev/tty"), holder: own, device: stat.terminal })
    }

    fn directory(self) -> Option<(ProcDir, Stat)> {
        let directory = ProcDir::open(self.pid).ok()?;
        let stat = directory.stat().ok()?;
        (stat.start == self.start).then_some((directory, stat))
    }
}

/// Whether a process is where we are, in this respect.
fn shares<T: PartialEq>(directory: &ProcDir, part: impl Fn(Namespaces) -> T) -> bool {
    let both = directory.namespaces().and_then(|theirs| Ok((theirs, ProcDir::own()?.namespaces()?)));
    both.is_ok_and(|(theirs, ours)| part(theirs) == part(ours))
}

impl Foreground {
    /// Whether the process still has the terminal in the foreground.
    pub(crate) fn holds(&self) -> bool {
        self.holder
            .directory()
            .is_some_and(|(_, stat)| stat.terminal == self.device && stat.foreground_group == stat.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_another_by_now_shows_nothing() {
        let own = ProcessId::own().expect("this process");
        let later = ProcessId { start: own.start + 1, ..own };
        assert!(own.environment().value("PATH").is_some());
        assert!(later.environment().value("PATH").is_none());
        assert!(later.foreground().is_none());
    }
}
