//! The agent's own program in other processes: run by the user, who may consent with it, or by a module, which may not.
//!
//! Workers run the same file as `hardkey prompts` does, and the code of strangers runs in them. What tells them and all that they start
//! apart is their sandbox, which nobody gets rid of, and their parents, as long as these live.

use super::Unknown;
use super::peer::{Process, ProcessId, parent_of};
use super::proc::{Confinement, Executable, Namespaces, ProcDir, Stat};

/// A process with more generations above it is taken for what it may be at worst.
const MOST_GENERATIONS: usize = 1024;

/// The agent's own process.
#[derive(Debug)]
pub(super) struct Own {
    pid: i32,
    /// The session that it leads; none if it shares that of whoever started it.
    session: Option<i32>,
    executable: Executable,
    namespaces: Namespaces,
    confinement: Confinement,
}

/// How a process comes from the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Descent {
    /// By a worker, or by nobody knows which child of the agent.
    Worker,
    /// By another program that the agent runs, such as a dialog.
    Helper,
}

impl Own {
    /// This process, which is not to fork itself any more.
    pub(super) fn look() -> Result<Self, Unknown> {
        let directory = ProcDir::own()?;
        let (pid, stat) = (rustix::process::getpid().as_raw_pid(), directory.stat()?);
        Ok(Self {
            pid,
            session: Some(stat.session).filter(|session| *session == pid),
            executable: directory.executable()?,
            namespaces: directory.namespaces()?,
            confinement: directory.confinement()?,
        })
    }

    /// Where the agent runs.
    pub(super) const fn namespaces(&self) -> Namespaces {
        self.namespaces
    }

    /// Whether the process runs this very program where we run, started by the user and by no module.
    pub(super) fn is_run_by_the_user(&self, process: &Process) -> bool {
        self.is_this_program(&process.executable)
            && process.namespaces().is_ok_and(|theirs| theirs == self.namespaces)
            && !self.is_module_s(process)
    }

    /// Whether a module has started the process, or is in it. A module that the user lets run programs can hide that from here with any program
    /// but this one.
    pub(super) fn is_module_s(&self, process: &Process) -> bool {
        // A worker is never without a filter that the agent does not have; nor is what it started, whoever its parent is by now.
        let is_confined = || process.confinement().is_ok_and(|theirs| theirs.is_tighter_than(self.confinement));
        self.is_this_program(&process.executable) && is_confined() || self.descent(process) == Some(Descent::Worker)
    }

    fn is_this_program(&self, executable: &Result<Executable, Unknown>) -> bool {
        // By path as well, for the program may have been replaced since the agent was started.
        let own = &self.executable;
        executable.as_ref().is_ok_and(|theirs| theirs.file == own.file || theirs.path == own.path)
    }

    fn descent(&self, process: &Process) -> Option<Descent> {
        let (mut id, mut stat) = (process.id, process.stat);
        for _ in 0..MOST_GENERATIONS {
            if stat.parent == self.pid {
                // What hides its program is a worker as well: others have no reason to.
                let executable = ProcDir::open(id.pid).and_then(|directory| directory.executable());
                let is_helper = executable.is_ok() && !self.is_this_program(&executable);
                return Some(if is_helper { Descent::Helper } else { Descent::Worker });
            }
            match parent(id, stat) {
                Some(parent) => (id, stat) = parent,
                // Processes that have lost their parents are still in the session that nobody but the agent began.
                None => return self.session.filter(|own| *own == process.stat.session).map(|_| Descent::Worker),
            }
        }
        Some(Descent::Worker)
    }
}

/// The process above this one; none above the first, and where it may not be seen.
fn parent(id: ProcessId, stat: Stat) -> Option<(ProcessId, Stat)> {
    let above = |stat: Stat| {
        let number = Some(stat.parent).filter(|parent| *parent > 0)?;
        let (_, above) = parent_of(number, id.start)?;
        Some((ProcessId { pid: number, start: above.start }, above))
    };
    above(stat).or_else(|| {
        // It may have gone meanwhile, and somebody else have taken its place.
        let now = ProcDir::open(id.pid).and_then(|directory| directory.stat()).ok()?;
        (now.start == id.start && now.parent != stat.parent).then(|| above(now))?
    })
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;
