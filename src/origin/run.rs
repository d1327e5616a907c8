//! Running a program for its answer, within a time and a size.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

/// More output than this is no answer: octets.
const LONGEST_OUTPUT: u64 = 1024 * 1024;

/// What a program answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whether it ended with status 0.
    pub(crate) success: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("it could not be started: {0}")]
    Start(io::Error),
    #[error("it did not answer within {0:?}")]
    Time(Duration),
    #[error("it wrote more than {LONGEST_OUTPUT} octets")]
    Size,
    #[error("its answer could not be read: {0}")]
    Read(#[from] io::Error),
}

/// Runs a program in a process group of its own, without input, in `/`. When the time is up, or nobody waits for the answer
/// any more, the whole group is killed: `ssh -G` may have started commands of the user's configuration.
///
/// # Errors
/// See [`RunError`]; an exit status other than 0 is an answer.
pub(crate) async fn run(mut command: Command, time: Duration) -> Result<Answer, RunError> {
    command.current_dir("/").process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group(command.spawn().map_err(RunError::Start)?);
    match tokio::time::timeout(time, group.answer()).await {
        Ok(answer) => answer,
        Err(_) => Err(RunError::Time(time)),
    }
}

/// A child that leads its own process group, which does not outlive this value unless it has answered.
struct Group(Child);

impl Group {
    async fn answer(&mut self) -> Result<Answer, RunError> {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let (stdout, stderr) = tokio::try_join!(read(stdout), read(stderr))?;
        // Only now, so that until here the child keeps its number and the group can be killed by it.
        let status = self.0.wait().await?;
        Ok(Answer { success: status.success(), stdout, stderr })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once the child has been collected it has no number any more, and the group may be somebody else's.
        let leader = self.0.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(leader) = leader {
            // The group may have gone by itself.
            _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, RunError> {
    let mut octets = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(LONGEST_OUTPUT + 1).read_to_end(&mut octets).await?;
    }
    match octets.len() as u64 > LONGEST_OUTPUT {
        true => Err(RunError::Size),
        false => Ok(octets),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::origin::testing::Scratch;

    #[tokio::test]
    async fn output_and_status_come_back() {
        let answer = run(shell("echo out; echo err >&2; pwd; exit 3"), SOON).await.expect("answer");
        assert!(!answer.success);
        assert_eq!((answer.stdout, answer.stderr), (b"out\n/\n".to_vec(), b"err\n".to_vec()));
    }

    #[tokio::test]
    async fn what_hangs_is_killed_with_all_it_started() {
        let scratch = Scratch::new();
        let pid_file = scratch.path("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
        let start = Instant::now();
        let outcome = run(shell(&script), Duration::from_millis(300)).await;
        assert!(matches!(outcome, Err(RunError::Time(_))));
        assert!(start.elapsed() < SOON);
        let pid: i32 = std::fs::read_to_string(pid_file).expect("pid").trim().parse().expect("number");
        ends(pid);
    }

    #[tokio::test]
    async fn endless_output_is_no_answer() {
        assert!(matches!(run(shell("exec yes"), SOON).await, Err(RunError::Size)));
        assert!(matches!(run(shell("exec yes >&2"), SOON).await, Err(RunError::Size)));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error() {
        let outcome = run(Command::new("/nonexistent"), SOON).await;
        assert!(matches!(outcome, Err(RunError::Start(_))));
    }

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// Waits for the end of a process that is not our child.
    fn ends(pid: i32) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::process::{PidfdFlags, pidfd_open};
        let Ok(pidfd) = pidfd_open(Pid::from_raw(pid).expect("pid"), PidfdFlags::empty()) else {
            return;
        };
        let mut events = [PollFd::new(&pidfd, PollFlags::IN)];
        let soon = Timespec { tv_sec: 10, tv_nsec: 0 };
        // The ends of other tests' children interrupt it.
        let ended = rustix::io::retry_on_intr(|| poll(&mut events, Some(&soon)));
        assert_eq!(ended, Ok(1), "process {pid} still runs");
    }
}
