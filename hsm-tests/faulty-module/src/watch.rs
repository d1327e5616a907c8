//! Waiting for a file to be written or replaced.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};

/// Changes in the directory of one file; watching the directory survives that the file is replaced by renaming.
pub(crate) struct Watch {
    inotify: OwnedFd,
}

impl Watch {
    /// Begins to watch; whoever reads the file after this cannot miss a later change.
    pub(crate) fn around(path: &Path) -> io::Result<Self> {
        let directory = path.parent().filter(|parent| *parent != OsStr::new("")).unwrap_or(Path::new("."));
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        add_watch(
            &inotify,
            directory,
            WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE,
        )?;
        Ok(Self { inotify })
    }

    /// Blocks until something has changed since the last time, at most for `timeout`.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], timeout.as_ref())?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        while events.next().is_ok() {}
        Ok(())
    }
}
