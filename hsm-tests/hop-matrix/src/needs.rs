//! What cases take beyond OpenSSH. What is missing fails the run before it begins: a case that was left out would look like one that passed.

use std::collections::BTreeSet;
use std::path::Path;

use crate::case::Case;

/// Something a case cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// A Debian package.
    Package(Package),
    /// The right to make namespaces and to become another user.
    Root,
}

/// A Debian package and a file of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    name: &'static str,
    file: &'static str,
}

const fn package(name: &'static str, file: &'static str) -> Need {
    Need::Package(Package { name, file })
}

pub(crate) const GIT: Need = package("git", "/usr/bin/git");
pub(crate) const SOCAT: Need = package("socat", "/usr/bin/socat");
pub(crate) const PUTTY: Need = package("putty-tools", "/usr/bin/plink");
pub(crate) const DROPBEAR: Need = package("dropbear-bin", "/usr/bin/dbclient");
pub(crate) const PARAMIKO: Need = package("python3-paramiko", "/usr/lib/python3/dist-packages/paramiko/__init__.py");
pub(crate) const ASYNCSSH: Need = package("python3-asyncssh", "/usr/lib/python3/dist-packages/asyncssh/__init__.py");
pub(crate) const SOFTHSM: Need = package("softhsm2", "/usr/lib/softhsm/libsofthsm2.so");

/// Looks whether everything is there.
///
/// # Errors
/// The text says what is missing and what to do.
pub(crate) fn check(cases: &[&Case]) -> Result<(), String> {
    let wanted: BTreeSet<Need> = cases.iter().flat_map(|case| case.needs).copied().collect();
    let missing: Vec<String> = wanted.into_iter().filter_map(missing).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("{}; or choose cases with --case", missing.join(", "))),
    }
}

fn missing(need: Need) -> Option<String> {
    match need {
        Need::Package(Package { file, .. }) if Path::new(file).exists() => None,
        Need::Package(Package { name, file }) => Some(format!("{file} is missing (on Debian: apt-get install {name})")),
        Need::Root => (!rustix::process::geteuid().is_root()).then(|| "some cases have to be run by root".to_owned()),
    }
}
