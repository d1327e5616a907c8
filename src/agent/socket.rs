//! The socket that clients find the agent by.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::paths;

/// How many clients may queue before they are accepted, as with stock.
const BACKLOG: i32 = 128;
/// `sun_path` without its final zero (unix(7)).
const LONGEST_PATH: usize = 107;

/// A listening socket and the file that goes with it.
#[derive(Debug)]
pub struct AgentSocket {
    /// The listener.
    pub listener: UnixListener,
    /// Where clients find it.
    pub path: PathBuf,
    /// The file was made here, and goes with the agent.
    pub owned: bool,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path is longer than the system allows.
    #[error("socket path {path} has {length} octets; the system allows {LONGEST_PATH}: choose a shorter one with -a")]
    TooLong {
        /// The path.
        path: String,
        /// Its length in octets.
        length: usize,
    },
    /// An agent answers there.
    #[error(
        "bind: {path}: Address already in use: an agent is listening there; use it with SSH_AUTH_SOCK={path}, or choose another path with -a"
    )]
    InUse {
        /// The path.
        path: String,
    },
    /// Something is in the way.
    #[error(
        "bind: {path}: Address already in use: the file is left over or not a socket; remove it, or choose another path with -a"
    )]
    Occupied {
        /// The path.
        path: String,
    },
    /// Others could put their own socket in the place of this one.
    #[error(
        "folder {folder} may be written by others, who could replace the socket; choose another with -a, or chmod go-w it"
    )]
    OpenToOthers {
        /// The folder.
        folder: String,
    },
    /// The system refused.
    #[error("{path}: {error}")]
    System {
        /// The path.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

impl AgentSocket {
    /// Listens at a path that the user chose. Whatever is there already stays.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn at(path: &Path) -> Result<Self, SocketError> {
        let system = |error: io::Error| SocketError::System { path: path.display().to_string(), error };
        let length = path.as_os_str().len();
        if length > LONGEST_PATH {
            return Err(SocketError::TooLong { path: path.display().to_string(), length });
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        check_folder(folder)?;
        let address = SocketAddrUnix::new(path).map_err(|error| system(error.into()))?;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| system(error.into()))?;
        //= RFC 9987 section 6: Access to these endpoints SHOULD be controlled as discussed in Section 10.
        // 0600 from the first moment; a chmod afterwards would leave a gap.
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = rustix::net::bind(&socket, &address);
        rustix::process::umask(before);
        match bound {
            Ok(()) => {}
            Err(rustix::io::Errno::ADDRINUSE) => {
                let answer = connect(path);
                let path = path.display().to_string();
                return Err(match answer {
                    Ok(_) => SocketError::InUse { path },
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => SocketError::InUse { path },
                    Err(_) => SocketError::Occupied { path },
                });
            }
            Err(error) => return Err(system(error.into())),
        }
        rustix::net::listen(&socket, BACKLOG).map_err(|error| system(error.into()))?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { listener: UnixListener::from(socket), path, owned: true })
    }

    /// Listens at a path that is meant for this agent. A socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn replacing_stale(path: &Path) -> Result<Self, SocketError> {
        match Self::at(path) {
            Err(SocketError::Occupied { .. }) if is_stale(path) => {
                fs::remove_file(path)
                    .map_err(|error| SocketError::System { path: path.display().to_string(), error })?;
                Self::at(path)
            }
            result => result,
        }
    }

    /// Listens at the user's fixed place.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn well_known() -> Result<Self, SocketError> {
        //= RFC 9987 section 6: such as a default per-user location
        Self::replacing_stale(&private_folder()?.join("agent.sock"))
    }

    /// Tells the kernel that this process is the one that listens now, after the one that opened the socket has split it off: clients see
    /// its process id.
    pub fn claim(&self) {
        // The socket listens already; at worst it goes on under the old process id.
        let _ = rustix::net::listen(&self.listener, BACKLOG);
    }

    /// The agent that listens at the user's fixed place already: the path, and its process.
    pub fn running_at_well_known() -> Option<(PathBuf, u32)> {
        let path = private_folder().ok()?.join("agent.sock");
        let agent = rustix::net::sockopt::socket_peercred(connect(&path).ok()?).ok()?;
        let is_ours = agent.uid == rustix::process::getuid();
        is_ours.then(|| (path, agent.pid.as_raw_nonzero().get().unsigned_abs()))
    }

    /// Listens where ssh-agent does since 10.1: `~/.ssh/agent/s.HOST.agent.RANDOM`, out of reach for programs that may see `/tmp` only.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn in_home(clean: bool) -> Result<Self, SocketError> {
        let folder = home_folder()?;
        if clean {
            clean_stale(&folder, Some(&host_tag()));
        }
        loop {
            match Self::at(&folder.join(format!("s.{}.agent.{}", host_tag(), random_name()))) {
                Err(SocketError::InUse { .. } | SocketError::Occupied { .. }) => {}
                result => return result,
            }
        }
    }

    /// Listens where ssh-agent did before 10.1 (`-T`): in a folder of its own for temporary files.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn old_style() -> Result<Self, SocketError> {
        let folder = std::env::temp_dir().join(format!("ssh-{}", random_name()));
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| SocketError::System { path: folder.display().to_string(), error })?;
        Self::at(&folder.join(format!("agent.{}", std::process::id())))
    }

    /// Listens at a place nobody knows yet, for one command or one shell.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn private() -> Result<Self, SocketError> {
        let folder = private_folder()?;
        loop {
            match Self::at(&folder.join(format!("s.{}", random_name()))) {
                Err(SocketError::InUse { .. } | SocketError::Occupied { .. }) => {}
                result => return result,
            }
        }
    }
}

