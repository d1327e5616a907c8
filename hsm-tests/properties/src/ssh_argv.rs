//! The arguments of an `ssh`: the question made of them is one, asks for the same host, and reading it again changes nothing.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use hardkey::origin::ssh_argv::SshCommand;
use hardkey::origin::trust::Version;

use crate::octets::assert_fits_a_log;

/// From `-P` without to `-P` with an argument.
const VERSIONS: [Version; 2] = [Version { major: 8, minor: 9 }, Version { major: 10, minor: 0 }];

/// Input: one octet for the version, then the arguments, program name first, with zero octets between them.
pub fn check(input: &[u8]) {
    let Some((version, words)) = input.split_first() else { return };
    let version = VERSIONS[usize::from(version % 2)];
    let argv: Vec<OsString> = words.split(|octet| *octet == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    let command = match SshCommand::parse(&argv, version) {
        Ok(command) => command,
        Err(error) => return assert_fits_a_log(&error.to_string()),
    };
    assert!(!command.host().is_empty() && !command.host().starts_with('-'));
    let question = command.query(Some(Path::new("/directory"))).expect("a directory is known");
    assert_eq!(question[0], "-G");
    if command.query(None).is_err() {
        assert!(question.iter().any(|word| word.as_bytes().starts_with(b"/directory/")), "a relative path is left");
    }

    let mut again = question.clone();
    again[0] = "ssh".into();
    let again = SshCommand::parse(&again, version).expect("an own question is a login");
    assert_eq!(again.host(), command.host());
    assert_eq!(again.query(None).as_ref(), Ok(&question), "reading the question again changes it");
}
