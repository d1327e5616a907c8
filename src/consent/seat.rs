//! Where the person sits who is to be asked: found at each question, from the process that asks, the session, and the agent itself.
//!
//! From an environment come screens and a language, never a program: nothing that a client says decides what is run.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use tokio::process::Command;

use super::bus;
use crate::errand::{Errand, Sake};
use crate::origin::glimpse::Foreground;
use crate::origin::peer::ProcessId;

/// The variables by which programs find a screen and a language.
const VARIABLES: [&str; 9] = [
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
];
/// What an environment may say of one thing, in octets.
const LONGEST_VALUE: usize = 256;

/// One source of [`VARIABLES`]. They are taken from one source together, because they belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Desk {
    /// None: the agent's own environment, as it is.
    values: Option<Vec<(&'static str, OsString)>>,
}

/// A terminal that may be written on and read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tty {
    pub(super) place: Foreground,
    /// Its type (`$TERM`).
    pub(super) kind: String,
    /// What is typed there reaches nobody else, so that it may be a PIN.
    pub(super) is_private: bool,
}

/// Where to ask.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// A graphical screen.
    pub(super) desk: Option<Desk>,
    pub(super) terminal: Option<Tty>,
    /// The bus at which a notification daemon may be.
    pub(super) bus: Option<String>,
    /// The asker's person is logged in from elsewhere, and does not see this machine's screen.
    pub(super) is_remote: bool,
}

/// What the agent's own environment said at its start.
#[derive(Debug, Clone, Default)]
pub(super) struct Own {
    pub(super) desk: Desk,
    pub(super) terminal_kind: String,
}

impl Own {
    pub(super) fn read() -> Self {
        let terminal_kind =
            std::env::var("TERM").ok().and_then(|kind| terminal_kind(kind.as_ref())).unwrap_or_default();
        Self { desk: Desk::of(|name| std::env::var_os(name)), terminal_kind }
    }
}

impl Desk {
    /// Takes what is fit to be passed on.
    pub(super) fn of(value: impl Fn(&str) -> Option<OsString>) -> Self {
        let fit = |name: &'static str| value(name).filter(|value| is_fit(name, value)).map(|value| (name, value));
        Self { values: Some(VARIABLES.into_iter().filter_map(fit).collect()) }
    }

    /// The agent's own environment, whatever it is.
    pub(super) const fn own() -> Self {
        Self { values: None }
    }

    fn value(&self, name: &str) -> Option<&OsStr> {
        self.values.iter().flatten().find(|(own, _)| *own == name).map(|(_, value)| value.as_os_str())
    }

    /// The screen, as a name to tell it from others; none where there is no screen.
    pub(super) fn screen(&self) -> Option<String> {
        let name = ["WAYLAND_DISPLAY", "DISPLAY"].into_iter().find_map(|name| self.value(name))?.to_string_lossy();
        // The screens of one display have one person before them.
        Some(name.strip_suffix(".0").unwrap_or(&name).to_owned())
    }

    pub(super) fn locale(&self) -> Option<&OsStr> {
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| self.value(name))
    }

    fn bus(&self) -> Option<String> {
        let named = self.value("DBUS_SESSION_BUS_ADDRESS").and_then(OsStr::to_str).map(str::to_owned);
        named.or_else(|| {
            let folder = self.value("XDG_RUNTIME_DIR")?.to_str()?;
            bus::is_address(&format!("unix:path={folder}/bus")).then(|| format!("unix:path={folder}/bus"))
        })
    }

    /// Puts a program before this screen.
    pub(super) fn apply(&self, command: &mut Command) {
        if let Some(values) = &self.values {
            for name in VARIABLES {
                command.env_remove(name);
            }
            command.envs(values.iter().map(|(name, value)| (name, value)));
        }
    }
}

