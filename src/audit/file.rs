//! The file of a log, the audit log or the agent's own: appended to whole lines at a time, set aside when it is full.
//!
//! Several agents of one user may write the same file. Each takes the file's lock for what it does, and notices when another has set the file
//! aside.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

/// The log on disk.
pub(crate) struct LogFile {
    path: PathBuf,
    /// A file above this many octets is set aside.
    limit: u64,
    /// How many files there are at most, the current one included.
    count: u32,
    open: Option<File>,
}

impl LogFile {
    pub(crate) const fn new(path: PathBuf, limit: u64, count: u32) -> Self {
        Self { path, limit, count, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines, all or none of them.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let (mut file, mut before) = self.current()?;
        if before >= self.limit {
            self.set_aside()?;
            (file, before) = self.current()?;
        }
        let written = file.write_all(lines);
        if written.is_err() {
            // A line cut off by a full disk would spoil the next one.
            let _ = file.set_len(before);
        }
        let released = flock(&file, FlockOperation::Unlock);
        self.open = Some(file);
        written.and(released.map_err(io::Error::from))
    }

    /// The file that is at the path now, locked, and how long it is: octets.
    fn current(&mut self) -> io::Result<(File, u64)> {
        loop {
            let file = match self.open.take() {
                Some(file) => file,
                None => self.create()?,
            };
            flock(&file, FlockOperation::LockExclusive)?;
            let ours = file.metadata()?;
            match fs::metadata(&self.path) {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok((file, ours.len()));
                }
                // Somebody has set it aside or removed it; closing it gives up its lock.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn create(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
        }
        // A pipe would make the writer wait for whoever holds its other end.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if metadata.mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(file)
    }

    /// Renames the file to `.1`, the one before to `.2`, and so on; the oldest is overwritten.
    fn set_aside(&self) -> io::Result<()> {
        if self.count < 2 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.count - 1).rev() {
            match fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }
}

/// The name of a file that was set aside: `audit.jsonl.1` is the latest.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("hardkey-audit-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn log(&self, limit: u64, count: u32) -> LogFile {
            LogFile::new(self.0.join("below/audit.jsonl"), limit, count)
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join("below").join(name)).unwrap_or_default()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_full_file_is_set_aside_and_the_oldest_goes() {
        let folder = Folder::new("rotate");
        let mut log = folder.log(4, 3);
        for line in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n"] {
            log.append(line.as_bytes()).expect("append");
        }
        let files = ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.3"].map(|name| folder.read(name));
        assert_eq!(files, ["dddd\n", "cccc\n", "bbbb\n", ""]);
        let mode = fs::metadata(log.path()).expect("a file").mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn two_writers_of_one_file_lose_nothing() {
        let folder = Folder::new("two");
        let writers = ["a", "b"].map(|name| {
            let mut log = folder.log(50, 100);
            std::thread::spawn(move || {
                for number in 0..100 {
                    log.append(format!("{name}{number}\n").as_bytes()).expect("append");
                }
            })
        });
        writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
        let names = std::iter::once("audit.jsonl".to_owned()).chain((1..100).map(|n| format!("audit.jsonl.{n}")));
        let lines: usize = names.map(|name| folder.read(&name).lines().count()).sum();
        assert_eq!(lines, 200);
    }

    #[test]
    fn a_file_that_others_could_read_is_closed_to_them_and_a_removed_one_made_anew() {
        let folder = Folder::new("modes");
        let mut log = folder.log(1000, 2);
        log.append(b"one\n").expect("append");
        fs::remove_file(log.path()).expect("remove");
        fs::write(log.path(), "").expect("write");
        fs::set_permissions(log.path(), Permissions::from_mode(0o644)).expect("chmod");
        log.append(b"two\n").expect("append");
        assert_eq!(folder.read("audit.jsonl"), "two\n");
        assert_eq!(fs::metadata(log.path()).expect("a file").mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_file_is_not_written_to() {
        let folder = Folder::new("kinds");
        let mut log = folder.log(1000, 2);
        fs::create_dir_all(log.path()).expect("a folder in its place");
        assert!(log.append(b"one\n").is_err());
        let mut null = LogFile::new("/dev/null".into(), 1000, 2);
        assert!(null.append(b"one\n").is_err());
    }
}
