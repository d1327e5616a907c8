//! The viewer's side of the [board](super::board): the terminal of `hardkey prompts`, on which questions are asked in the way they are on the
//! terminal of any program.

use std::fs::File;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::watch;

use super::board::{Question, Showing};
use super::dialog::Allowed;
use super::front::Kind;
use super::seat::Tty;
use super::terminal;
use super::view::{Reply, View};
use crate::origin::peer::ProcessId;
use crate::protocol::prompts::Answer;
use crate::text::printable;

/// The terminal that this process has in the foreground. Until this is dropped it shows what is typed only where a question says so: a PIN whose
/// question has just vanished is typed to its end.
pub struct Terminal {
    tty: Tty,
    file: File,
    before: Termios,
}

impl Terminal {
    /// Takes it.
    ///
    /// # Errors
    /// A text for the user: there is none, or another job has it.
    pub fn own() -> Result<Self, String> {
        let place = ProcessId::own_foreground();
        let place = place.ok_or("questions are asked on a terminal; run hardkey prompts in the foreground of one")?;
        let fail = |error: std::io::Error| format!("{}: {error}", place.path.display());
        let file = File::options().read(true).write(true).open(&place.path).map_err(fail)?;
        let before = tcgetattr(&file).map_err(|error| fail(error.into()))?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&file, OptionalActions::Now, &quiet).map_err(|error| fail(error.into()))?;
        let tty = Tty { place, kind: String::new(), is_private: true };
        Ok(Self { tty, file, before })
    }

    /// Asks a question, and tells how many wait as long as it stands. Dropping the future takes it away.
    ///
    /// # Errors
    /// A text for the user: the terminal is gone, or another job has it.
    pub async fn ask(&self, question: &Question, news: watch::Receiver<Showing>) -> Result<Answer, String> {
        // With a bell, for who waits for questions looks elsewhere.
        let text = format!("\u{7}{}", printable(&question.text));
        let answer = match question.kind {
            Kind::Secret => {
                let pin = terminal::secret(&self.tty, &text, Some(news)).await;
                pin.map(|pin| pin.map_or(Answer::Deny, Answer::Pin))
            }
            Kind::Confirm => {
                let offer = question.offer.as_deref().map(printable);
                let view = View { text, offer, can_mute: question.can_mute };
                terminal::confirm(&self.tty, &view, Some(news)).await.map(|(reply, _)| match reply {
                    Reply::Allow(Allowed::Once) => Answer::Allow,
                    Reply::Allow(Allowed::AsOffered) => Answer::AllowLonger,
                    Reply::Deny => Answer::Deny,
                    Reply::Mute => Answer::Mute,
                })
            }
        };
        answer.map_err(|broken| broken.0)
    }

    /// Shows a notice until what is returned is dropped.
    pub fn notice(&self, text: &str) -> Option<impl Send + use<>> {
        terminal::notice(&self.tty, &printable(text))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn say(&self, text: &str) -> Result<(), String> {
        terminal::tell(&self.tty, text).map_err(|broken| broken.0)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // With what nobody has read: it was meant for a question, and the shell would take it for a command.
        let _ = tcsetattr(&self.file, OptionalActions::Flush, &self.before);
    }
}
