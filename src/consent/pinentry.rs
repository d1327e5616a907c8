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
use super::view::{ARMED_AFTER, Broken, Reply, View};
use crate::backend::pin::{MAX_PIN, Pin};

/// `GPG_ERR_TIMEOUT`, `GPG_ERR_CANCELED`, `GPG_ERR_NOT_CONFIRMED`, `GPG_ERR_FULLY_CANCELED`
const TIMEOUT: u16 = 62;
const CANCELED: u16 = 99;
const NOT_CONFIRMED: u16 = 114;
const FULLY_CANCELED: u16 = 198;

/// The programs whose third button, and nothing else, is `GPG_ERR_NOT_CONFIRMED` when they have one: those of GnuPG. With others it may
/// be any kind of no.
const WITH_THIRD_BUTTON: [&str; 4] = [ON_TERMINALS, "gtk2", "qt", "qt5"];
/// The flavour that has "OK" chosen when its dialog appears, so that Enter presses it. The others choose "Cancel".
const ON_TERMINALS: &str = "curses";
/// The flavour that has "OK" chosen as well, and two buttons only: Escape presses the other one.
const ON_GNOME: &str = "gnome3";

/// A pinentry program, and where it may draw.
pub(super) struct Pinentry {
    pub(super) program: PathBuf,
    pub(super) desk: Desk,
    pub(super) terminal: Option<Tty>,
}

/// A button's label, and what a person says by pressing it.
type Button<'a> = (&'a str, Reply);

/// The buttons of a question, by the names of the protocol.
struct Buttons<'a> {
    ok: Button<'a>,
    not_ok: Option<Button<'a>>,
    /// Also what closing the dialog says.
    cancel: Button<'a>,
}

const ALLOW: Button<'_> = ("Allow", Reply::Allow(Allowed::Once));
const DENY: Button<'_> = ("Deny", Reply::Deny);
const MUTE: Button<'_> = ("Deny and mute", Reply::Mute);

/// The pinentry program of the system, if one is installed.
pub(super) fn default_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("pinentry")).find(|program| program.is_file())
}

impl Pinentry {
    /// Asks for a yes or no; with the moment at which the dialog appeared.
    pub(super) async fn confirm(&self, view: &View, time: Duration) -> Result<(Reply, Instant), Broken> {
        let (mut server, flavour) = self.start(time).await?;
        if flavour == ON_GNOME {
            return self.confirm_twice(&mut server, &view.text_without_offer()).await;
        }
        let buttons = Buttons::of(&flavour, view);
        let has_offer = WITH_THIRD_BUTTON.contains(&flavour.as_str());
        let text = if has_offer { view.text.clone() } else { view.text_without_offer() };
        self.describe(&mut server, &text).await?;
        let shown = Instant::now();
        let reply = self.press(&mut server, &buttons).await?;
        match &view.offer {
            // There was no room for the longer yes. A slip is asked again, and needs no second question.
            Some(offer) if flavour == ON_TERMINALS && reply == ALLOW.1 && shown.elapsed() >= ARMED_AFTER => {
                let again = Instant::now();
                let longer = (offer.as_str(), Reply::Allow(Allowed::AsOffered));
                let buttons = Buttons { ok: ("Only this once", ALLOW.1), not_ok: Some(longer), cancel: DENY };
                let reply = self.press(&mut server, &buttons).await?;
                let is_slip = reply == longer.1 && again.elapsed() < ARMED_AFTER;
                Ok((if is_slip { ALLOW.1 } else { reply }, shown))
            }
            _ => Ok((reply, shown)),
        }
    }

    /// Asks where whatever Enter does not press is pressed by Escape, and by closing the dialog. So the first time Enter denies, and who presses
    /// the other button is asked a second time, when the other button denies: no key says yes, however often it is pressed.
    async fn confirm_twice(&self, server: &mut Assuan, text: &str) -> Result<(Reply, Instant), Broken> {
        self.describe(server, text).await?;
        let first = Instant::now();
        let goes_on = Reply::Allow(Allowed::Once);
        let reply = self.press(server, &Buttons { ok: DENY, not_ok: None, cancel: ("Allow…", goes_on) }).await?;
        // Escape was meant for what somebody was typing, and Enter may come next.
        if reply != goes_on || first.elapsed() < ARMED_AFTER {
            return Ok((Reply::Deny, first));
        }
        self.describe(server, &format!("{text}\n(Asked again, because Enter allows here.)")).await?;
        let second = Instant::now();
        Ok((self.press(server, &Buttons { ok: ALLOW, not_ok: None, cancel: DENY }).await?, second))
    }

