//! Dialogs by pinentry.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::assuan::{Assuan, Response, escape};
use super::dialog::Allowed;
use super::minder;
use super::seat::{Desk, Tty};
use super::view::{Broken, Reply, View};
use crate::backend::pin::{MAX_PIN, Pin};

/// `GPG_ERR_TIMEOUT`, `GPG_ERR_CANCELED`, `GPG_ERR_NOT_CONFIRMED`, `GPG_ERR_FULLY_CANCELED`
const TIMEOUT: u16 = 62;
const CANCELED: u16 = 99;
const NOT_CONFIRMED: u16 = 114;
const FULLY_CANCELED: u16 = 198;

/// The programs whose third button, and nothing else, is `GPG_ERR_NOT_CONFIRMED` when they have one: those of GnuPG. With others it may
/// be any kind of no.
const WITH_THIRD_BUTTON: [&str; 5] = ["curses", "gtk2", "gnome3", "qt", "qt5"];

/// A pinentry program, and where it may draw.
pub(super) struct Pinentry {
    pub(super) program: PathBuf,
    pub(super) desk: Desk,
    pub(super) terminal: Option<Tty>,
}

/// What the third button is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Third {
    Absent,
    Offer,
    Mute,
}

/// The pinentry program of the system, if one is installed.
pub(super) fn default_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("pinentry")).find(|program| program.is_file())
}

impl Pinentry {
    /// Asks for a yes or no; with the moment at which the dialog appeared.
    pub(super) async fn confirm(&self, view: &View, time: Duration) -> Result<(Reply, Instant), Broken> {
        let (mut server, flavour) = self.start(&view.text, time).await?;
        let mut third = Third::Absent;
        let mut buttons = vec![("SETOK", "Allow"), ("SETCANCEL", "Deny")];
        if WITH_THIRD_BUTTON.contains(&flavour.as_str()) {
            if let Some(offer) = &view.offer {
                third = Third::Offer;
                buttons.push(("SETNOTOK", offer));
            } else if view.can_mute {
                third = Third::Mute;
                buttons.push(("SETNOTOK", "Deny and mute"));
            }
        }
        for (command, label) in buttons {
            // An underscore marks the key that presses the button.
            self.set(&mut server, &format!("{command} {}", escape(&label.replace('_', "__")))).await?;
        }
        let shown = Instant::now();
        let reply = match server.ask("CONFIRM").await.map_err(|fault| self.broken(&fault))? {
            Response::Ok(_) => Reply::Allow(Allowed::Once),
            Response::Err(NOT_CONFIRMED, _) => match third {
                Third::Absent => Reply::Deny,
                Third::Offer => Reply::Allow(Allowed::AsOffered),
                Third::Mute => Reply::Mute,
            },
            Response::Err(code, text) => self.refused(code, &text).map(|()| Reply::Deny)?,
        };
        Ok((reply, shown))
    }

    /// Asks for a PIN; `None` when the person closed the dialog or left it empty.
    pub(super) async fn secret(&self, text: &str, time: Duration) -> Result<Option<Pin>, Broken> {
        let (mut server, _) = self.start(text, time).await?;
        self.set(&mut server, "SETPROMPT PIN:").await?;
        match server.ask("GETPIN").await.map_err(|fault| self.broken(&fault))? {
            Response::Ok(pin) if pin.len() > MAX_PIN => Err(Broken::of("pinentry", "the PIN is too long")),
            Response::Ok(pin) => {
                Ok(Some(pin).filter(|pin| !pin.is_empty()).map(|pin: Zeroizing<Vec<u8>>| pin.to_vec().into()))
            }
            Response::Err(code, text) => self.refused(code, &text).map(|()| None),
        }
    }

    /// Starts the program and tells it where and what to show; returns it with its flavour.
    async fn start(&self, text: &str, time: Duration) -> Result<(Assuan, String), Broken> {
        let mut command = minder::command(&self.program).map_err(|error| self.broken(&error))?;
        self.desk.apply(&mut command);
        command.env_remove("SSH_AUTH_SOCK");
        let mut server = Assuan::start(&mut command).await.map_err(|fault| self.broken(&fault))?;
        if let Some(terminal) = &self.terminal {
            // Known to every pinentry; one that does not draw on terminals does not mind.
            self.set(&mut server, &format!("OPTION ttyname={}", terminal.place.path.display())).await?;
            self.set(&mut server, &format!("OPTION ttytype={}", terminal.kind)).await?;
        }
        if let Some(locale) = self.desk.locale().and_then(OsStr::to_str) {
            self.set(&mut server, &format!("OPTION lc-ctype={locale}")).await?;
        }
        let flavour = match server.set("GETINFO flavor").await.map_err(|fault| self.broken(&fault))? {
            Response::Ok(data) => String::from_utf8_lossy(&data).into_owned(),
            Response::Err(..) => String::new(),
        };
        // It names the terminal library that it falls back to after a colon.
        let flavour = flavour.split(':').next().unwrap_or_default().to_owned();
        self.set(
            &mut server,
            &format!(
                "SETTIMEOUT {}", // After the agent would have closed it itself.
                time.as_secs().saturating_add(2).min(86_400)
            ),
        )
        .await?;
        self.set(&mut server, "SETTITLE hardkey").await?;
        self.set(&mut server, &format!("SETDESC {}", escape(text))).await?;
        Ok((server, flavour))
    }

    /// An option that a program does not know is no reason not to use it.
    async fn set(&self, server: &mut Assuan, line: &str) -> Result<(), Broken> {
        server.set(line).await.map(drop).map_err(|fault| self.broken(&fault))
    }

    /// An answer that is a no, or a dialog that could not be shown.
    fn refused(&self, code: u16, text: &str) -> Result<(), Broken> {
        match code {
            TIMEOUT | CANCELED | NOT_CONFIRMED | FULLY_CANCELED => Ok(()),
            _ => Err(self.broken(&text)),
        }
    }

    fn broken(&self, fault: &dyn std::fmt::Display) -> Broken {
        Broken::of(self.program.display(), fault)
    }
}
