//! What the user's `known_hosts` files say about a host key: sshd(8) "SSH_KNOWN_HOSTS FILE FORMAT".
//!
//! The question here is the other way round from `ssh`'s: the key is given, and whether it is the key of one certain host. So
//! a line is looked at only when its key is the one in question, which makes files of any length cheap, hashed or not.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Base64Unpadded, Encoding as _};
use ssh_key::certificate::CertType;
use ssh_key::{Certificate, PublicKey};

use super::Unknown;
use super::host_pattern::{field_names, literal_names};
use crate::pattern;
use crate::text;

/// Longer lines are skipped: octets.
const LONGEST_LINE: u64 = 64 * 1024;
/// More names than this are not collected for one key.
const MOST_NAMES: usize = 16;

/// A host key or host certificate, prepared for being looked for.
#[derive(Debug, Clone)]
pub struct HostKey {
    /// The keys, in base64, that a line for this host may hold: the key itself, or a certificate's plain key.
    plain: String,
    /// The certificate itself in base64, which a line may revoke.
    whole: String,
    certificate: Option<HostCertificate>,
}

#[derive(Debug, Clone)]
struct HostCertificate {
    authority: String,
    principals: Vec<String>,
    valid: std::ops::Range<u64>,
}

/// The names under which `ssh` looks for a host's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostName {
    /// What to look for, any of them.
    lookups: Vec<String>,
    /// What a certificate must name.
    principal: String,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

/// What the files say about a key for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is the host's key, by this line.
    Known(Place),
    /// It must not be accepted for this host, by this line; this outweighs every other.
    Revoked(Place),
    /// No line connects this key with this host.
    Unknown,
}

/// A name that a key is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownName {
    /// The name, with its port when it is not 22, as in the file. Escape before showing.
    pub name: String,
    /// The line that says so.
    pub place: Place,
}

impl HostKey {
    /// Reads a host key or host certificate from its wire form. A certificate's own signature is not verified here: that
    /// is part of verifying the bind it came with ([`VerifiedBind::verify`](super::binds::VerifiedBind::verify)).
    ///
    /// # Errors
    /// The octets are a certificate that is not a host's, has critical options, or cannot be read.
    pub fn from_wire(blob: &[u8]) -> Result<Self, Unknown> {
        let whole = Base64::encode_string(blob);
        let kind = key_type(blob).ok_or_else(|| Unknown::new("the host key does not name its type"))?;
        if !kind.ends_with(b"-cert-v01@openssh.com") {
            return Ok(Self { plain: whole.clone(), whole, certificate: None });
        }
        let unreadable = |error: ssh_key::Error| {
            let error = text::excerpt(error.to_string().as_bytes());
            Unknown::new(format!("the host certificate cannot be read: {error}"))
        };
        let certificate = Certificate::from_bytes(blob).map_err(unreadable)?;
        if certificate.cert_type() != CertType::Host {
            return Err(Unknown::new("the host presented a certificate that is not for hosts"));
        }
        if !certificate.critical_options().is_empty() {
            return Err(Unknown::new("the host certificate has critical options, which nobody knows for hosts"));
        }
        let encoded = |key: &ssh_key::public::KeyData| {
            PublicKey::from(key.clone()).to_bytes().map(|blob| Base64::encode_string(&blob)).map_err(unreadable)
        };
        Ok(Self {
            plain: encoded(certificate.public_key())?,
            whole,
            certificate: Some(HostCertificate {
                authority: encoded(certificate.signature_key())?,
                principals: certificate.valid_principals().to_vec(),
                valid: certificate.valid_after()..certificate.valid_before(),
            }),
        })
    }
}

impl HostKey {
    /// Whether this is a certificate, which is judged by the time of day, too.
    pub(super) const fn is_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    /// The key or certificate in base64.
    pub(super) fn base64(&self) -> &str {
        &self.whole
    }

    /// The `SHA256:` fingerprint of the key, for a certificate of the plain key in it, as `ssh` shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let blob = Base64::decode_vec(&self.plain).unwrap_or_default();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &blob);
        format!("SHA256:{}", Base64Unpadded::encode_string(hash.as_ref()))
    }
}

