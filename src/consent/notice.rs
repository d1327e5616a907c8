//! Notices: what a token waits for, and that a key was used. Nobody answers them, and nobody waits for them to be shown.

use std::sync::{Arc, Mutex, PoisonError};

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
        let place = Place::default();
        let shown_at = place.clone();
        let task = tokio::spawn(async move {
            let seat = Seat::find(&errand, &own).await;
            if let Some(daemon) = daemon(&seat).await
                && let Ok(shown) = daemon.hold(&text).await
            {
                shown_at.keep(|| Some(Box::new(shown)));
                return;
            }
            if let Some(tty) = &seat.terminal
                && shown_at.keep(|| terminal::notice(tty, &text).map(|line| Box::new(line) as _))
            {
                return;
            }
            if let Some(askpass) = programs.askpass_on(&seat) {
                shown_at.keep(|| askpass.notice(&text).map(|window| Box::new(window) as _));
            }
        });
        Box::new((posted, Held { task, place }))
    }

    fn reaches_a_person(&self, errand: &Errand) -> bool {
        let seat = Seat::at_once(errand, &self.own);
        let has_place = seat.desk.is_some() || seat.terminal.is_some();
        has_place || self.programs.forced_askpass().is_some() || self.board.has_viewers()
    }
}

/// Where a notice is while it is shown.
#[derive(Clone, Default)]
struct Place(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    notice: Option<Box<dyn Send>>,
    is_over: bool,
}

impl Place {
    /// Shows the notice unless its cause has gone meanwhile; whether it need not be shown anywhere else.
    fn keep(&self, show: impl FnOnce() -> Option<Box<dyn Send>>) -> bool {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.is_over {
            shown.notice = show();
        }
        shown.is_over || shown.notice.is_some()
    }
}

/// A notice and the task that finds out where to show it; both end with this value.
struct Held {
    task: JoinHandle<()>,
    place: Place,
}

impl Drop for Held {
    /// At once, not when the task comes to its end: what the client writes when it is answered must not find the notice on its terminal.
    fn drop(&mut self) {
        self.task.abort();
        let mut shown = self.place.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.is_over = true;
        shown.notice = None;
    }
}

async fn daemon(seat: &Seat) -> Option<Daemon> {
    Daemon::find(seat.bus.as_deref()?).await.ok()
}
