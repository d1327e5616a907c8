//! OpenSSH certificates for keys on tokens: files `*-cert.pub` in a folder, offered beside the key that they are for.
//!
//! A token holds the key, but has no place for such a certificate, and the authority makes a new one every day. So a folder is followed:
//! what is put there counts from the next request on. A file that cannot be used is named, and the others are served.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use base64ct::{Base64, Encoding as _};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use ssh_key::certificate::CertType;

use crate::backend::pkcs11::TokenKey;
use crate::backend::{BoxFuture, CannotDemand, Place, SignError, Signer};
use crate::errand::{Demands, Errand};
use crate::protocol::public_key::PublicKey;
use crate::protocol::signature::Wanted;

/// How the names of the files end that are read.
const ENDING: &str = "-cert.pub";
/// The longest file that is read, in octets; certificates with a hundred principals have a few KiB.
const LONGEST: u64 = 64 * 1024;
/// How many files are read; more are named and left alone.
const MOST: usize = 1024;

/// The certificates of the folder.
#[derive(Default)]
pub(super) struct Certificates {
    folder: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watch: Option<Watch>,
    read: Arc<Read>,
    /// When one of them begins or ceases to be valid, in seconds since 1970.
    next: Option<u64>,
}

/// What the folder held when it was read last.
#[derive(Default)]
pub(super) struct Read {
    /// The certificates, in the order of their files' names.
    pub(super) certificates: Vec<Found>,
    /// What is wrong with the other files, one line each.
    pub(super) problems: Vec<String>,
}

/// One certificate.
#[derive(Clone)]
pub(super) struct Found {
    /// Its file's name, safe to show.
    pub(super) file: String,
    /// The certificate.
    pub(super) public: PublicKey,
}

impl Certificates {
    /// The certificates of this folder, which may be missing, or be made later.
    pub(super) fn of(folder: Option<PathBuf>) -> Self {
        Self { folder, state: Mutex::default() }
    }

    /// What there is.
    pub(super) fn read(&self) -> Arc<Read> {
        Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner).read)
    }

    /// Reads the folder again if something happened in it; whether there are others now, or others are valid. While nothing happens this
    /// is two questions to the kernel.
    pub(super) fn refresh(&self) -> bool {
        let Some(folder) = &self.folder else { return false };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = state.next.is_some_and(|next| next <= now());
        let (happened, watch) = Watch::look(state.watch.take(), folder);
        state.watch = watch;
        if happened {
            let read = read_folder(folder);
            let news = read.problems.iter().filter(|problem| !state.read.problems.contains(problem));
            news.for_each(|problem| tracing::warn!("{problem}"));
            state.read = Arc::new(read);
        }
        if happened || is_due {
            let moments = state.read.certificates.iter().flat_map(|found| Validity::of(&found.public).moments());
            state.next = moments.filter(|moment| *moment > now()).min();
        }
        happened || is_due
    }

    /// Has the folder read again at the next request, whatever happened in it: what a link points to may be another file.
    pub(super) fn forget(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).watch = None;
    }
}

/// Tells whether something happened in a folder since the last look.
struct Watch {
    events: OwnedFd,
    folder: (u64, u64),
}

impl Watch {
    /// Looks; whether something may have happened. A folder that is not there is as good as an empty one.
    fn look(watch: Option<Self>, folder: &Path) -> (bool, Option<Self>) {
        let Ok(metadata) = std::fs::metadata(folder) else { return (watch.is_some(), None) };
        match watch.filter(|watch| watch.folder == identity(&metadata)) {
            Some(watch) => (watch.happened(), Some(watch)),
            // Before it is read, so that nothing that happens meanwhile is missed. Without a watch it is read each time.
            None => (true, Self::new(folder, &metadata).ok()),
        }
    }

    fn new(folder: &Path, metadata: &Metadata) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&events, folder, flags)?;
        Ok(Self { events, folder: identity(metadata) })
    }

    fn happened(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.events, &mut buffer);
        let mut happened = false;
        loop {
            match reader.next() {
                Ok(_) => happened = true,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return happened,
                Err(_) => return true,
            }
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn read_folder(folder: &Path) -> Read {
    let mut read = Read::default();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return read,
        Err(error) => {
            read.problems.push(format!("certificates in {}: {error}", folder.display()));
            return read;
        }
    };
    let is_one = |path: &PathBuf| path.as_os_str().as_encoded_bytes().ends_with(ENDING.as_bytes());
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_one).collect();
    files.sort();
    if files.len() > MOST {
        read.problems.push(format!("{} has {} certificates; the first {MOST} are used", folder.display(), files.len()));
    }
    for file in files.iter().take(MOST) {
        let name = crate::text::escape(file.file_name().unwrap_or_default().as_encoded_bytes());
        match read_file(file) {
            Ok(public) => read.certificates.push(Found { file: name, public }),
            Err(reason) => read.problems.push(format!("certificate {name}: {reason}")),
        }
    }
    read
}

