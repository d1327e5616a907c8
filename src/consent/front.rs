//! The places at which a question can be shown, and the order in which they are tried.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Surroundings;
use super::askpass::Askpass;
use super::notification::Daemon;
use super::pinentry::{self, Pinentry};
use super::seat::{Desk, Seat, Tty};
use super::terminal;
use super::view::{Broken, Reply, View};
use crate::backend::pin::Pin;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A yes or no.
    Confirm,
    /// A PIN, which no notification may ask for.
    #[serde(rename = "pin")]
    Secret,
}

/// One place.
pub(super) enum Front {
    Askpass(Askpass),
    Pinentry(Pinentry),
    /// By the address of its bus.
    Notification(String),
    Terminal(Tty),
}

/// A place to be tried.
pub(super) struct Choice {
    pub(super) front: Front,
    /// What it takes up while it is shown.
    pub(super) screen: String,
    /// It takes a yes as soon as it appears.
    pub(super) may_slip: bool,
}

/// What `$SSH_ASKPASS_REQUIRE` says (ssh(1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Require {
    Force,
    Never,
    Unset,
}

/// The programs that may be run: from the agent's own environment and configuration, never from a client.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    askpass: PathBuf,
    require: Require,
    /// The one in the configuration.
    pinentry: Option<PathBuf>,
}

impl Programs {
    pub(super) fn new(surroundings: &Surroundings, pinentry: Option<PathBuf>) -> Self {
        let require = match &*surroundings.askpass_require.as_deref().unwrap_or_default().to_ascii_lowercase() {
            word if word == "force" => Require::Force,
            word if word == "never" => Require::Never,
            _ => Require::Unset,
        };
        let askpass = surroundings.askpass.as_ref().map_or_else(|| "/usr/bin/ssh-askpass".into(), PathBuf::from);
        Self { askpass, require, pinentry }
    }

    /// The places to try, the best first. Somebody who is logged in from elsewhere is asked there before this machine's screen.
    pub(super) fn choose(&self, seat: &Seat, kind: Kind) -> Vec<Choice> {
        if self.require == Require::Force {
            let desk = seat.desk.clone().unwrap_or(Desk::own());
            let screen = desk.screen().unwrap_or_else(|| "askpass".to_owned());
            let front = Front::Askpass(Askpass { program: self.askpass.clone(), desk });
            return vec![Choice { front, screen, may_slip: false }];
        }
        let terminal = seat.terminal.as_ref().filter(|tty| kind == Kind::Confirm || tty.is_private);
        let mut graphical = self.graphical(seat, terminal, kind);
        let textual = terminal.map(|tty| self.textual(seat, tty)).unwrap_or_default();
        let mut choices = match seat.is_remote {
            true => textual.into_iter().chain(graphical).collect(),
            false => {
                graphical.extend(textual);
                graphical
            }
        };
        // Whoever names a pinentry knows where it draws.
        if let (true, Some(program)) = (choices.is_empty(), &self.pinentry) {
            let front = Pinentry { program: program.clone(), desk: Desk::own(), terminal: None };
            choices.push(Choice { front: Front::Pinentry(front), screen: "pinentry".to_owned(), may_slip: true });
        }
        choices
    }

    /// Why there was nothing to choose from.
    pub(super) fn why_none(&self, seat: &Seat) -> &'static str {
        match seat.terminal {
            Some(_) => "the terminal may be read by the program that asks",
            None => {
                "neither the asking program nor the session has a display, and the asking program is not in the foreground of a terminal \
                 that a question could be put on"
            }
        }
    }

    /// The notice "touch your key", shown by askpass where that is forced.
    pub(super) fn forced_askpass(&self) -> Option<Askpass> {
        (self.require == Require::Force).then(|| Askpass { program: self.askpass.clone(), desk: Desk::own() })
    }

    /// Askpass for a notice, where nothing else shows one.
    pub(super) fn askpass_on(&self, seat: &Seat) -> Option<Askpass> {
        let desk = seat.desk.clone().filter(|_| self.require != Require::Never && self.askpass.is_file())?;
        Some(Askpass { program: self.askpass.clone(), desk })
    }

    fn graphical(&self, seat: &Seat, terminal: Option<&Tty>, kind: Kind) -> Vec<Choice> {
        let Some((desk, screen)) = seat.desk.as_ref().and_then(|desk| Some((desk, desk.screen()?))) else {
            return Vec::new();
        };
        let mut fronts = Vec::new();
        if let Some(program) = self.pinentry() {
            // With the terminal, for one that draws there although there is a screen.
            fronts.push(Front::Pinentry(Pinentry { program, desk: desk.clone(), terminal: terminal.cloned() }));
        }
        if self.require != Require::Never {
            fronts.push(Front::Askpass(Askpass { program: self.askpass.clone(), desk: desk.clone() }));
        }
        if let (Kind::Confirm, Some(bus)) = (kind, &seat.bus) {
            fronts.push(Front::Notification(bus.clone()));
        }
        fronts.into_iter().map(|front| Choice { front, screen: screen.clone(), may_slip: true }).collect()
    }

    fn textual(&self, seat: &Seat, tty: &Tty) -> Vec<Choice> {
        let screen = tty.place.path.display().to_string();
        let own = Choice { front: Front::Terminal(tty.clone()), screen: screen.clone(), may_slip: false };
        let drawn = self.pinentry().filter(|_| seat.desk.is_none() || seat.is_remote).map(|program| {
            let desk = Desk::of(|_| None);
            let front = Front::Pinentry(Pinentry { program, desk, terminal: Some(tty.clone()) });
            Choice { front, screen, may_slip: true }
        });
        drawn.into_iter().chain([own]).collect()
    }

    fn pinentry(&self) -> Option<PathBuf> {
        self.pinentry.clone().or_else(pinentry::default_program)
    }
}

impl Front {
    /// Asks for a yes or no within a time; with the moment at which the question appeared.
    pub(super) async fn confirm(&self, view: &View, time: Duration) -> Result<(Reply, Instant), Broken> {
        match self {
            Self::Askpass(askpass) => askpass.confirm(&view.text_without_offer()).await,
            Self::Pinentry(pinentry) => pinentry.confirm(view, time).await,
            Self::Notification(bus) => Daemon::find(bus).await?.confirm(view).await,
            Self::Terminal(tty) => terminal::confirm(tty, view, None).await,
        }
    }

    /// Asks for a PIN; `None` when the person gives none.
    pub(super) async fn secret(&self, text: &str, time: Duration) -> Result<Option<Pin>, Broken> {
        match self {
            Self::Askpass(askpass) => askpass.secret(text).await,
            Self::Pinentry(pinentry) => pinentry.secret(text, time).await,
            Self::Notification(_) => Err(Broken("a notification cannot ask for a PIN".to_owned())),
            Self::Terminal(tty) => terminal::secret(tty, text, None).await,
        }
    }
}