/// Removes stale sockets below `~/.ssh/agent`; those of other hosts too when the home is shared and `all_hosts` says so.
///
/// # Errors
/// There is no such folder and none can be made.
pub fn clean_home(all_hosts: bool) -> Result<(), SocketError> {
    let tag = (!all_hosts).then(host_tag);
    clean_stale(&home_folder()?, tag.as_deref());
    Ok(())
}

/// A socket is stale when it is more than an hour old and nobody answers.
fn clean_stale(folder: &Path, tag: Option<&str>) {
    const AGE: std::time::Duration = std::time::Duration::from_secs(3600);
    let prefix = tag.map_or_else(|| "s.".to_owned(), |tag| format!("s.{tag}."));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > AGE));
        let named = entry.file_name().to_string_lossy().starts_with(&prefix);
        if old && named && is_stale(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// `~/.ssh/agent`, made if need be.
fn home_folder() -> Result<PathBuf, SocketError> {
    let home = paths::home().ok_or_else(|| SocketError::System {
        path: "~/.ssh/agent".to_owned(),
        error: io::Error::other("HOME is not set"),
    })?;
    let folder = home.join(".ssh/agent");
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&folder)
        .map_err(|error| SocketError::System { path: folder.display().to_string(), error })?;
    Ok(folder)
}

/// The part of a socket's name that tells hosts with a common home apart: from the hash of the host's name, as OpenSSH makes it.
fn host_tag() -> String {
    let name = rustix::system::uname().nodename().to_bytes().to_vec();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, &name);
    letters(&hash.as_ref()[..10])
}

/// The folder for sockets of this user alone, made if need be.
fn private_folder() -> Result<PathBuf, SocketError> {
    let folder = paths::runtime();
    let system = |error: io::Error| SocketError::System { path: folder.display().to_string(), error };
    DirBuilder::new().mode(0o700).recursive(true).create(&folder).map_err(system)?;
    let metadata = fs::symlink_metadata(&folder).map_err(system)?;
    let owner = rustix::process::getuid().as_raw();
    match metadata.is_dir() && metadata.uid() == owner && metadata.mode() & 0o077 == 0 {
        true => Ok(folder),
        false => Err(SocketError::OpenToOthers { folder: folder.display().to_string() }),
    }
}

/// Others may write to the folder only where the sticky bit protects what they do not own.
fn check_folder(folder: &Path) -> Result<(), SocketError> {
    let metadata =
        fs::metadata(folder).map_err(|error| SocketError::System { path: folder.display().to_string(), error })?;
    let (others_write, sticky) = (metadata.mode() & 0o022 != 0, metadata.mode() & 0o1000 != 0);
    match others_write && !sticky {
        true => Err(SocketError::OpenToOthers { folder: folder.display().to_string() }),
        false => Ok(()),
    }
}

/// Where an agent notes that it was at a socket path, for those that come after it there.
///
/// # Errors
/// The user's folder for sockets cannot be made.
pub fn restart_marker(socket: &Path) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = private_folder().map_err(io::Error::other)?;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, socket.as_os_str().as_bytes());
    let name = crate::text::hex(&hash.as_ref()[..8]);
    Ok(folder.join(format!("was-at.{name}")))
}

/// Connects without waiting: a listener that is stuck, with a full queue, is `WouldBlock`.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

fn is_stale(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket && matches!(connect(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Ten characters out of letters and digits.
fn random_name() -> String {
    let mut octets = [0; 10];
    // Without randomness the name is taken at worst, and another is tried.
    let _ = aws_lc_rs::rand::fill(&mut octets);
    letters(&octets)
}

fn letters(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    octets.iter().map(|octet| char::from(ALPHABET[usize::from(*octet) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("hardkey-{name}-{}-{}", std::process::id(), random_name()));
        DirBuilder::new().mode(0o700).create(&folder).expect("new folder");
        folder
    }

    #[test]
    fn the_socket_is_for_its_owner_alone() {
        let folder = folder("mode");
        let socket = AgentSocket::at(&folder.join("s")).expect("free path");
        assert_eq!(fs::metadata(&socket.path).expect("bound").mode() & 0o777, 0o600);
        assert!(matches!(AgentSocket::at(&socket.path), Err(SocketError::InUse { .. })));
        drop(socket.listener);
        assert!(matches!(AgentSocket::at(&socket.path), Err(SocketError::Occupied { .. })));
        assert!(is_stale(&socket.path));
        fs::remove_dir_all(folder).expect("own folder");
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = folder("open");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("own folder");
        assert!(matches!(AgentSocket::at(&folder.join("s")), Err(SocketError::OpenToOthers { .. })));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).expect("own folder");
        assert!(AgentSocket::at(&folder.join("s")).is_ok());
        fs::remove_dir_all(folder).expect("own folder");
    }

    #[test]
    fn a_path_too_long_for_the_system_is_named_as_such() {
        let path = Path::new("/tmp").join("x".repeat(200));
        assert!(matches!(AgentSocket::at(&path), Err(SocketError::TooLong { length: 205, .. })));
    }
}