fn read_file(path: &Path) -> Result<PublicKey, String> {
    // Waits for nobody who may be at the other end of a file that is not regular.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file: File = opened.map_err(|error| error.to_string())?;
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut octets = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut octets).map_err(|error| error.to_string())?;
    if octets.len() as u64 > LONGEST {
        return Err(format!("it is longer than {LONGEST} octets, which no certificate is"));
    }
    let text = std::str::from_utf8(&octets).map_err(|_| "it is not a line of text".to_owned())?;
    let public = of_line(text)?;
    match public.certificate().map(|certificate| certificate.cert_type()) {
        Some(CertType::User) => Ok(public),
        Some(CertType::Host) => Err("it is a host's certificate, and logs nobody in".to_owned()),
        None => Err("it is a plain public key, not a certificate".to_owned()),
    }
}

/// The key or certificate of a line as `ssh-keygen` writes it: type, base64, comment.
pub(super) fn of_line(line: &str) -> Result<PublicKey, String> {
    let not_one = || "it is not a certificate as ssh-keygen writes it".to_owned();
    let mut words = line.split_whitespace();
    let (kind, base64) = (words.next().ok_or_else(not_one)?, words.next().ok_or_else(not_one)?);
    let blob = Base64::decode_vec(base64).map_err(|_| not_one())?;
    let public = PublicKey::from_blob(&blob).map_err(|error| format!("{}: {error}", not_one()))?;
    match public.type_name() == kind {
        true => Ok(public),
        false => Err(not_one()),
    }
}

/// From when to when a certificate is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    after: u64,
    before: u64,
}

impl Validity {
    /// That of a certificate; a plain key is always valid.
    pub(super) fn of(public: &PublicKey) -> Self {
        let bounds = |certificate: &ssh_key::Certificate| (certificate.valid_after(), certificate.valid_before());
        let (after, before) = public.certificate().map_or((0, u64::MAX), bounds);
        Self { after, before }
    }

    fn moments(self) -> [u64; 2] {
        [self.after, self.before]
    }

    fn is_now(self) -> bool {
        (self.after..self.before).contains(&now())
    }

    /// When it ends, for people; `None` when it never does.
    pub(super) fn end(self) -> Option<String> {
        let moment = std::time::Duration::from_secs(self.before);
        // One beyond the year 9999 has no end.
        der::DateTime::from_unix_duration(moment).ok().map(|moment| moment.to_string())
    }

    /// How it is now, where that is not how it should be.
    fn fault(self) -> Option<&'static str> {
        match () {
            () if self.is_now() => None,
            () if self.before <= now() => Some("certificate expired"),
            () => Some("certificate not valid yet"),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A token's key under the name of a certificate. While that is not valid it is not offered: a login would spend one of the server's tries
/// on it.
pub(super) struct Certified {
    pub(super) key: Arc<TokenKey>,
    pub(super) validity: Validity,
}

impl Signer for Certified {
    fn sign<'a>(
        &'a self,
        data: &'a [u8],
        wanted: Wanted,
        errand: &'a Errand,
    ) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        self.key.sign(data, wanted, errand)
    }

    fn demands(&self) -> Demands {
        self.key.demands()
    }

    fn can_demand(&self, demands: Demands) -> Result<(), CannotDemand> {
        self.key.can_demand(demands)
    }

    fn is_there(&self) -> bool {
        self.key.is_there() && self.validity.is_now()
    }

    fn place(&self) -> Place {
        let place = self.key.place();
        match self.validity.fault() {
            Some(fault) => Place { state: fault.to_owned(), ..place },
            None => place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_line_with_a_key_is_refused() {
        for text in
            ["", "\n", "ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519-cert-v01@openssh.com AAAA", "a b c", "\0"]
        {
            assert!(of_line(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_said_unless_there_is_none() {
        let end = |before| Validity { after: 0, before }.end();
        assert_eq!(end(1_795_207_996).as_deref(), Some("2026-11-20T20:53:16Z"));
        assert_eq!(end(u64::MAX), None);
        assert_eq!(Validity { after: 0, before: 1 }.fault(), Some("certificate expired"));
        assert_eq!(Validity { after: u64::MAX - 1, before: u64::MAX }.fault(), Some("certificate not valid yet"));
        assert_eq!(Validity { after: 0, before: u64::MAX }.fault(), None);
    }
}
