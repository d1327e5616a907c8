//! The life of the agent's process: in the background, around a command, or in the foreground, until a signal or the command's end.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Resource, Rlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::sys::{self, Forked};

/// The command that the agent serves, seen from the agent.
#[derive(Debug)]
pub struct Companion(OwnedFd);

/// Splits off the agent. `Some` is the agent's side; `None` is the caller's, which goes on to print or to become the command.
///
/// The agent leaves the session, the folder and the standard streams of its caller, and holds no descriptor but the listener's.
///
/// # Errors
/// The system's limits.
pub fn split_off(listener: &UnixListener) -> io::Result<(i32, Option<Companion>)> {
    let caller = rustix::process::getpid();
    match sys::fork()? {
        Forked::Parent { child } => Ok((child, None)),
        Forked::Child => {
            sys::close_all_but(listener.as_raw_fd());
            rustix::process::setsid()?;
            rustix::process::chdir("/")?;
            let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
            let companion = rustix::process::pidfd_open(caller, PidfdFlags::NONBLOCK)?;
            Ok((rustix::process::getpid().as_raw_nonzero().get(), Some(Companion(companion))))
        }
    }
}

/// No core file, no debugger, as many descriptors as allowed, files for the owner alone.
///
/// # Errors
/// The system refused.
pub fn harden() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let descriptors = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: descriptors.maximum, ..descriptors })?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    Ok(())
}

/// Removes the socket's file when dropped, in the process that made it.
pub struct SocketFile {
    path: PathBuf,
    owner: Pid,
}

impl SocketFile {
    /// Takes care of a path from now on.
    pub fn new(path: PathBuf) -> Self {
        Self { path, owner: rustix::process::getpid() }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if rustix::process::getpid() == self.owner {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Why the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A signal, by its number.
    Signal(i32),
    /// The command it served has ended.
    Companion,
}

/// Waits for the reason to end.
///
/// # Errors
/// Signals or the command cannot be watched.
pub async fn end(companion: Option<Companion>, foreground: bool) -> io::Result<End> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let companion_ended = async {
        match companion {
            Some(Companion(pidfd)) => sys::watch(pidfd)?.readable().await.map(drop),
            None => std::future::pending().await,
        }
    };
    let interrupted = async {
        loop {
            interrupt.recv().await;
            // In the background Ctrl-C is meant for somebody else.
            if foreground {
                return;
            }
        }
    };
    tokio::select! {
        _ = terminate.recv() => Ok(End::Signal(SignalKind::terminate().as_raw_value())),
        _ = hang_up.recv() => Ok(End::Signal(SignalKind::hangup().as_raw_value())),
        () = interrupted => Ok(End::Signal(SignalKind::interrupt().as_raw_value())),
        ended = companion_ended => ended.map(|()| End::Companion),
    }
}
