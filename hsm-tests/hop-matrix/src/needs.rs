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
pub(crate) const SUDO: Need = package("sudo", "/usr/bin/sudo");
pub(crate) const PAM_AGENT: Need = package("libpam-ssh-agent-auth", "/usr/share/doc/libpam-ssh-agent-auth");
pub(crate) const KDC: Need = package("krb5-kdc", "/usr/sbin/krb5kdc");
pub(crate) const KADMIN: Need = package("krb5-admin-server", "/usr/sbin/kadmin.local");
pub(crate) const KINIT: Need = package("krb5-user", "/usr/bin/kinit");

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
        Need::Root => None,
    }
}

/// Whether the case is for root, and this is not root. Programs can be installed; this cannot be helped.
pub(crate) fn is_out_of_reach(case: &Case) -> bool {
    case.needs.contains(&Need::Root) && !rustix::process::geteuid().is_root()
}
