//! The programs that are believed: an `ssh` that announces its sessions, and tools that cannot relay for others.
//!
//! A program is trusted as a file, by device and inode, opened when the agent starts; the name a process has for its program is
//! not looked at. A file that the package manager puts in its place is looked at again, by the same measure.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::Unknown;
use super::proc::{Executable, FileId};
use super::run::run;
use super::server;

/// The first `ssh` that announces its sessions to the agent.
pub const OLDEST_SSH: Version = Version { major: 8, minor: 9 };

/// How long `ssh -V` may take.
const PROBE_TIME: Duration = Duration::from_millis(500);
/// Files of one program that are remembered: a process may outlive an upgrade of its program, or several.
const MOST_GENERATIONS: usize = 4;
/// Permission to write for the group or for everyone.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A version of OpenSSH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// What a trusted program is trusted to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// OpenSSH's client.
    Ssh,
    /// Signs files and certificates, relays nothing: `ssh-keygen`.
    Signer,
    /// Manages the agent's keys and tests them, relays nothing: `ssh-add`.
    Manager,
    /// OpenSSH's server, which relays nothing before somebody has logged in: see [`server`](super::server).
    Server,
}

/// The programs that are trusted.
#[derive(Debug, Default)]
pub struct Trust(Vec<Program>);

#[derive(Debug)]
struct Program {
    path: PathBuf,
    role: Role,
    /// Newest first.
    generations: Mutex<Vec<Arc<TrustedFile>>>,
}

/// A trusted program's file, kept open so that its inode is given to no other file.
#[derive(Debug)]
pub struct TrustedFile {
    path: PathBuf,
    role: Role,
    file: OwnedFd,
    id: FileId,
    version: OnceCell<Version>,
}

impl Trust {
    /// Opens the programs that are `ssh`, and the others of OpenSSH where packages put them; its server for root only, whom alone it serves. See [`open`](Self::open).
    #[must_use]
    pub fn usual(ssh: &[PathBuf]) -> (Self, Vec<Unknown>) {
        let mut tools = vec!["/usr/bin/ssh-keygen".into(), "/usr/bin/ssh-add".into()];
        if rustix::process::getuid().is_root() {
            tools.extend(server::PROGRAMS.map(PathBuf::from).into_iter().filter(|program| program.exists()));
        }
        Self::open(ssh, &tools)
    }

    /// Opens the programs. What is missing or not to be trusted is left out and told, one sentence each; should it appear
    /// or be repaired later, it counts from then on.
    #[must_use]
    pub fn open(ssh: &[PathBuf], tools: &[PathBuf]) -> (Self, Vec<Unknown>) {
        let mut problems = Vec::new();
        let roles = ssh.iter().map(|path| (path, Role::Ssh)).chain(tools.iter().map(|path| (path, tool_role(path))));
        let programs = roles.map(|(path, role)| {
            let opened = TrustedFile::open(path, role).map_err(|problem| problems.push(problem));
            Program { path: path.clone(), role, generations: Mutex::new(opened.into_iter().map(Arc::new).collect()) }
        });
        (Self(programs.collect()), problems)
    }

    /// Which trusted program this is.
    ///
    /// # Errors
    /// It is none.
    pub fn recognise(&self, executable: &Executable) -> Result<Arc<TrustedFile>, Unknown> {
        sound(executable.owner, executable.mode)
            .map_err(|fault| Unknown::new(format!("its program {:?} {fault}", executable.path)))?;
        self.0
            .iter()
            .find_map(|program| program.file(executable.file))
            .ok_or_else(|| Unknown::new(format!("its program {:?} is not one that is trusted", executable.path)))
    }

    /// The trusted programs that are there, as they are now.
    pub fn programs(&self) -> impl Iterator<Item = Arc<TrustedFile>> {
        self.0.iter().filter_map(|program| {
            let generations = program.generations.lock().unwrap_or_else(PoisonError::into_inner);
            generations.first().map(Arc::clone)
        })
    }
}

