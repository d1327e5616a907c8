//! The life of the agent's process: in the background, around a command, or in the foreground, until a signal or the command's end.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Resource, Rlimit};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::sys::{self, Forked};

/// The process that the agent was split off from, seen from the agent.
#[derive(Debug)]
pub struct Origin {
    process: OwnedFd,
    line: UnixStream,
}

/// The two sides of a split.
#[derive(Debug)]
pub enum Side {
    /// The caller, which goes on to print or to become the command. The agent is ready.
    Caller {
        /// The agent's process id.
        agent: u32,
        /// Where the agent hears that it is wanted.
        line: Line,
    },
    /// The agent.
    Agent(Origin),
}

/// The caller's end of its line to the agent.
#[derive(Debug)]
pub struct Line(UnixStream);

impl Line {
    /// Tells the agent that somebody knows of it now. A caller that ends without this, because Ctrl-C came first, takes the agent along.
    pub fn wanted(mut self) {
        // An agent that has ended meanwhile is found out by its first client.
        let _ = self.0.write_all(b"+");
    }
}

/// Splits off the agent and, on the caller's side, waits until it is [`ready`](Origin::ready) for requests and signals.
///
/// The agent leaves the session, the folder and the standard streams of its caller, and holds no descriptor but the listener's.
///
/// # Errors
/// The system's limits, or the agent ended before it was ready.
pub fn split_off(listener: &UnixListener) -> io::Result<Side> {
    let caller = rustix::process::getpid();
    let (mut ours, theirs) = UnixStream::pair()?;
    match sys::fork()? {
        Forked::Parent { child } => {
            drop(theirs);
            match ours.read(&mut [0])? {
                0 => Err(io::Error::other("the agent ended before it was ready; its log says why")),
                _ => Ok(Side::Caller { agent: child.unsigned_abs(), line: Line(ours) }),
            }
        }
        Forked::Child => {
            let process = rustix::process::pidfd_open(caller, PidfdFlags::NONBLOCK)?;
            // From here on the caller's end of the line belongs to nobody on this side.
            let _callers = ours.into_raw_fd();
            sys::close_all_but(&[listener.as_raw_fd(), theirs.as_raw_fd(), process.as_raw_fd()]);
            rustix::process::setsid()?;
            rustix::process::chdir("/")?;
            let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
            Ok(Side::Agent(Origin { process, line: theirs }))
        }
    }
}

impl Origin {
    /// Lets the caller go on. What remains tells when the agent is to end: with the caller, where that becomes the command it serves; else
    /// only if the caller ends without having told anybody of the agent.
    pub fn ready(mut self, serves_caller: bool) -> Companion {
        // A caller that is gone already is noticed through what remains.
        let _ = self.line.write_all(b"+");
        match serves_caller {
            true => Companion::Command(self.process),
            false => Companion::Caller(self.line),
        }
    }
}

/// Whom the agent does not outlive.
#[derive(Debug)]
pub enum Companion {
    /// The command that it serves.
    Command(OwnedFd),
    /// The process that started it, until that has passed on where it is.
    Caller(UnixStream),
}

impl Companion {
    /// Waits until it is gone.
    async fn gone(self) -> io::Result<()> {
        match self {
            Self::Command(process) => sys::watch(process, Interest::READABLE)?.readable().await.map(drop),
            Self::Caller(line) => {
                line.set_nonblocking(true)?;
                let wanted = tokio::net::UnixStream::from_std(line)?.read(&mut [0]).await;
                match wanted {
                    Ok(1) => std::future::pending().await,
                    _ => Ok(()),
                }
            }
        }
    }
}

/// No core file, no debugger, as many descriptors as allowed, files for the owner alone.
///
/// # Errors
/// The system refused.
pub fn harden() -> io::Result<()> {
    //= RFC 9987 section 10: the agent should, as far as possible, prevent its memory from being read by other processes
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    sys::keep_from_children();
    let descriptors = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: descriptors.maximum, ..descriptors })?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    Ok(())
}

/// Whether the process belongs to a terminal, whose end it is told by HUP.
pub fn has_terminal() -> bool {
    rustix::fs::open("/dev/tty", OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).is_ok()
}

/// Removes the socket's file when dropped, in the process that made it, unless another file has taken its place.
pub struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
    owner: Pid,
    with_folder: bool,
}

impl SocketFile {
    /// Takes care of a path from now on, and of its folder where that was made for this socket alone.
    pub fn new(path: PathBuf, with_folder: bool) -> Self {
        Self { identity: identity(&path), path, owner: rustix::process::getpid(), with_folder }
    }
}

impl SocketFile {
    /// Leaves the file to the process that was split off.
    pub fn leave(mut self) {
        self.identity = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = self.identity.is_some() && identity(&self.path) == self.identity;
        if is_ours && rustix::process::getpid() == self.owner {
            let _ = std::fs::remove_file(&self.path);
            if let (true, Some(folder)) = (self.with_folder, self.path.parent()) {
                let _ = std::fs::remove_dir(folder);
            }
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Why the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A signal, by its number.
    Signal(i32),
    /// The command it served has ended, or the process that started it before it told anybody.
    Companion,
}

/// The signals that end the agent, received from the moment of registration.
pub struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
    user: Signal,
    /// Received only so that a limit to the size of files makes a write fail, as a full disk does, and does not end the agent.
    _file_too_large: Signal,
}

impl Signals {
    /// Registers; before this a signal would end the process and leave its socket behind.
    ///
    /// # Errors
    /// Called outside of a runtime.
    pub fn register() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            user: signal(SignalKind::user_defined1())?,
            _file_too_large: signal(SignalKind::from_raw(libc::SIGXFSZ))?,
        })
    }

    /// Waits for the reason to end. In the background Ctrl-C is meant for somebody else; USR1 removes all keys. HUP
    /// ends the agent unless `reload` takes care of it.
    ///
    /// # Errors
    /// The command cannot be watched.
    pub async fn end(
        &mut self,
        companion: Option<Companion>,
        foreground: bool,
        remove_all: impl Fn(),
        reload: impl Fn() -> bool,
    ) -> io::Result<End> {
        let companion_ended = async {
            match companion {
                Some(companion) => companion.gone().await,
                None => std::future::pending().await,
            }
        };
        let interrupt = &mut self.interrupt;
        let interrupted = async {
            loop {
                interrupt.recv().await;
                if foreground {
                    return;
                }
            }
        };
        let user = &mut self.user;
        let clearing = async {
            while user.recv().await.is_some() {
                tracing::info!("all keys removed on signal USR1");
                remove_all();
            }
        };
        let hang_up = &mut self.hang_up;
        let hung_up = async { while hang_up.recv().await.is_some() && reload() {} };
        tokio::select! {
            () = clearing => Err(io::Error::other("signals are no longer received")),
            _ = self.terminate.recv() => Ok(End::Signal(SignalKind::terminate().as_raw_value())),
            () = hung_up => Ok(End::Signal(SignalKind::hangup().as_raw_value())),
            () = interrupted => Ok(End::Signal(SignalKind::interrupt().as_raw_value())),
            ended = companion_ended => ended.map(|()| End::Companion),
        }
    }
}