    /// Puts the buttons below the text that is set, and waits for one to be pressed.
    async fn press(&self, server: &mut Assuan, buttons: &Buttons<'_>) -> Result<Reply, Broken> {
        let named = [("SETOK", Some(buttons.ok)), ("SETCANCEL", Some(buttons.cancel)), ("SETNOTOK", buttons.not_ok)];
        for (command, (label, _)) in named.into_iter().filter_map(|(command, button)| Some((command, button?))) {
            // An underscore marks the key that presses the button.
            self.set(server, &format!("{command} {}", escape(&label.replace('_', "__")))).await?;
        }
        match server.ask("CONFIRM").await.map_err(|fault| self.broken(&fault))? {
            Response::Ok(_) => Ok(buttons.ok.1),
            Response::Err(NOT_CONFIRMED, _) => Ok(buttons.not_ok.map_or(Reply::Deny, |button| button.1)),
            Response::Err(CANCELED, _) => Ok(buttons.cancel.1),
            Response::Err(code, text) => self.refused(code, &text).map(|()| Reply::Deny),
        }
    }

    /// Asks for a PIN; `None` when the person closed the dialog or left it empty.
    pub(super) async fn secret(&self, text: &str, time: Duration) -> Result<Option<Pin>, Broken> {
        let (mut server, _) = self.start(time).await?;
        self.describe(&mut server, text).await?;
        self.set(&mut server, "SETPROMPT PIN:").await?;
        match server.ask("GETPIN").await.map_err(|fault| self.broken(&fault))? {
            Response::Ok(pin) if pin.len() > MAX_PIN => Err(Broken::of("pinentry", "the PIN is too long")),
            Response::Ok(pin) => {
                Ok(Some(pin).filter(|pin| !pin.is_empty()).map(|pin: Zeroizing<Vec<u8>>| pin.to_vec().into()))
            }
            Response::Err(code, text) => self.refused(code, &text).map(|()| None),
        }
    }

    /// Starts the program and tells it where to show something; returns it with the flavour that draws.
    async fn start(&self, time: Duration) -> Result<(Assuan, String), Broken> {
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
        // After a colon it names what it has fallen back to: without a screen those for one draw like the one for terminals.
        let flavour = flavour.rsplit(':').next().unwrap_or_default().to_owned();
        self.set(
            &mut server,
            &format!(
                "SETTIMEOUT {}", // After the agent would have closed it itself.
                time.as_secs().saturating_add(2).min(86_400)
            ),
        )
        .await?;
        self.set(&mut server, "SETTITLE hardkey").await?;
        Ok((server, flavour))
    }

    async fn describe(&self, server: &mut Assuan, text: &str) -> Result<(), Broken> {
        self.set(server, &format!("SETDESC {}", escape(text))).await
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

impl<'a> Buttons<'a> {
    /// The button that Enter presses, and closing the dialog, must say no.
    fn of(flavour: &str, view: &'a View) -> Self {
        let mute = view.can_mute.then_some(MUTE);
        if flavour == ON_TERMINALS {
            return Self { ok: DENY, not_ok: Some(ALLOW), cancel: mute.unwrap_or(("Cancel", Reply::Deny)) };
        }
        let offer = view.offer.as_deref().map(|label| (label, Reply::Allow(Allowed::AsOffered)));
        let third = offer.or(mute).filter(|_| WITH_THIRD_BUTTON.contains(&flavour));
        Self { ok: ALLOW, not_ok: third, cancel: DENY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_enter_nor_closing_the_dialog_is_a_yes_with_any_flavour() {
        for (offer, can_mute) in
            [(None, false), (None, true), (Some("Allow 5 min"), false), (Some("Allow 5 min"), true)]
        {
            let view = View { text: "text".into(), offer: offer.map(str::to_owned), can_mute };
            for (flavour, chosen_is_ok) in [("curses", true), ("gtk2", false), ("qt", false), ("scripted", false)] {
                let buttons = Buttons::of(flavour, &view);
                let chosen = if chosen_is_ok { buttons.ok } else { buttons.cancel };
                assert!(!matches!(chosen.1, Reply::Allow(_)), "{flavour}: {}", chosen.0);
                assert!(!matches!(buttons.cancel.1, Reply::Allow(_)), "{flavour}");
                let all = [Some(buttons.ok), buttons.not_ok, Some(buttons.cancel)];
                assert!(all.into_iter().flatten().any(|button| button == ALLOW), "{flavour} cannot allow");
            }
            let is_third = Buttons::of("scripted", &view).not_ok.is_some();
            assert!(!is_third, "what a stranger's third button answers is not known");
        }
    }
}
