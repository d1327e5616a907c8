//! The keys that an `ssh`'s configuration names (`IdentityFile` in ssh_config(5)), by their public halves.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};

/// A public key is shorter: octets.
const LONGEST_FILE: u64 = 64 * 1024;
/// More files than this are not looked at.
const MOST_FILES: usize = 32;

/// The files that hold the public halves: beside what is named, or what is named itself, for keys that are on a token. Names that leave
/// something to be expanded other than the home are left out.
pub(super) fn candidates(names: &[String], home: Option<&Path>) -> Vec<PathBuf> {
    let written_out = |name: &String| {
        let path = match name.strip_prefix("~/").or_else(|| name.strip_prefix("%d/")) {
            Some(rest) => home?.join(rest),
            None => PathBuf::from(name),
        };
        let text = path.to_string_lossy();
        (path.is_absolute() && !text.contains('%') && !text.contains("${")).then_some(path)
    };
    let files = names.iter().filter_map(written_out).take(MOST_FILES);
    files
        .flat_map(|path| {
            let mut beside = path.clone().into_os_string();
            beside.push(".pub");
            [PathBuf::from(beside), path]
        })
        .collect()
}

/// The keys in those of the files that hold a public key, in their order. Blocks.
pub(super) fn read(files: &[PathBuf]) -> Vec<Vec<u8>> {
    files.iter().filter_map(|file| public_key(file)).collect()
}

/// The key of a line as in `authorized_keys`. Of a private key no more than its first octet is read.
fn public_key(path: &Path) -> Option<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let mut file: File = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let mut first = [0];
    if !file.metadata().ok()?.is_file() || file.read(&mut first).ok()? == 0 || first == *b"-" {
        return None;
    }
    file.rewind().ok()?;
    let mut text = String::new();
    file.take(LONGEST_FILE).read_to_string(&mut text).ok()?;
    Base64::decode_vec(text.split_ascii_whitespace().nth(1)?).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::origin::testing::Scratch;

    #[test]
    fn public_halves_are_found_beside_the_name_or_under_it() {
        let scratch = Scratch::new();
        let (private, token) = (scratch.path("id"), scratch.path("token.pub"));
        fs::write(&private, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n").expect("write");
        fs::write(scratch.path("id.pub"), "ssh-ed25519 AAAA me\n").expect("write");
        fs::write(&token, "ssh-ed25519 BBBB me\n").expect("write");
        let names = [private, token, scratch.path("none")].map(|path| path.to_string_lossy().into_owned());
        assert_eq!(read(&candidates(&names, None)), [vec![0, 0, 0], vec![4, 16, 65]]);
    }

    #[test]
    fn names_are_written_out_or_left_out() {
        let names = ["~/.ssh/id", "%d/x", "~other/id", "relative", "/a/%h", "/a/${X}"].map(str::to_owned);
        let files = candidates(&names, Some(Path::new("/home/me")));
        let expected = ["/home/me/.ssh/id.pub", "/home/me/.ssh/id", "/home/me/x.pub", "/home/me/x"];
        assert_eq!(files, expected.map(PathBuf::from));
        assert!(candidates(&names[..1], None).is_empty());
    }
}