impl Program {
    fn file(&self, id: FileId) -> Option<Arc<TrustedFile>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = generations.iter().find(|known| known.id == id) {
            return Some(Arc::clone(known));
        }
        // Perhaps the package manager has put another file in its place.
        let replaced = Arc::new(TrustedFile::open(&self.path, self.role).ok()?);
        (replaced.id == id).then(|| {
            generations.insert(0, Arc::clone(&replaced));
            generations.truncate(MOST_GENERATIONS);
            replaced
        })
    }
}

impl TrustedFile {
    fn open(path: &Path, role: Role) -> Result<Self, Unknown> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let problem = |reason: String| Unknown::new(format!("{} is not trusted: {reason}", path.display()));
        let file = openat(CWD, path, flags, Mode::empty()).map_err(|error| problem(error.to_string()))?;
        let stat: Stat = fstat(&file).map_err(|error| problem(error.to_string()))?;
        sound(stat.st_uid, stat.st_mode).map_err(|fault| problem(format!("it {fault}")))?;
        Ok(Self { path: path.to_owned(), role, file, id: FileId::of(&stat), version: OnceCell::new() })
    }

    /// What the program is trusted to be.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The path the program was configured with.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The program's version as it gives it itself (`ssh -V`), asked for once.
    ///
    /// # Errors
    /// It is not an OpenSSH or does not answer within half a second.
    pub async fn version(&self) -> Result<Version, Unknown> {
        self.version.get_or_try_init(|| self.probe()).await.copied()
    }

    async fn probe(&self) -> Result<Version, Unknown> {
        let mut command = self.command();
        command.arg("-V").env_clear();
        let answer = run(command, PROBE_TIME).await;
        let text = match &answer {
            Ok(answer) => String::from_utf8_lossy(&answer.stderr),
            Err(error) => return Err(Unknown::new(format!("{} -V: {error}", self.path.display()))),
        };
        parse_version(&text).ok_or_else(|| Unknown::new(format!("{} is not an OpenSSH", self.path.display())))
    }

    /// A command that runs this very file, whatever has been put in its place meanwhile.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_fd().as_raw_fd()));
        command.arg0(&self.path);
        command
    }
}

/// Whether nobody but the administrator can have made this file what it is.
fn sound(owner: u32, mode: u32) -> Result<(), &'static str> {
    if FileType::from_raw_mode(mode) != FileType::RegularFile {
        Err("is not a file")
    } else if owner != 0 {
        Err("is not owned by root")
    } else if mode & WRITABLE_BY_OTHERS != 0 {
        Err("can be written by others than root")
    } else {
        Ok(())
    }
}

fn tool_role(path: &Path) -> Role {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("ssh-add") => Role::Manager,
        Some("sshd" | "sshd-session") => Role::Server,
        _ => Role::Signer,
    }
}

