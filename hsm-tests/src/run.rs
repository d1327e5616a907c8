//! Running a program to its end, with a time limit and everything it said.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::background::Background;
use crate::home::Home;

/// A program about to run in a [`Home`].
///
/// Output goes to files, not pipes: a daemon that it leaves behind cannot make the test wait.
pub struct Task {
    home: Home,
    command: Command,
    input: Vec<u8>,
    limit: Duration,
}

/// How a program ended and what it said.
pub struct Outcome {
    /// Exit status or signal.
    pub status: ExitStatus,
    /// Standard output; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Standard error; bytes that are no UTF-8 are replaced.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
    description: String,
    home: Home,
}

impl Task {
    pub(crate) fn new(home: &Home, program: &OsStr) -> Self {
        let mut command = Command::new(program);
        command.env_clear().envs(home.environment()).current_dir(home.path("home"));
        Self { home: home.clone(), command, input: Vec::new(), limit: Duration::from_secs(30) }
    }

    /// Appends an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets several environment variables.
    #[must_use]
    pub fn envs(mut self, variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>) -> Self {
        self.command.envs(variables);
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs in this directory instead of the home directory.
    #[must_use]
    pub fn directory(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    /// What the program reads from standard input; nothing by default.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// The longest it may take (30 seconds by default).
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// When it cannot be started or is not done in time; the text has its output and all logs.
    pub fn run(mut self) -> Outcome {
        let description = self.description();
        let scratch = tempfile::tempdir_in(self.home.path("tmp")).expect("make a directory for the output");
        let [input, stdout, stderr] = ["input", "stdout", "stderr"].map(|name| scratch.path().join(name));
        fs::write(&input, &self.input).expect("write the input");
        self.command.stdin(open(&input)).stdout(create(&stdout)).stderr(create(&stderr));

        let start = Instant::now();
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("start {description}: {error}"));
        let in_time = ends_within(Pid::from_child(&child), self.limit);
        if !in_time {
            let _ = child.kill();
        }
        let status = child.wait().expect("wait for a child");
        let outcome = Outcome {
            status,
            stdout: text(&stdout),
            stderr: text(&stderr),
            took: start.elapsed(),
            description,
            home: self.home,
        };
        assert!(in_time, "not done after {:?}: {}", self.limit, outcome.report());
        outcome
    }

    /// Starts the program and lets it run; its output goes to the log `name`.
    pub fn start(mut self, name: &str) -> Background {
        let description = self.description();
        let log = self.home.log_file(name);
        let output = create(&log);
        self.command
            .stdin(Stdio::null())
            .stderr(output.try_clone().expect("duplicate the log's handle"))
            .stdout(output);
        let child = self.command.spawn().unwrap_or_else(|error| panic!("start {description}: {error}"));
        Background::new(&self.home, child, description, log)
    }

    fn description(&self) -> String {
        let words: Vec<OsString> = std::iter::once(self.command.get_program())
            .chain(self.command.get_args())
            .map(OsStr::to_os_string)
            .collect();
        words.join(OsStr::new(" ")).to_string_lossy().into_owned()
    }
}

impl Outcome {
    /// The outcome of a program that must succeed.
    ///
    /// # Panics
    /// When the exit status is not 0; the text has its output and all logs.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert!(self.status.success(), "{}", self.report());
        self
    }

    /// The outcome of a program that must fail.
    ///
    /// # Panics
    /// When the exit status is 0; the text has its output and all logs.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(!self.status.success(), "should have failed: {}", self.report());
        self
    }

    /// The exit status; `None` if a signal ended the program.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended the program.
    #[must_use]
    pub fn ended_by(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Everything known, for failure texts.
    #[must_use]
    pub fn report(&self) -> String {
        format!(
            "{}\n{} after {:?}\n---- stdout ----\n{}---- stderr ----\n{}{}",
            self.description,
            self.status,
            self.took,
            self.stdout,
            self.stderr,
            self.home.logs()
        )
    }
}

/// Whether the child ends in time. The child stays uncollected.
pub(crate) fn ends_within(pid: Pid, limit: Duration) -> bool {
    let handle = pidfd_open(pid, PidfdFlags::empty()).expect("open a pidfd of a child");
    let timeout =
        Timespec { tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: i64::from(limit.subsec_nanos()) };
    poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)).expect("wait for a child's end") > 0
}

pub(crate) fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn open(path: &Path) -> File {
    File::open(path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()))
}

fn create(path: &Path) -> File {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|error| panic!("create {}: {error}", path.display()))
}
