//! The file that a local `ssh-keygen -Y sign` signs: named by its command line, and taken at its word only if the digest agrees.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest;

use crate::protocol::payload::MessageDigest;

/// Larger files are not read: octets.
const LARGEST: u64 = 4 << 20;
/// How long reading may take.
const READING_TIME: Duration = Duration::from_millis(500);

/// A file whose content is what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct SignedFile {
    /// Its name, as the command line has it. Escape before showing.
    pub(super) name: Vec<u8>,
    /// What it begins with that people know it by: the subject of a commit, else the first line. Escape before showing.
    pub(super) title: Vec<u8>,
}

/// Looks for the file among the operands of the command line.
pub(in crate::agent) async fn find(
    arguments: &[OsString],
    directory: Option<PathBuf>,
    signed: &MessageDigest<'_>,
) -> Option<SignedFile> {
    let algorithm = match signed.algorithm {
        b"sha512" => &digest::SHA512,
        b"sha256" => &digest::SHA256,
        _ => return None,
    };
    let (names, expected) = (operands(arguments)?, signed.digest.to_vec());
    let look = move || {
        names.into_iter().find_map(|name| {
            let path = directory.as_ref().map_or_else(|| PathBuf::from(&name), |directory| directory.join(&name));
            let content = read(&path)?;
            let agrees = digest::digest(algorithm, &content).as_ref() == expected;
            agrees.then(|| SignedFile { name: name.as_bytes().to_vec(), title: title(&content).to_vec() })
        })
    };
    tokio::time::timeout(READING_TIME, tokio::task::spawn_blocking(look)).await.ok()?.ok()?
}

/// What is left of `ssh-keygen -Y sign [options] file ...` without its options; the ones with an argument are ssh-keygen(1)'s.
fn operands(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let mut words = arguments.iter().skip(1);
    let (mut names, mut signs) = (Vec::new(), false);
    while let Some(word) = words.next() {
        let octets = word.as_bytes();
        match octets {
            b"--" => names.extend(words.by_ref().cloned()),
            [b'-', letters @ ..] if !letters.is_empty() => {
                let Some(at) = letters.iter().position(|letter| b"fnOYIsrV".contains(letter)) else { continue };
                let own = &letters[at + 1..];
                let argument = if own.is_empty() { words.next().map(|word| word.as_bytes())? } else { own };
                signs |= letters[at] == b'Y' && argument == b"sign";
            }
            _ => names.push(word.clone()),
        }
    }
    signs.then_some(names)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    // A pipe would make the agent wait for whoever holds its other end.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= LARGEST).then_some(content)
}

/// The subject of git's commits and tags, which come after their header and an empty line; else the first line.
fn title(content: &[u8]) -> &[u8] {
    let is_git = content.starts_with(b"tree ") || content.starts_with(b"object ");
    let body = match content.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) if is_git => &content[at + 2..],
        _ => content,
    };
    body.split(|octet| *octet == b'\n').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(command: &str) -> Option<Vec<OsString>> {
        operands(&command.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn files_are_found_among_the_options() {
        let one = Some(vec![OsString::from("message")]);
        for command in [
            "ssh-keygen -Y sign -n git -f key message",
            "ssh-keygen -Ysign -ngit -fkey -U message",
            "ssh-keygen -q -Y sign -U -n git -f key -O hashalg=sha256 -- message",
        ] {
            assert_eq!(named(command), one, "{command}");
        }
        assert_eq!(named("ssh-keygen -Y sign -n git -f key"), Some(Vec::new()));
        assert_eq!(named("ssh-keygen -Y verify -n git message"), None);
        assert_eq!(named("ssh-keygen -f key message"), None);
        assert_eq!(named("ssh-keygen -Y"), None);
    }

    #[test]
    fn commits_are_known_by_their_subject_and_other_texts_by_their_first_line() {
        assert_eq!(title(b"tree 1\nauthor a\n\nFix it\n\nLong story\n"), b"Fix it");
        assert_eq!(title(b"Dear all,\n\nFix it\n"), b"Dear all,");
        assert_eq!(title(b""), b"");
    }
}
