//! Which tokens are there: looked at again and again, because most modules have no events that could be relied on.
//!
//! A look costs what `C_GetSlotList` costs while nothing changes, happens only while no request uses the module, and the pauses grow with
//! its price. Modules that read their tokens once, at their start, are looked at by a new worker now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Module;
use super::error::TokenError;
use super::pool::Lease;
use crate::clock;
use crate::ipc::{Answer, Call};

/// The pause between two looks at a module that is in use.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause when nobody has used the module for a while.
const IDLE_PAUSE: Duration = Duration::from_secs(5);
/// How long after its last use a module counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(300);
/// A pause is at least this many times as long as the look before it: half a percent of one core at most.
const PAUSE_PER_LOOK: u32 = 200;
/// The longest pause between two looks at a module that works.
const LONGEST_STEADY_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause, after failures that go on.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The pause between two looks by a new worker, where the old one cannot see new tokens.
const FRESH_PAUSE: Duration = Duration::from_secs(15);
/// The same while a token is missing, at first; it doubles.
const MISSING_PAUSE: Duration = Duration::from_secs(2);
/// As [`PAUSE_PER_LOOK`], for looks by a new worker.
const PAUSE_PER_FRESH_LOOK: u32 = 500;

/// What the watch over a module's tokens and its requests tell each other.
#[derive(Default)]
pub(super) struct Presence {
    nudge: Notify,
    /// When the module was used last, in seconds on [`clock`].
    used: AtomicU64,
    suspends: clock::Suspends,
}

impl Presence {
    /// Somebody uses the module now.
    pub(super) fn used(&self) {
        self.used.store(clock::now().as_secs(), Ordering::Relaxed);
    }

    /// Something is not as it was: the next look is due now.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// For how long nobody has used the module.
    pub(super) fn unused(&self) -> Duration {
        Duration::from_secs(clock::now().as_secs().saturating_sub(self.used.load(Ordering::Relaxed)))
    }

    fn is_idle(&self) -> bool {
        self.unused() > IDLE_AFTER
    }
}

/// What a look came to.
pub(super) enum Looked {
    /// By the worker there is.
    Usual {
        /// What it costs to find out that nothing changed.
        glance: Duration,
    },
    /// By a new one.
    Fresh,
    /// Somebody uses the module; its tokens are as good as looked at.
    Busy,
}

impl Module {
    /// Keeps an eye on the tokens, until the module is dropped.
    pub fn watch(self: &Arc<Self>) {
        self.presence.used();
        tokio::spawn(follow(Arc::downgrade(self)));
    }

    /// Forgets every PIN if the machine slept since the last time somebody asked: whoever wakes it may be another person.
    pub(super) fn notice_suspend(self: &Arc<Self>) {
        if self.presence.suspends.noticed() {
            tracing::info!(module = %self.path().display(), "the machine slept; PINs and logins of its tokens are forgotten");
            self.release();
        }
    }

    /// As [`Self::scan`], for somebody who says that there is something new: by a new worker where the ones there are cannot see it.
    ///
    /// # Errors
    /// The module cannot be used at all.
    pub async fn scan_afresh(self: &Arc<Self>) -> Result<(), TokenError> {
        self.wake();
        if self.sees_insertions() || !self.has_looked() {
            return self.scan().await;
        }
        let module = Arc::clone(self);
        let looked = tokio::spawn(async move {
            let mut lease = module.pool.take_fresh().await?;
            module.adopt_if_changed(&mut lease).await
        });
        looked.await.unwrap_or_else(|_| Err(self.fault("the agent is ending")))
    }

    /// Looks by a new worker, which takes the place of all others if there is something new.
    async fn adopt_if_changed(self: &Arc<Self>, lease: &mut Lease) -> Result<(), TokenError> {
        if self.look_with(lease).await? {
            self.pool.retire();
            lease.keep();
        } else {
            lease.discard();
        }
        Ok(())
    }

    async fn look_again(self: &Arc<Self>, fresh: bool) -> Result<Looked, TokenError> {
        if fresh {
            let Some(mut lease) = self.pool.try_take_fresh().await? else { return Ok(Looked::Busy) };
            self.adopt_if_changed(&mut lease).await?;
            return Ok(Looked::Fresh);
        }
        let Some(mut lease) = self.pool.try_take().await? else { return Ok(Looked::Busy) };
        let start = Instant::now();
        let changed = match self.call(&mut lease, &Call::Glance).await? {
            Answer::Glanced { changed } => changed,
            Answer::Failed(fault) => {
                lease.discard();
                return Err(self.fault(&fault.text));
            }
            _ => {
                lease.discard();
                return Err(TokenError::Nonsense { module: self.name() });
            }
        };
        let mut glance = start.elapsed();
        if changed || !lease.used_before {
            tracing::debug!(module = self.name(), "looking at the tokens anew");
            self.look_with(&mut lease).await?;
            // What follows a change is dear, but rare; with some modules the glance that notices it is dear too.
            glance = Duration::ZERO;
        }
        Ok(Looked::Usual { glance })
    }
}

async fn follow(watched: Weak<Module>) {
    let mut failures: u32 = 0;
    let mut missing_pause = MISSING_PAUSE;
    let mut pause = PAUSE;
    let mut last_glance = Duration::ZERO;
    let mut fresh_due = Instant::now() + FRESH_PAUSE;
    loop {
        let Some(presence) = watched.upgrade().map(|module| Arc::clone(&module.presence)) else { return };
        // A nudge in the middle of failures does not shorten their pause by much: it comes once for each failed request.
        let _ = tokio::time::timeout(pause, presence.nudge.notified()).await;
        let Some(module) = watched.upgrade() else { return };
        module.notice_suspend();
        module.forget_expired();
        module.rest_if_unused();
        let start = Instant::now();
        let looked = match module.is_resting() {
            true => module.look_at_rest(start >= fresh_due).await,
            false => module.look_again(!module.sees_insertions() && start >= fresh_due).await,
        };
        let cost = start.elapsed();
        match looked {
            Ok(Looked::Busy) => pause = PAUSE,
            Ok(looked) => {
                failures = 0;
                let usual = if presence.is_idle() { IDLE_PAUSE } else { PAUSE };
                module.note_trouble(None);
                if let Looked::Usual { glance } = looked {
                    // One that was dear alone had something to read, and more may follow soon.
                    let price = glance.min(std::mem::replace(&mut last_glance, glance));
                    pause = usual.max(price.saturating_mul(PAUSE_PER_LOOK)).min(LONGEST_STEADY_PAUSE);
                    if module.is_missing_a_token() {
                        fresh_due = fresh_due.min(Instant::now() + missing_pause);
                    }
                } else {
                    pause = usual;
                    let is_missing = module.is_missing_a_token();
                    missing_pause = if is_missing { missing_pause.saturating_mul(2) } else { MISSING_PAUSE };
                    let wanted = if is_missing { missing_pause.min(LONGEST_PAUSE) } else { FRESH_PAUSE };
                    fresh_due =
                        Instant::now() + wanted.max(cost.saturating_mul(PAUSE_PER_FRESH_LOOK)).min(10 * LONGEST_PAUSE);
                }
            }
            Err(error) => {
                failures += 1;
                match failures {
                    1 => tracing::info!("looking for tokens: {error}"),
                    // Whatever was there is out of reach.
                    2 => {
                        module.all_gone();
                        module.note_trouble(Some(&error));
                    }
                    _ => {}
                }
                pause = PAUSE.saturating_mul(1 << failures.min(6)).min(LONGEST_PAUSE);
            }
        }
    }
}