impl HostCertificate {
    fn names(&self, host: &str, now: u64) -> bool {
        let principal = |own: &String| pattern::matches(own, host);
        self.valid.contains(&now) && self.principals.iter().any(principal)
    }
}

impl HostName {
    /// The names `ssh` uses for a host: the alias alone if the configuration gives one (`HostKeyAlias`), else name and port,
    /// and, for a port that is not 22, the bare name as well.
    #[must_use]
    pub fn new(hostname: &str, port: u16, alias: Option<&str>) -> Self {
        let hostname = hostname.to_ascii_lowercase();
        match (alias, port) {
            (Some(alias), _) => Self { lookups: vec![alias.to_owned()], principal: alias.to_owned() },
            (None, 22) => Self { lookups: vec![hostname.clone()], principal: hostname },
            (None, _) => Self { lookups: vec![format!("[{hostname}]:{port}"), hostname.clone()], principal: hostname },
        }
    }

    /// The names themselves, the most special first.
    pub(super) fn lookups(&self) -> &[String] {
        &self.lookups
    }

    fn is_in(&self, field: &[u8]) -> bool {
        self.lookups.iter().any(|host| field_names(field, host))
    }
}

/// Whether `key` is the key of `host` according to `files`. Reads them to their ends, since a line that revokes may come last;
/// files that are missing or unreadable say nothing, as for `ssh`. Blocks for as long as reading takes.
#[must_use]
pub fn find(files: &[PathBuf], host: &HostName, key: &HostKey, now: SystemTime) -> Answer {
    let mut answer = Answer::Unknown;
    for file in files {
        let outcome = open(file).and_then(|reader| match reader {
            Some(reader) => find_in(reader, file, host, key, now),
            None => Ok(Answer::Unknown),
        });
        match outcome {
            Ok(revoked @ Answer::Revoked(_)) => return revoked,
            Ok(known) if answer == Answer::Unknown => answer = known,
            Ok(_) => {}
            Err(error) => tracing::debug!(file = %file.display(), %error, "known hosts not read"),
        }
    }
    answer
}

/// What one file's `content` says; the [`Place`] in the answer names `file`.
///
/// # Errors
/// The content could not be read to its end.
pub fn find_in(
    content: impl BufRead,
    file: &Path,
    host: &HostName,
    key: &HostKey,
    now: SystemTime,
) -> io::Result<Answer> {
    let now = since_epoch(now);
    let mut answer = Answer::Unknown;
    each_line(content, |number, line| {
        if !line.holds(key) || !host.is_in(line.hosts) {
            return;
        }
        let place = || Place { file: file.to_owned(), line: number };
        match line.verdict(key, &host.principal, now) {
            Verdict::Revoked => answer = Answer::Revoked(place()),
            Verdict::Known if answer == Answer::Unknown => answer = Answer::Known(place()),
            Verdict::Known | Verdict::Nothing => {}
        }
    })?;
    Ok(answer)
}

/// The first line that has a key of `host`, whichever key it is. Blocks for as long as reading takes.
#[must_use]
pub fn line_of(files: &[PathBuf], host: &HostName) -> Option<Place> {
    files.iter().find_map(|file| {
        let mut found = None;
        let outcome = each_line(open(file).ok()??, |number, line| {
            if found.is_none() && line.marker != Marker::Revoked && host.is_in(line.hosts) {
                found = Some(Place { file: file.clone(), line: number });
            }
        });
        outcome.ok().and(found)
    })
}

/// The names `key` is known by, at most 16. Lines with hashed names are tried with `candidates`, each written as `name` or
/// `[name]:port`. Blocks for as long as reading takes.
#[must_use]
pub fn names_of(files: &[PathBuf], key: &HostKey, candidates: &[String], now: SystemTime) -> Vec<KnownName> {
    let mut names: Vec<KnownName> = Vec::new();
    for file in files {
        let outcome = open(file).and_then(|reader| match reader {
            Some(reader) => names_in(reader, file, key, candidates, now, &mut names),
            None => Ok(()),
        });
        if let Err(error) = outcome {
            tracing::debug!(file = %file.display(), %error, "known hosts not read");
        }
    }
    names
}

