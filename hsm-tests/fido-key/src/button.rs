//! The button of the key, and whose finger is near it.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::log::Log;

/// What the person does when the key asks for a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Touches it at once.
    Now,
    /// Touches it this long after it began to ask.
    After(Duration),
    /// Does nothing; [`Button::press`] is the touch.
    Never,
    /// Declines on the key, as those with a display or two buttons can.
    Denied,
}

/// Why an operation has no touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTouch {
    /// Nobody touched the key in time.
    Timeout,
    /// The person declined.
    Denied,
    /// The client cancelled, or the key lost its power.
    Cancelled,
}

/// The button, shared by the firmware, which waits for it, and by whoever directs the test.
pub struct Button {
    state: Mutex<State>,
    changed: Condvar,
    watcher: OnceLock<(Log, Box<dyn Fn() + Send + Sync>)>,
}

#[derive(Debug)]
struct State {
    presence: Presence,
    patience: Duration,
    /// Whether the finger is one that a reader knows.
    known_finger: bool,
    asking: bool,
    /// Since when U2F, which asks again and again, has been asking.
    since: Option<Instant>,
    last_asked: Option<Instant>,
    pressed: bool,
    /// The number of the command that runs, and of the last one that is cancelled.
    running: u64,
    cancelled: u64,
}

/// U2F clients ask every few hundred milliseconds; a longer pause is the end of a series.
const PAUSE: Duration = Duration::from_secs(2);

impl Button {
    /// A person who touches at once, and a key that waits half a minute for it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                presence: Presence::Now,
                patience: Duration::from_secs(30),
                known_finger: true,
                asking: false,
                since: None,
                last_asked: None,
                pressed: false,
                running: 0,
                cancelled: 0,
            }),
            changed: Condvar::new(),
            watcher: OnceLock::new(),
        }
    }

    /// Whom to tell when the key asks for a touch, and where to write it and what came of it.
    pub(crate) fn on_ask(&self, log: Log, tell: impl Fn() + Send + Sync + 'static) {
        let _ = self.watcher.set((log, Box::new(tell)));
    }

    /// What the person does from now on, a request under way included.
    pub fn set_presence(&self, presence: Presence) {
        self.change(|state| state.presence = presence);
    }

    /// How long the key waits for a touch.
    pub fn set_patience(&self, patience: Duration) {
        self.change(|state| state.patience = patience);
    }

    /// Whether it is the finger that the key's reader knows, from now on.
    pub fn set_known_finger(&self, known: bool) {
        self.change(|state| state.known_finger = known);
    }

    /// Whether the finger is one that the reader knows.
    pub(crate) fn is_known_finger(&self) -> bool {
        self.lock().known_finger
    }

    /// Whether the key is asking for a touch now.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.lock().asking
    }

    /// Waits until the key asks, and touches it; `false` if it does not ask within `limit`.
    #[must_use]
    pub fn press(&self, limit: Duration) -> bool {
        let (mut state, waited) = self
            .changed
            .wait_timeout_while(self.lock(), limit, |state| !state.asking)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return false;
        }
        state.pressed = true;
        self.changed.notify_all();
        true
    }

    /// Ends the wait of this command, whether it has begun or not.
    pub(crate) fn cancel(&self, command: u64) {
        self.change(|state| state.cancelled = command);
    }

    /// The firmware begins with this command.
    pub(crate) fn begin(&self, command: u64) {
        self.change(|state| state.running = command);
    }

    /// Asks for a touch and waits for it, for `limit` at most, as the firmware does.
    ///
    /// # Errors
    /// [`NoTouch`], with the reason.
    pub(crate) fn ask(&self, limit: Option<Duration>) -> Result<(), NoTouch> {
        let mut state = self.lock();
        let asked = Instant::now();
        if state.last_asked.is_none_or(|last| asked - last > PAUSE) {
            state.since = None;
        }
        let since = *state.since.get_or_insert(asked);
        state.asking = true;
        state.pressed = false;
        self.changed.notify_all();
        self.tell("asks");
        let outcome = loop {
            let now = Instant::now();
            let due = match state.presence {
                Presence::Now => Some(now),
                Presence::After(pause) => Some(since + pause),
                Presence::Never | Presence::Denied => None,
            };
            let end = asked + limit.unwrap_or(state.patience);
            if state.running <= state.cancelled {
                break Err(NoTouch::Cancelled);
            } else if state.pressed || due.is_some_and(|due| due <= now) {
                break Ok(());
            } else if state.presence == Presence::Denied {
                break Err(NoTouch::Denied);
            } else if end <= now {
                break Err(NoTouch::Timeout);
            }
            let next = due.map_or(end, |due| due.min(end));
            (state, _) = self.changed.wait_timeout(state, next - now).unwrap_or_else(PoisonError::into_inner);
        };
        state.asking = false;
        state.pressed = false;
        state.last_asked = Some(Instant::now());
        // CTAP2 asks once; only U2F's short limit makes a series of it.
        if outcome.is_ok() || limit.is_none() {
            state.since = None;
        }
        self.tell(match outcome {
            Ok(()) => "touched",
            Err(NoTouch::Timeout) => "late",
            Err(NoTouch::Denied) => "denied",
            Err(NoTouch::Cancelled) => "cancelled",
        });
        self.changed.notify_all();
        outcome
    }

    fn tell(&self, what: &str) {
        if let Some((log, tell)) = self.watcher.get() {
            log.add(what);
            tell();
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Button {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(formatter)
    }
}

impl Default for Button {
    fn default() -> Self {
        Self::new()
    }
}
