//! The private world of one test.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tempfile::TempDir;

use crate::binary::agent_binary;
use crate::processes::{adopt_orphans, end_descendants};
use crate::run::Task;

/// A private directory with an environment to go with it. Clones are handles to the same home.
///
/// When the last handle goes, every process started below this one is killed, the directory is removed, and if the test is failing the
/// logs are printed first. A process has one home at a time, because "everything below this process" would otherwise be another test's;
/// `cargo nextest` gives each test its own process, with plain `cargo test` the tests of one file take turns.
#[derive(Clone)]
pub struct Home {
    inner: Arc<Inner>,
}

struct Inner {
    directory: TempDir,
    _turn: Turn,
}

impl Home {
    /// Waits for its turn in this process and makes the directories.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "taking a turn is no default value")]
    pub fn new() -> Self {
        let turn = Turn::take();
        adopt_orphans();
        let directory =
            tempfile::Builder::new().prefix("hk-").tempdir().expect("make a private directory for the test");
        let home = Self { inner: Arc::new(Inner { directory, _turn: turn }) };
        for name in ["home", "run", "state", "config", "tmp", "log", "bin", "dialogs"] {
            home.directory(name);
        }
        // Without it the agent would look for every module that this machine has.
        home.directory("config/hardkey");
        home.file("config/hardkey/config.toml", "discover = false\n");
        symlink(agent_binary(), home.path("bin/hardkey")).expect("link the agent binary into the test's PATH");
        // The one that this machine prefers is whichever was installed last.
        symlink("/usr/bin/pinentry-curses", home.path("dialogs/pinentry")).expect("link a pinentry");
        home
    }

    /// A path inside the private directory; nothing is created.
    #[must_use]
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.inner.directory.path().join(relative)
    }

    /// Makes a directory that only the owner can enter, if it is not there yet.
    pub fn directory(&self, relative: impl AsRef<Path>) -> PathBuf {
        let path = self.path(relative);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
        path
    }

    /// Writes a file that only the owner can read.
    pub fn file(&self, relative: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        self.file_with_mode(relative, content, 0o600)
    }

    /// Writes a program that the owner can run.
    pub fn program(&self, relative: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        self.file_with_mode(relative, content, 0o700)
    }

    /// A path in the log directory; everything there is shown when a test fails.
    #[must_use]
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.path("log").join(name)
    }

    /// All logs with their names, for failure texts.
    #[must_use]
    pub fn logs(&self) -> String {
        self.inner.logs()
    }

    /// A program to be run in this home's environment, without an agent.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Task {
        Task::new(self, program.as_ref())
    }

    /// The whole environment of a program in this home: nothing is inherited but the search path.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let inherited = std::env::var_os("PATH")
            .unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
        let mut search: OsString = self.path("bin").into();
        search.push(":");
        search.push(self.path("dialogs"));
        search.push(":");
        search.push(inherited);
        let mut environment = vec![
            ("PATH", search),
            ("HOME", self.path("home").into()),
            ("TMPDIR", self.path("tmp").into()),
            ("XDG_RUNTIME_DIR", self.path("run").into()),
            ("XDG_STATE_HOME", self.path("state").into()),
            ("XDG_CONFIG_HOME", self.path("config").into()),
            ("LC_ALL", "C.UTF-8".into()),
            ("SHELL", "/bin/sh".into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_TERMINAL_PROMPT", "0".into()),
        ];
        // So that whoever looks for a bug can ask for more.
        for name in ["HARDKEY_LOG", "RUST_BACKTRACE"] {
            environment.extend(std::env::var_os(name).map(|value| (name, value)));
        }
        environment
    }

    fn file_with_mode(&self, relative: impl AsRef<Path>, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path(relative);
        let explain = |error| -> () { panic!("write {}: {error}", path.display()) };
        fs::write(&path, content).unwrap_or_else(explain);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap_or_else(explain);
        path
    }
}

impl Inner {
    fn logs(&self) -> String {
        let mut text = String::new();
        let mut files: Vec<PathBuf> = fs::read_dir(self.directory.path().join("log"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        files.push(self.directory.path().join("state/hardkey/agent.log"));
        files.sort();
        for file in files {
            if let Ok(content) = fs::read(&file)
                && !content.is_empty()
            {
                let _ = writeln!(text, "---- {} ----\n{}", file.display(), String::from_utf8_lossy(&content));
            }
        }
        text
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        end_descendants();
    }
}

/// The right to be the one home of this process.
struct Turn;

static TAKEN: Mutex<bool> = Mutex::new(false);
static FREED: Condvar = Condvar::new();

impl Turn {
    fn take() -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = FREED.wait_while(taken, |taken| *taken).unwrap_or_else(PoisonError::into_inner);
        *taken = true;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = false;
        FREED.notify_one();
    }
}
