//! The connection to one worker process: one call at a time, each with a deadline.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::net::Shutdown;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::pkcs11::error::TokenError;
use crate::ipc::{self, Answer, Call, FaultKind, MAX_IPC, TokenName};
use crate::protocol::frame::FrameBuffer;
use crate::stream::Stream;

/// The hidden subcommand that this binary runs as a worker.
pub const SUBCOMMAND: &str = "worker";

/// How long a worker may take to let go of its device.
const FAREWELL: Duration = Duration::from_secs(3);

/// How often a worker's memory is looked at, at most.
const WEIGHED_EVERY: Duration = Duration::from_secs(1);

/// A running worker. Dropping it kills the process, with what its library has forked.
pub(super) struct Link {
    module: String,
    child: Child,
    socket: Stream,
    answers: FrameBuffer,
    /// When it was last looked at how much memory the process has.
    weighed: Instant,
    /// The tokens this process is logged in to; login belongs to the process (PKCS#11 2.40 section 5.6).
    pub(super) logged_in: HashSet<TokenName>,
}

impl Link {
    /// Starts a worker and has it load its library, by the call that says which and of what kind.
    pub(super) async fn start(
        module: &Path,
        start: &Call,
        env: &[(String, String)],
        deadline: Duration,
    ) -> Result<Self, TokenError> {
        let name = module.display().to_string();
        let spawn = |error: io::Error| TokenError::Spawn { module: name.clone(), reason: error.to_string() };
        let (ours, theirs) = UnixStream::pair().map_err(spawn)?;
        ours.set_nonblocking(true).map_err(spawn)?;
        let title = format!("hardkey worker for {name}");
        //= RFC 9987 section 10: agents SHOULD ensure that loaded token library code cannot gain access to other keys
        //= loaded in the agent
        // The running file itself, so that an upgrade on disk cannot pair two builds.
        let child = Command::new("/proc/self/exe")
            .arg0(title)
            .arg(SUBCOMMAND)
            .envs(env.iter().map(|(key, value)| (key, value)))
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            // An interruption at the terminal is for the agent; a worker that has something to withdraw must live on for that.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(spawn)?;
        let mut link = Self {
            module: name.clone(),
            child,
            socket: Stream::new(ours.into()).map_err(spawn)?,
            answers: FrameBuffer::new(MAX_IPC),
            weighed: Instant::now(),
            logged_in: HashSet::new(),
        };
        match link.call(start, deadline).await? {
            Answer::Done => Ok(link),
            Answer::Failed(fault) => Err(TokenError::Load { module: name, reason: fault.text }),
            _ => Err(TokenError::Nonsense { module: name }),
        }
    }

    /// Makes one call. After an error the link is worthless: drop it.
    pub(super) async fn call(&mut self, call: &Call, deadline: Duration) -> Result<Answer, TokenError> {
        self.call_telling(call, deadline, &mut |_| {}).await
    }

    /// As [`Self::call`]; tells when a FIDO device begins to wait for a touch, and when it no longer does.
    pub(super) async fn call_telling(
        &mut self,
        call: &Call,
        deadline: Duration,
        on_touch: &mut (dyn FnMut(bool) + Send),
    ) -> Result<Answer, TokenError> {
        let frame = ipc::encode(call).map_err(|_| TokenError::Nonsense { module: self.module.clone() })?;
        match timeout(deadline, self.exchange(&frame, on_touch)).await {
            Ok(Ok(answer)) => {
                if let Answer::Failed(fault) = &answer
                    && matches!(
                        fault.kind,
                        FaultKind::SessionLost | FaultKind::NotLoggedIn | FaultKind::TokenGone | FaultKind::Other
                    )
                    && let Call::Sign { token, .. } | Call::Login { token, .. } = call
                {
                    self.logged_in.remove(token);
                }
                Ok(answer)
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(TokenError::Nonsense { module: self.module.clone() })
            }
            Ok(Err(_)) => {
                // The socket closes before the process is reaped; its end is near and worth naming.
                let status = match timeout(Duration::from_secs(1), self.child.wait()).await {
                    Ok(Ok(status)) => status.to_string(),
                    _ => "it closed its socket".to_owned(),
                };
                Err(TokenError::Crashed { module: self.module.clone(), status })
            }
            Err(_) => Err(TokenError::Hung { module: self.module.clone(), after: deadline }),
        }
    }

    /// Whether the process still runs; one that was killed while idle must not cost a request.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How much memory the process has, in MiB, if it is more than this. Looked at once a second at most.
    pub(super) fn has_grown_beyond(&mut self, limit: u64) -> Option<u64> {
        if self.weighed.elapsed() < WEIGHED_EVERY {
            return None;
        }
        self.weighed = Instant::now();
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()?)).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        let mebibytes = pages * rustix::param::page_size() as u64 / (1 << 20);
        (mebibytes > limit).then_some(mebibytes)
    }

    /// Lets the worker end by itself, so that it can withdraw what it asked of a device; one that does not is killed.
    pub(super) async fn part(mut self) {
        // One that is gone already has no need of it.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        drop(timeout(FAREWELL, self.child.wait()).await);
    }

    async fn exchange(&mut self, frame: &[u8], on_touch: &mut (dyn FnMut(bool) + Send)) -> io::Result<Answer> {
        let garbled = |_| io::Error::from(io::ErrorKind::InvalidData);
        self.socket.write_all(frame).await?;
        loop {
            if let Some(frame) = self.answers.next_frame().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))? {
                let answer = ipc::decode(frame).map_err(garbled)?;
                self.answers.release_if_idle();
                if let Answer::WaitsForTouch(waits) = answer {
                    on_touch(waits);
                    continue;
                }
                return Ok(answer);
            }
            self.socket.readable().await?;
            match self.socket.try_read(self.answers.space()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.answers.filled(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Link {
    /// A copy of the worker would keep its sessions, its logins and its connection to a card. As long as the worker was not collected its
    /// number is nobody else's.
    fn drop(&mut self) {
        if let Some(group) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
