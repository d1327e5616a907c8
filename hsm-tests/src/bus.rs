//! A message bus: D-Bus, as a system or a session has one.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::background::Background;
use crate::display::Display;
use crate::home::Home;
use crate::wait::{SOON, until};

/// A `dbus-daemon` with a place of its own.
pub struct Bus {
    address: String,
    socket: PathBuf,
    _daemon: Background,
}

impl Bus {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(home: &Home, name: &str) -> Self {
        Self::of(home, name, None)
    }

    /// The same for a session with a screen, on which the programs appear that the bus starts.
    #[must_use]
    pub fn on_screen(home: &Home, name: &str, display: &Display) -> Self {
        Self::of(home, name, Some(display))
    }

    fn of(home: &Home, name: &str, display: Option<&Display>) -> Self {
        let address = Self::address_of(home, name);
        let daemon = home.command("dbus-daemon").args(["--session", "--nofork", "--address", &address]);
        let daemon = daemon.envs(display.map(|display| ("DISPLAY", display.name()))).start(name);
        let bus = Self { address, socket: home.path("run").join(name), _daemon: daemon };
        assert!(until(SOON, || UnixStream::connect(&bus.socket).is_ok()), "no bus\n{}", home.logs());
        bus
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same before it is started.
    #[must_use]
    pub fn address_of(home: &Home, name: &str) -> String {
        format!("unix:path={}", home.path("run").join(name).display())
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // So that the next one finds its place free.
        let _ = std::fs::remove_file(&self.socket);
    }
}