/// Reads `OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19`.
fn parse_version(text: &str) -> Option<Version> {
    let (major, rest) = text.strip_prefix("OpenSSH_")?.split_once('.')?;
    let end = rest.find(|other: char| !other.is_ascii_digit()).unwrap_or(rest.len());
    let minor = rest.get(..end)?;
    Some(Version { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::origin::testing::Scratch;

    #[tokio::test]
    async fn the_system_s_ssh_is_recognised_and_tells_its_version() {
        let trust = trusting("/usr/bin/ssh");
        let ssh = trust.recognise(&executable(Path::new("/usr/bin/ssh"))).expect("trusted");
        assert_eq!(ssh.role(), Role::Ssh);
        assert!(ssh.version().await.expect("version") >= OLDEST_SSH);
    }

    #[test]
    fn another_program_is_not_recognised() {
        let trust = trusting("/usr/bin/ssh");
        assert!(trust.recognise(&executable(Path::new("/bin/cat"))).is_err());
    }

    #[test]
    fn a_copy_is_another_program() {
        let scratch = Scratch::new();
        let copy = scratch.path("ssh");
        std::fs::copy("/usr/bin/ssh", &copy).expect("copy");
        assert!(trusting("/usr/bin/ssh").recognise(&executable(&copy)).is_err());
    }

    #[test]
    fn a_program_that_others_can_change_is_not_trusted() {
        let fault = |owner, mode| sound(owner, mode).expect_err("unsound");
        assert_eq!(fault(1000, 0o100_755), "is not owned by root");
        assert_eq!(fault(0, 0o100_775), "can be written by others than root");
        assert_eq!(fault(0, 0o100_757), "can be written by others than root");
        assert_eq!(fault(0, 0o040_755), "is not a file");
        let scratch = Scratch::new();
        let copy = copied(&scratch, "/usr/bin/ssh");
        set_permissions(&copy, Permissions::from_mode(0o775)).expect("mode");
        let (trust, problems) = Trust::open(std::slice::from_ref(&copy), &[]);
        assert_eq!(problems.len(), 1);
        assert!(trust.recognise(&executable(&copy)).is_err());
    }

    #[test]
    fn a_program_that_becomes_writable_later_is_no_longer_trusted() {
        if !rustix::process::getuid().is_root() {
            return;
        }
        let scratch = Scratch::new();
        let copy = copied(&scratch, "/usr/bin/ssh");
        let trust = trusting(&copy);
        assert!(trust.recognise(&executable(&copy)).is_ok());
        set_permissions(&copy, Permissions::from_mode(0o757)).expect("mode");
        assert!(trust.recognise(&executable(&copy)).is_err());
    }

    #[test]
    fn an_upgrade_is_recognised_and_processes_of_the_old_file_stay_trusted() {
        if !rustix::process::getuid().is_root() {
            return;
        }
        let scratch = Scratch::new();
        let path = copied(&scratch, "/usr/bin/ssh");
        let trust = trusting(&path);
        let old = executable(&path);
        let next = scratch.path("next");
        std::fs::copy("/usr/bin/ssh-keygen", &next).expect("copy");
        std::fs::rename(&next, &path).expect("rename");
        let new = executable(&path);
        assert_ne!(old.file, new.file);
        assert!(trust.recognise(&new).is_ok());
        assert!(trust.recognise(&old).is_ok());
    }

    #[tokio::test]
    async fn what_is_not_openssh_has_no_version() {
        for path in ["/usr/bin/ssh-keygen", "/bin/cat"] {
            let trust = trusting(path);
            let program = trust.recognise(&executable(Path::new(path))).expect("trusted");
            assert!(program.version().await.is_err(), "{path}");
        }
    }

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        let version = |text| parse_version(text).map(|version| version.to_string());
        assert_eq!(version("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19"), Some("9.2".into()));
        assert_eq!(version("OpenSSH_10.5p1, LibreSSL"), Some("10.5".into()));
        assert_eq!(version("OpenSSH_8.9"), Some("8.9".into()));
        assert_eq!(version("Dropbear v2022.83"), None);
        assert_eq!(version("OpenSSH_x.1"), None);
        assert!(parse_version("OpenSSH_10.0p2").expect("ten") > OLDEST_SSH);
        assert!(parse_version("OpenSSH_8.7p1").expect("old") < OLDEST_SSH);
    }

    #[test]
    fn tools_are_told_apart_by_name() {
        assert_eq!(tool_role(Path::new("/usr/bin/ssh-add")), Role::Manager);
        assert_eq!(tool_role(Path::new("/usr/bin/ssh-keygen")), Role::Signer);
        assert_eq!(tool_role(Path::new("/usr/sbin/sshd")), Role::Server);
    }

    fn trusting(path: impl Into<PathBuf>) -> Trust {
        Trust::open(&[path.into()], &[]).0
    }

    fn copied(scratch: &Scratch, program: &str) -> PathBuf {
        let copy = scratch.path("program");
        std::fs::copy(program, &copy).expect("copy");
        copy
    }

    fn executable(path: &Path) -> Executable {
        let stat = fstat(File::open(path).expect("program")).expect("stat");
        Executable { path: path.to_owned(), file: FileId::of(&stat), owner: stat.st_uid, mode: stat.st_mode }
    }
}
