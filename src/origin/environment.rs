//! The environment of a process: who sits where, and what its programs were told.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;

/// Variables of a peer's environment that tell where its user sits; everything else in an environment is nobody's business.
pub const WANTED_VARIABLES: [&str; 14] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "HOME",
    "SSH_AUTH_SOCK",
    "SSH_CONNECTION",
    "SSH_TTY",
    "STY",
    "TERM",
    "TMUX",
    "USER",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_ID",
];

/// Environment of a process. Holds whatever secrets the user keeps there, so it is never printed.
#[derive(Clone, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    pub(super) fn parse(strings: Vec<OsString>) -> Self {
        let split = |string: OsString| {
            let octets = string.as_bytes();
            let equals = octets.iter().position(|octet| *octet == b'=')?;
            let (name, value) = octets.split_at_checked(equals)?;
            Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value.get(1..)?).to_owned()))
        };
        Self(strings.into_iter().filter_map(split).collect())
    }

    /// Our own.
    pub(crate) fn own() -> Self {
        Self(std::env::vars_os().collect())
    }

    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The value of one variable; of several with one name the first, as `getenv` has it.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_os_str())
    }

    /// What of it may be kept and shown: the variables in [`WANTED_VARIABLES`].
    #[must_use]
    pub fn wanted(&self) -> Vec<(&'static str, &OsStr)> {
        let value = |name| self.value(name).map(|value| (name, value));
        WANTED_VARIABLES.into_iter().filter_map(value).collect()
    }

    /// All variables but those that change how programs are loaded.
    pub(crate) fn without_loader(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0
            .iter()
            .filter(|(name, _)| !loader_obeys(name.as_bytes()))
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

/// Shows how much there is and nothing of it.
impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Environment({} variables)", self.0.len())
    }
}

/// The variables that the C library itself ignores in set-user-ID programs because they change what code runs: ld.so(8).
fn loader_obeys(name: &[u8]) -> bool {
    const OTHERS: [&[u8]; 8] = [
        b"GCONV_PATH",
        b"GETCONF_DIR",
        b"HOSTALIASES",
        b"LOCPATH",
        b"NLSPATH",
        b"RES_OPTIONS",
        b"RESOLV_HOST_CONF",
        b"TZDIR",
    ];
    name.starts_with(b"LD_") || name.starts_with(b"GLIBC_") || name.starts_with(b"MALLOC_") || OTHERS.contains(&name)
}
