//! The policy follows its file: read again when the file changes, and when the agent is told to. A file that cannot be used changes
//! nothing, and that is said loudly.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::policies::Policies;
use crate::config::{Config, administrator};
use crate::origin::connection::Assessor;
use crate::policy::{Administrator, Policy};
use crate::sys;

/// Replaces the policy by what its file says now.
pub(super) struct Reload {
    /// The configuration file, whether or not it is there; none if the user has no folder for it.
    file: Option<PathBuf>,
    policies: Arc<Policies>,
    assessor: Arc<Assessor>,
}

/// The policy of a configuration, with the administrator's part.
pub(super) fn policy_of(config: &Config) -> Policy {
    let policy = config.policy.clone().with_administrator(administrator::read());
    if let Administrator::Unknown(reason) = &policy.administrator {
        tracing::error!("nothing is signed: {reason}");
    }
    policy
}

impl Reload {
    pub(super) fn new(file: Option<PathBuf>, policies: Arc<Policies>, assessor: Arc<Assessor>) -> Self {
        assessor.expect_hosts(policies.current().policy.host_names());
        Self { file, policies, assessor }
    }

    /// Reads the file because somebody says so. Without a file the defaults are in force.
    pub(super) fn on_demand(&self) {
        match self.file.as_ref().filter(|file| file.symlink_metadata().is_ok()) {
            Some(file) => self.read(file),
            None => self.take(&Config::default()),
        }
    }

    /// Follows the changes of the file, for ever.
    pub(super) async fn follow(&self) {
        if let Some(file) = &self.file
            && let Err(error) = self.follow_file(file).await
        {
            tracing::info!("changes of {} are not noticed ({error}); send HUP after one", file.display());
        }
        std::future::pending::<()>().await;
    }

    async fn follow_file(&self, file: &Path) -> io::Result<()> {
        let mut watch = Watch::new(file)?;
        loop {
            if watch.changed().await? {
                self.read(file);
                watch.follow_links(file);
            }
        }
    }

    fn read(&self, file: &Path) {
        match Config::load(file) {
            Ok(config) => self.take(&config),
            Err(error) => tracing::error!("the earlier policy stays in force: {error}"),
        }
    }

    fn take(&self, config: &Config) {
        let policy = config.policy.clone().with_administrator(administrator::read());
        if let Administrator::Unknown(reason) = &policy.administrator {
            tracing::error!("the earlier policy stays in force: {reason}");
            return;
        }
        self.assessor.expect_hosts(policy.host_names());
        if self.policies.replace(policy) {
            tracing::info!("a new policy is in force; earlier approvals are not");
        }
    }
}

/// Notices changes of a file by watching the folders that it, and the file that it may be a link to, are in: editors put a new file in the
/// place of the old one.
struct Watch {
    events: AsyncFd<OwnedFd>,
    names: Vec<(i32, OsString)>,
}

impl Watch {
    fn new(file: &Path) -> io::Result<Self> {
        let events = sys::watch(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?, Interest::READABLE)?;
        let mut watch = Self { events, names: Vec::new() };
        watch.add(file)?;
        watch.follow_links(file);
        Ok(watch)
    }

    fn add(&mut self, file: &Path) -> io::Result<()> {
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
            return Err(io::Error::other("it has no name"));
        };
        let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE;
        let watched = (inotify::add_watch(&self.events, folder, flags)?, name.to_owned());
        if !self.names.contains(&watched) {
            self.names.push(watched);
        }
        Ok(())
    }

    fn follow_links(&mut self, file: &Path) {
        if let Ok(real) = file.canonicalize()
            && let Err(error) = self.add(&real)
        {
            tracing::info!("changes of {} are not noticed ({error}); send HUP after one", real.display());
        }
    }

    /// Waits for something to happen in the folders; whether it has happened to the file.
    async fn changed(&mut self) -> io::Result<bool> {
        let mut ready = self.events.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(self.events.get_ref(), &mut buffer);
        let mut changed = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    let ours =
                        self.names.iter().any(|(watch, own)| *watch == event.wd() && Some(own.as_os_str()) == name);
                    changed |= ours || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                }
                Err(Errno::WOULDBLOCK) => {
                    ready.clear_ready();
                    return Ok(changed);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
