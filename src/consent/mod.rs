//! Asking people: the queue, and the programs that show the question.
//!
//! One dialog at a time; the others wait and vanish with their cause. Only an explicit yes is a yes: a dialog that cannot be shown, times
//! out, crashes or answers nonsense is a no. Never sees a key or a token.

pub mod approvals;
mod askpass;
pub mod dialog;
pub mod pinentry;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::BoxFuture;
use crate::backend::middleware::TouchNotice;
use crate::backend::pin::{Pin, PinError, PinPrompt, PinQuestion, TriesLeft};
use crate::errand::Errand;
use askpass::Askpass;
pub use dialog::{Allowed, Dialog};
use pinentry::Pinentry;

/// How long a dialog stays open when the configuration does not say.
pub const DIALOG_TIMEOUT: Duration = Duration::from_secs(60);

/// How people are asked.
pub struct Consent {
    front: Result<Front, String>,
    timeout: Duration,
    /// Held while a dialog is open.
    screen: tokio::sync::Mutex<()>,
}

enum Front {
    Askpass(Askpass),
    Pinentry(Pinentry),
}

/// Why something was not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The person said no, or closed the dialog.
    #[error("declined in the dialog")]
    Declined,
    /// Nobody answered in time.
    #[error("nobody answered the dialog within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// No dialog could be shown.
    #[error("no dialog can be shown: {0}")]
    NoDialog(String),
}

/// What the environment at the agent's start says about dialogs.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `$DISPLAY` or `$WAYLAND_DISPLAY` is set.
    pub display: bool,
    /// `$SSH_ASKPASS`
    pub askpass: Option<OsString>,
    /// `$SSH_ASKPASS_REQUIRE`
    pub askpass_require: Option<OsString>,
    /// The terminal that the agent was started on, and its type.
    pub terminal: Option<(PathBuf, String)>,
}

impl Surroundings {
    /// Reads them; to be called before standard input, output and error are redirected.
    pub fn read() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let terminal = rustix::termios::ttyname(rustix::stdio::stdin(), Vec::new())
            .or_else(|_| rustix::termios::ttyname(rustix::stdio::stderr(), Vec::new()))
            .ok()
            .and_then(|name| name.into_string().ok())
            .map(|name| (PathBuf::from(name), std::env::var("TERM").unwrap_or_default()));
        Self {
            display: set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY")).is_some(),
            askpass: set("SSH_ASKPASS"),
            askpass_require: set("SSH_ASKPASS_REQUIRE"),
            terminal,
        }
    }
}

impl Consent {
    /// Chooses the front end: askpass where it is forced, else pinentry where it can draw, else askpass on a display, else none.
    pub fn new(surroundings: &Surroundings, pinentry: Option<PathBuf>, timeout: Duration) -> Self {
        let askpass = || {
            Askpass::new(
                surroundings.askpass.as_ref().map_or_else(|| PathBuf::from("/usr/bin/ssh-askpass"), PathBuf::from),
            )
        };
        let require = surroundings.askpass_require.as_deref().unwrap_or_default().to_ascii_lowercase();
        let can_draw = surroundings.display || surroundings.terminal.is_some() || pinentry.is_some();
        let front = if require == "force" {
            Ok(Front::Askpass(askpass()))
        } else if can_draw && let Some(program) = pinentry.or_else(pinentry::default_program) {
            Ok(Front::Pinentry(Pinentry::new(program, surroundings.terminal.clone())))
        } else if surroundings.display && require != "never" {
            Ok(Front::Askpass(askpass()))
        } else if surroundings.display || surroundings.terminal.is_some() {
            Err("neither a pinentry program nor ssh-askpass is installed".to_owned())
        } else {
            Err("the agent was started without a terminal, DISPLAY, WAYLAND_DISPLAY or SSH_ASKPASS_REQUIRE=force"
                .to_owned())
        };
        Self { front, timeout, screen: tokio::sync::Mutex::default() }
    }

    /// Whether there is any way to ask.
    pub const fn can_ask(&self) -> bool {
        self.front.is_ok()
    }

    /// Asks whether something may be done. Dropping the future closes the dialog.
    ///
    /// # Errors
    /// Anything but an explicit yes.
    pub async fn ask(&self, dialog: &Dialog) -> Result<Allowed, Refusal> {
        let front = self.front.as_ref().map_err(|reason| Refusal::NoDialog(reason.clone()))?;
        let _screen = self.screen.lock().await;
        let answer = async {
            match front {
                Front::Askpass(askpass) => askpass.confirm(&dialog.text).await,
                Front::Pinentry(pinentry) => pinentry.confirm(&dialog.text, self.timeout).await,
            }
        };
        let answer = tokio::time::timeout(self.timeout, answer).await;
        answer.unwrap_or(Err(Refusal::TimedOut(self.timeout))).map(|()| Allowed::Once)
    }

    /// Tells the person that a key was used; nobody waits for it to be read. It shows where a dialog of this errand would, else in the log.
    pub fn notify(&self, text: &str, _errand: &Errand) {
        tracing::info!("{text}");
    }

    async fn pin(&self, question: &PinQuestion) -> Result<Pin, PinError> {
        let token = question.token.clone();
        let no_prompt = |reason: String| PinError::NoPrompt { token: token.clone(), reason };
        let front = self.front.as_ref().map_err(|reason| no_prompt(reason.clone()))?;
        let _screen = self.screen.lock().await;
        let answer = async {
            match front {
                Front::Askpass(askpass) => askpass.secret(&pin_text(question)).await,
                Front::Pinentry(pinentry) => pinentry.secret(&pin_text(question), self.timeout).await,
            }
        };
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(pin)) => Ok(pin),
            Ok(Err(Refusal::Declined)) => Err(PinError::Cancelled { token }),
            Ok(Err(refusal)) => Err(no_prompt(refusal.to_string())),
            Err(_) => Err(no_prompt(Refusal::TimedOut(self.timeout).to_string())),
        }
    }
}

impl TouchNotice for Consent {
    fn show(&self, text: &str, _errand: &Errand) -> Box<dyn Send> {
        match &self.front {
            Ok(Front::Askpass(askpass)) => Box::new(askpass.notice(text)),
            _ => {
                tracing::info!("{text}");
                Box::new(())
            }
        }
    }

    fn reaches_a_person(&self) -> bool {
        self.can_ask()
    }
}

impl PinPrompt for Consent {
    fn ask(&self, question: PinQuestion) -> BoxFuture<'_, Result<Pin, PinError>> {
        Box::pin(async move { self.pin(&question).await })
    }
}

fn pin_text(question: &PinQuestion) -> String {
    let mut text = format!(
        "Enter the PIN of token {:?} (serial {}) to use key {:?}.",
        question.token, question.serial, question.key
    );
    if question.after_refusal {
        text += "\nThe last PIN was wrong.";
    }
    match question.tries {
        TriesLeft::Final => text += "\nThis is the final try: a wrong PIN locks the token.",
        TriesLeft::Low => text += "\nFew tries are left.",
        TriesLeft::Left(tries) => text += &format!("\n{tries} tries are left."),
        TriesLeft::Locked | TriesLeft::NoWarning => {}
    }
    text
}
