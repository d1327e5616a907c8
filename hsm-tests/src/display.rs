//! A graphical screen with a person before it.

use std::path::PathBuf;

use crate::background::Background;
use crate::home::Home;
use crate::run::Task;
use crate::wait::{SOON, until_some};

/// An X server, without a window manager. One a home.
pub struct Display {
    home: Home,
    name: String,
    _server: Background,
}

impl Display {
    /// Starts the server.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(home: &Home) -> Self {
        let script = format!(
            "exec Xvfb -displayfd 3 -screen 0 800x480x24 -nolisten tcp -noreset 3>'{}'",
            home.path("display").display()
        );
        let server = home.command("sh").args(["-c", &script]).start("xvfb");
        let read = || std::fs::read_to_string(home.path("display")).ok().filter(|text| text.ends_with('\n'));
        let number = until_some(SOON, read).expect("an X server");
        Self { home: home.clone(), name: format!(":{}", number.trim()), _server: server }
    }

    /// What belongs into `$DISPLAY`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first window whose name has `name` in it, once there is one.
    ///
    /// # Panics
    /// When there is none soon.
    #[track_caller]
    #[must_use]
    pub fn window(&self, name: &str) -> String {
        until_some(SOON, || self.windows(name).into_iter().next())
            .unwrap_or_else(|| panic!("no window {name:?}\n{}", self.home.logs()))
    }

    /// Whether there is a window whose name has `name` in it.
    #[must_use]
    pub fn has_window(&self, name: &str) -> bool {
        !self.windows(name).is_empty()
    }

    /// The windows whose names have `name` in them.
    #[must_use]
    pub fn windows(&self, name: &str) -> Vec<String> {
        let found = self.xdotool(&["search", "--onlyvisible", "--name", name]).run();
        found.stdout.lines().map(str::to_owned).collect()
    }

    /// Presses keys in a window.
    #[track_caller]
    pub fn press(&self, window: &str, keys: &[&str]) {
        self.xdotool(&["windowfocus", "--sync", window, "key"]).args(keys).run().succeeds();
    }

    /// Types a text in a window.
    #[track_caller]
    pub fn types(&self, window: &str, text: &str) {
        self.xdotool(&["windowfocus", "--sync", window, "type", text]).run().succeeds();
    }

    /// Closes a window as its frame's button does.
    #[track_caller]
    pub fn close(&self, window: &str) {
        let script = include_str!("close-window.py");
        self.home.command("python3").args(["-c", script, window]).env("DISPLAY", &self.name).run().succeeds();
    }

    /// Keeps what is on the screen, for the documentation, where `$HARDKEY_PICTURES` names a folder.
    ///
    /// # Panics
    /// When the picture cannot be taken.
    pub fn picture(&self, name: &str) {
        if let Some(folder) = std::env::var_os("HARDKEY_PICTURES") {
            let file = PathBuf::from(folder).join(name);
            let file = format!("PNG8:{}", file.display());
            self.home
                .command("import")
                .env("DISPLAY", &self.name)
                .args(["-window", "root", "-trim", "-colors", "32"])
                .arg(file)
                .run()
                .succeeds();
        }
    }

    fn xdotool(&self, arguments: &[&str]) -> Task {
        self.home.command("xdotool").args(arguments).env("DISPLAY", &self.name)
    }
}
