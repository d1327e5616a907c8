//! A process that stands between the agent and a program that shows a dialog, so that the dialog goes when the agent goes, even if that is
//! killed and can close nothing any more.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::process::Command;

/// The hidden subcommand that runs [`mind`].
pub const SUBCOMMAND: &str = "prompt";

/// A command that runs a program in a process group of its own, and ends that group if this process ends first. The program's arguments,
/// environment and streams are to be set as for the program itself.
///
/// # Errors
/// There is no such program.
pub(super) fn command(program: &Path) -> io::Result<Command> {
    if program.components().count() > 1 {
        // Said here, because the process between could only fail.
        rustix::fs::access(program, rustix::fs::Access::EXEC_OK)?;
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg0("hardkey").arg(SUBCOMMAND).arg(std::process::id().to_string()).arg(program).process_group(0);
    Ok(command)
}

/// Runs the program, for the agent with this process id, until it ends or the agent does; `arguments` are those that [`command`] has set.
///
/// # Errors
/// The program cannot be started.
pub fn mind(arguments: &[OsString]) -> io::Result<ExitCode> {
    let [agent, program, arguments @ ..] = arguments else { return Err(io::ErrorKind::InvalidInput.into()) };
    let agent =
        agent.to_str().and_then(|number| Pid::from_raw(number.parse().ok()?)).ok_or(io::ErrorKind::InvalidInput)?;
    let agent_end = rustix::process::pidfd_open(agent, PidfdFlags::empty())?;
    if rustix::process::getppid() != Some(agent) {
        return Err(io::Error::other("the agent has ended"));
    }
    let mut child = std::process::Command::new(program).args(arguments).spawn()?;
    let child_end = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let mut ends = [PollFd::new(&child_end, PollFlags::IN), PollFd::new(&agent_end, PollFlags::IN)];
    while let Err(error) = poll(&mut ends, None) {
        if error != rustix::io::Errno::INTR {
            return Err(error.into());
        }
    }
    if ends[0].revents().is_empty() {
        // This process, too.
        rustix::process::kill_process_group(rustix::process::getpgrp(), Signal::KILL)?;
    }
    let status = child.wait()?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
