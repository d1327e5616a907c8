//! Notices: what a token waits for, and that a key was used. Nobody answers them, and nobody waits for them to be shown.

use tokio::task::JoinHandle;

use super::Consent;
use super::notification::Daemon;
use super::seat::Seat;
use super::terminal;
use crate::backend::middleware::TouchNotice;
use crate::errand::Errand;

impl Consent {
    /// Tells the person that a key was used: by a notification, else by a line on the asker's terminal. It is in the log in any case.
    pub fn notify(&self, text: &str, errand: &Errand) {
        tracing::info!("{text}");
        let (text, errand, own) = (text.to_owned(), errand.clone(), self.own.clone());
        tokio::spawn(async move {
            let seat = Seat::find(&errand, &own).await;
            if let Some(daemon) = daemon(&seat).await
                && daemon.tell(&text).await.is_ok()
            {
                return;
            }
            if let Some(tty) = &seat.terminal {
                // The log has it.
                let _ = terminal::tell(tty, &text);
            }
        });
    }
}

impl TouchNotice for Consent {
    fn show(&self, text: &str, errand: &Errand) -> Box<dyn Send> {
        tracing::info!("{text}");
        let posted = self.board.notice(text);
        if let Some(askpass) = self.programs.forced_askpass() {
            return Box::new((posted, askpass.notice(text)));
        }
        let (text, errand, own, programs) = (text.to_owned(), errand.clone(), self.own.clone(), self.programs.clone());
        let held = Held(tokio::spawn(async move {
            let seat = Seat::find(&errand, &own).await;
            if let Some(daemon) = daemon(&seat).await
                && let Ok(shown) = daemon.hold(&text).await
            {
                until_dropped(shown).await;
            } else if let Some(line) = seat.terminal.as_ref().and_then(|tty| terminal::notice(tty, &text)) {
                until_dropped(line).await;
            } else if let Some(window) = programs.askpass_on(&seat).and_then(|askpass| askpass.notice(&text)) {
                until_dropped(window).await;
            }
        }));
        Box::new((posted, held))
    }

    fn reaches_a_person(&self, errand: &Errand) -> bool {
        let seat = Seat::at_once(errand, &self.own);
        let has_place = seat.desk.is_some() || seat.terminal.is_some();
        has_place || self.programs.forced_askpass().is_some() || self.board.has_viewers()
    }
}

/// A task that holds a notice, and ends with this value.
struct Held(JoinHandle<()>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn until_dropped(_shown: impl Send) {
    std::future::pending::<()>().await;
}

async fn daemon(seat: &Seat) -> Option<Daemon> {
    Daemon::find(seat.bus.as_deref()?).await.ok()
}