/// Adds to `names` those that one file's `content` knows `key` by.
///
/// # Errors
/// The content could not be read to its end.
pub fn names_in(
    content: impl BufRead,
    file: &Path,
    key: &HostKey,
    candidates: &[String],
    now: SystemTime,
    names: &mut Vec<KnownName>,
) -> io::Result<()> {
    let now = since_epoch(now);
    each_line(content, |number, line| {
        if !line.holds(key) {
            return;
        }
        let principals = key.certificate.iter().flat_map(|certificate| &certificate.principals);
        let guesses = candidates.iter().chain(principals).map(String::as_str);
        let guessed = guesses.filter(|guess| field_names(line.hosts, guess));
        for name in literal_names(line.hosts).chain(guessed) {
            // As `ssh` asks: in lower case, and not when the same line takes the name back.
            let named = field_names(line.hosts, name)
                && line.verdict(key, &bare(name).to_ascii_lowercase(), now) == Verdict::Known;
            if named && names.len() < MOST_NAMES && names.iter().all(|known| known.name != name) {
                let place = Place { file: file.to_owned(), line: number };
                names.push(KnownName { name: name.to_owned(), place });
            }
        }
    })
}

/// Seconds since 1970, as certificates count.
fn since_epoch(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `[name]:port` without its port.
fn bare(name: &str) -> &str {
    name.strip_prefix('[').and_then(|name| name.split_once("]:")).map_or(name, |(name, _)| name)
}

/// A line that is neither blank nor a comment nor garbage.
struct Line<'a> {
    marker: Marker,
    hosts: &'a [u8],
    kind: &'a [u8],
    key: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    CertAuthority,
    Revoked,
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Known,
    Revoked,
    Nothing,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words =
            line.split(|octet| matches!(octet, b' ' | b'\t' | b'\r' | b'\n')).filter(|word| !word.is_empty());
        let first = words.next().filter(|word| !word.starts_with(b"#"))?;
        let (marker, hosts) = match first {
            b"@cert-authority" => (Marker::CertAuthority, words.next()?),
            b"@revoked" => (Marker::Revoked, words.next()?),
            _ if first.starts_with(b"@") => return None,
            hosts => (Marker::None, hosts),
        };
        Some(Self { marker, hosts, kind: words.next()?, key: words.next()? })
    }

    /// Whether the line is about this key at all.
    fn holds(&self, key: &HostKey) -> bool {
        let authority = key.certificate.as_ref().map(|certificate| &certificate.authority);
        [Some(&key.plain), Some(&key.whole), authority].into_iter().flatten().any(|known| known.as_bytes() == self.key)
    }

    /// What the line, which holds this key and names this host, says.
    fn verdict(&self, key: &HostKey, principal: &str, now: u64) -> Verdict {
        let known = match self.marker {
            Marker::Revoked => return Verdict::Revoked,
            Marker::CertAuthority => key.certificate.as_ref().is_some_and(|certificate| {
                certificate.authority.as_bytes() == self.key && certificate.names(principal, now)
            }),
            Marker::None => key.plain.as_bytes() == self.key,
        };
        match known && self.kind_is_the_keys() {
            true => Verdict::Known,
            false => Verdict::Nothing,
        }
    }

    fn kind_is_the_keys(&self) -> bool {
        std::str::from_utf8(self.key)
            .ok()
            .and_then(|key| Base64::decode_vec(key).ok())
            .is_some_and(|blob| key_type(&blob) == Some(self.kind))
    }
}

/// The name of a key's type, with which its wire form starts.
fn key_type(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Calls `visit` with each line that may mean something, and its number from 1.
fn each_line(mut reader: impl BufRead, mut visit: impl FnMut(usize, &Line<'_>)) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
            reader.skip_until(b'\n')?;
            continue;
        }
        if let Some(line) = Line::parse(&line) {
            visit(number, &line);
        }
    }
    Ok(())
}

/// Opens a file without waiting for whoever may be at the other end of it; what is no plain file holds no lines.
fn open(path: &Path) -> io::Result<Option<BufReader<File>>> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then(|| BufReader::with_capacity(256 * 1024, file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;