impl Seat {
    /// Looks for the person: first where the process is that asks, then in the user's session, then where the agent was started.
    pub(super) async fn find(errand: &Errand, own: &Own) -> Self {
        let environment = errand.asker.map(ProcessId::environment).unwrap_or_default();
        let value = |name: &str| environment.value(name).filter(|value| !value.is_empty());
        let asker = Desk::of(|name| value(name).map(OsStr::to_owned));
        let kind = value("TERM").and_then(terminal_kind);
        let mut seat = Self {
            is_remote: value("SSH_CONNECTION").is_some() && asker.screen().is_none(),
            terminal: terminal(errand, kind.as_deref().unwrap_or("dumb"), own),
            bus: asker.bus().or_else(|| own.desk.bus()),
            desk: None,
        };
        if asker.screen().is_some() {
            seat.desk = Some(asker);
            return seat;
        }
        // A service that was started before the desktop learns of the screen here.
        let session = match &seat.bus {
            Some(address) => bus::session_environment(address).await,
            None => Vec::new(),
        };
        let session = Desk::of(|name| session.iter().find(|(own, _)| own == name).map(|(_, value)| value.into()));
        seat.desk = [session, own.desk.clone()].into_iter().find(|desk| desk.screen().is_some());
        seat
    }
}

/// The asker's terminal, or that of an agent that runs in the foreground.
fn terminal(errand: &Errand, kind: &str, own: &Own) -> Option<Tty> {
    let of_asker = || {
        let place = errand.asker.filter(|_| errand.sake != Sake::Others)?.foreground()?;
        Some(Tty { place, kind: kind.to_owned(), is_private: errand.sake == Sake::Own })
    };
    let of_agent = || {
        let place = ProcessId::own()?.foreground()?;
        Some(Tty { place, kind: own.terminal_kind.clone(), is_private: true })
    };
    of_asker().or_else(of_agent)
}

/// Terminal types are names of files to those who look them up.
fn terminal_kind(kind: &OsStr) -> Option<String> {
    let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'+' | b'.' | b'_');
    let kind = kind.to_str().filter(|kind| kind.len() <= 64 && kind.as_bytes().iter().all(is_plain))?;
    (!kind.is_empty() && !kind.starts_with('.')).then(|| kind.to_owned())
}

fn is_fit(name: &str, value: &OsStr) -> bool {
    let octets = value.as_bytes();
    if octets.is_empty() || octets.len() > LONGEST_VALUE || octets.iter().any(u8::is_ascii_control) {
        return false;
    }
    match name {
        "XAUTHORITY" | "XDG_RUNTIME_DIR" => octets[0] == b'/',
        // An address may name a program to be run.
        "DBUS_SESSION_BUS_ADDRESS" => value.to_str().is_some_and(bus::is_address),
        // A locale with a slash is a folder of code tables.
        _ if name.starts_with('L') => !octets.contains(&b'/'),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(variables: &[(&str, &str)]) -> Desk {
        Desk::of(|name| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).into()))
    }

    #[test]
    fn a_screen_has_one_name() {
        assert_eq!(desk(&[("DISPLAY", ":0.0")]).screen(), desk(&[("DISPLAY", ":0")]).screen());
        assert_eq!(desk(&[("DISPLAY", "")]).screen(), None);
        let both = desk(&[("DISPLAY", ":0"), ("WAYLAND_DISPLAY", "wayland-1")]);
        assert_eq!(both.screen().as_deref(), Some("wayland-1"));
    }

    #[test]
    fn an_environment_names_no_program_and_no_code() {
        for (name, value) in [
            ("DBUS_SESSION_BUS_ADDRESS", "unixexec:path=/tmp/evil"),
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/bus;unixexec:path=/tmp/evil"),
            ("DBUS_SESSION_BUS_ADDRESS", "tcp:host=elsewhere,port=1"),
            ("LANG", "/tmp/evil"),
            ("LC_ALL", "../evil"),
            ("XDG_RUNTIME_DIR", "relative"),
            ("DISPLAY", ":0\nOPTION"),
            ("LD_PRELOAD", "/tmp/evil.so"),
            ("SSH_ASKPASS", "/tmp/evil"),
        ] {
            assert_eq!(desk(&[(name, value)]), desk(&[]), "{name}={value}");
        }
        assert!(terminal_kind("xterm-256color".as_ref()).is_some());
        for kind in ["../evil", "a b", "", "xterm\nOPTION x"] {
            assert_eq!(terminal_kind(kind.as_ref()), None, "{kind:?}");
        }
    }

    #[test]
    fn a_bus_is_found_by_its_address_or_its_folder() {
        let abstract_one = desk(&[("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=/tmp/dbus-x,guid=12")]);
        assert_eq!(abstract_one.bus().as_deref(), Some("unix:abstract=/tmp/dbus-x,guid=12"));
        assert_eq!(desk(&[("XDG_RUNTIME_DIR", "/run/user/7")]).bus().as_deref(), Some("unix:path=/run/user/7/bus"));
    }
}
