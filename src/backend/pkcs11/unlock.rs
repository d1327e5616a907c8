//! How a token gets its PIN, and what may never happen to it.
//!
//! A PIN goes to the token it was given for and to no other. It is presented after a look at the token's state, once per decision of a
//! person, and by itself only where the token accepted that very PIN before. While it is with the token nobody else presents one, and what
//! came of it is recorded before the next may: in one task that runs to its end although the client may be gone. An unattended PIN that was
//! refused, or whose outcome stayed unknown twice, is not tried again until it is another one.
//!
//! What a person typed is kept once the token accepted it, because each worker process has to log in for itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::error::TokenError;
use super::pool::Lease;
use super::rest::Others;
use super::token::{Attempt, Token, octets};
use crate::backend::SignError;
use crate::backend::pin::{Pin, PinError, PinQuestion, TriesLeft, is_same};
use crate::clock;
use crate::errand::Errand;
use crate::ipc::{Answer, Call, FaultKind, ModuleFault, TokenSeen};
use crate::sys::LockedOctets;

/// How often in a row the outcome of presenting an accepted PIN may stay unknown before the PIN is forgotten. It was right a while ago, so
/// only somebody who changed it elsewhere in the meantime would lose tries by this.
const MOST_DOUBTS: u8 = 5;
/// How often another PIN than the accepted one may be given before the accepted one is forgotten: comparing costs no try, so it must not
/// serve to guess.
const MOST_MISMATCHES: u8 = 3;

/// What is known of a token's PIN.
#[derive(Default)]
pub(super) struct PinState {
    /// The token accepted it, and has not refused it since.
    accepted: Option<LockedOctets>,
    /// When that was first, on [`crate::clock`].
    since: Duration,
    doubts: u8,
    mismatches: u8,
    /// How many questions ended without a PIN, and how the last one did.
    failures: u64,
    last_failure: Option<PinError>,
}

impl PinState {
    pub(super) const fn is_accepted(&self) -> bool {
        self.accepted.is_some()
    }

    pub(super) fn is_older_than(&self, time: Duration) -> bool {
        self.is_accepted() && clock::now().saturating_sub(self.since) >= time
    }

    /// A copy, for as long as the call takes that needs it.
    fn accepted(&self) -> Option<Arc<Pin>> {
        self.accepted.as_ref().map(|pin| Arc::new(pin.expose().to_vec().into()))
    }
}

impl Token {
    /// Forgets the PIN and ends the logins that were made with it.
    pub fn forget_pin(&self) {
        self.pin(|pin| {
            *pin = PinState { failures: pin.failures, last_failure: pin.last_failure.take(), ..PinState::default() }
        });
        let reader = self.log_out();
        if let Ok(module) = self.module() {
            module.pool.retire();
            module.lock_cards(reader.into_iter().collect(), Others::AreDisturbed);
        }
    }

    /// Notes that no worker is logged in any more; the reader with the card that still takes everybody for logged in.
    pub(super) fn log_out(&self) -> Option<String> {
        self.seen(|seen| std::mem::take(&mut seen.logged_in).then(|| seen.reader.clone()))
    }

    /// Takes a PIN that a person gave for this token.
    ///
    /// Where the token accepted one before, the two are compared here: a wrong one costs no try.
    ///
    /// # Errors
    /// The token refused it, or did not serve.
    pub async fn unlock_with(self: &Arc<Self>, pin: Pin) -> Result<(), SignError> {
        let _asking = self.asking.lock().await;
        self.present(Arc::new(pin), true).await
    }

    /// Sees to it that there is a PIN that workers can log in with, where one is needed. `key` names the key in the question.
    pub(super) async fn unlock(self: &Arc<Self>, key: &str, errand: &Errand) -> Result<(), SignError> {
        if self.seen(|seen| !seen.login_required || seen.protected_path) {
            return Ok(());
        }
        let (is_accepted, failures) = self.pin(|pin| (pin.is_accepted(), pin.failures));
        if is_accepted {
            return Ok(());
        }
        let _asking = self.asking.lock().await;
        let (is_accepted, failure) = self.pin(|pin| {
            // Requests that waited behind a declined question were declined with it.
            (pin.is_accepted(), pin.last_failure.clone().filter(|_| pin.failures != failures))
        });
        match (is_accepted, failure) {
            (true, _) => return Ok(()),
            (false, Some(failure)) => return Err(failure.into()),
            (false, None) => {}
        }
        let result = self.obtain(key, errand).await;
        if let Err(SignError::Pin(failure)) = &result {
            self.pin(|pin| {
                pin.failures += 1;
                pin.last_failure = Some(failure.clone());
            });
        }
        result
    }

    /// Whether there is a PIN that a person types on this machine.
    pub(super) fn has_pin_to_type(&self) -> bool {
        self.seen(|seen| seen.login_required && !seen.protected_path)
    }

    /// Has a person type the PIN, also where one is known or comes from a file: for signatures for which the user's policy wants that. Where
    /// the token accepted one before the two are compared, which costs no try.
    pub(super) async fn ask_again(self: &Arc<Self>, key: &str, errand: &Errand) -> Result<(), SignError> {
        let _asking = self.asking.lock().await;
        self.ask(key, errand).await
    }

    /// Gets a PIN from its source or a person and presents it.
    async fn obtain(self: &Arc<Self>, key: &str, errand: &Errand) -> Result<(), SignError> {
        let module = self.module()?;
        if self.tries() == TriesLeft::Locked {
            // Somebody may have unblocked it since, and looking costs no try.
            module.scan().await?;
            if self.tries() == TriesLeft::Locked {
                return Err(PinError::Locked { token: self.label() }.into());
            }
        }
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || source.read()).await;
        if let Some(pin) = read.unwrap_or_else(|_| Err(PinError::Forgotten { token: self.label() }))? {
            module.only_claimant(self).await?;
            return self.present(Arc::new(pin), false).await;
        }
        self.ask(key, errand).await
    }

    async fn ask(self: &Arc<Self>, key: &str, errand: &Errand) -> Result<(), SignError> {
        let module = self.module()?;
        let question = PinQuestion {
            token: self.label(),
            serial: self.name().serial.clone(),
            key: key.to_owned(),
            tries: self.tries(),
            after_refusal: self.pin(|pin| matches!(pin.last_failure, Some(PinError::Incorrect { .. }))),
            errand: errand.clone(),
        };
        let pin = tokio::select! {
            pin = module.prompt.ask(question) => pin?,
            () = self.departed() => return Err(self.gone("it was taken out while its PIN was asked for").into()),
        };
        self.present(Arc::new(pin), true).await
    }

    /// Presents a PIN to the token, once, unless it is known to be right or known to be refused.
    async fn present(self: &Arc<Self>, pin: Arc<Pin>, by_person: bool) -> Result<(), SignError> {
        let token = Arc::clone(self);
        // Spawned, so that a client that goes away cannot leave open whether the try was spent.
        let presented = tokio::spawn(async move {
            let module = token.module()?;
            let mut lease = module.pool.take().await?;
            let _gate = token.gate.lock().await;
            if let Some(accepted) = token.pin(|state| state.accepted()) {
                return token.compare(&accepted, &pin);
            }
            if !by_person && module.refused.contains(token.name(), &pin) {
                let from = token.source.describe().unwrap_or_default();
                return Err(PinError::RefusedBefore { token: token.label(), from }.into());
            }
            token.log_in(&mut lease, Some(&pin), by_person).await.map_err(|attempt| attempt.error)
        });
        presented.await.unwrap_or_else(|_| Err(self.fault("the agent is ending".to_owned()).into()))
    }

    fn compare(&self, accepted: &Pin, given: &Pin) -> Result<(), SignError> {
        if is_same(accepted, given) {
            self.pin(|state| state.mismatches = 0);
            return Ok(());
        }
        let mismatches = self.pin(|state| {
            state.mismatches += 1;
            state.mismatches
        });
        if mismatches >= MOST_MISMATCHES {
            self.forget_pin();
        }
        Err(PinError::Mismatch { token: self.label() }.into())
    }

    /// Logs a worker in with the PIN in force, or by the device's own pad.
    pub(super) async fn log_in_worker(self: &Arc<Self>, lease: &mut Lease) -> Result<(), Attempt> {
        let _gate = self.gate.lock().await;
        let pin = self.pin_in_force()?;
        let on_device = pin.is_none();
        self.log_in(lease, pin.as_ref(), on_device).await
    }

    /// The PIN that the token accepted; `None` where the device asks for it itself. To be called with the gate held.
    pub(super) fn pin_in_force(&self) -> Result<Option<Arc<Pin>>, Attempt> {
        if self.seen(|seen| seen.protected_path) {
            return Ok(None);
        }
        let forgotten = || PinError::Forgotten { token: self.label() };
        let accepted =
            self.pin(|state| state.accepted().ok_or_else(|| state.last_failure.clone().unwrap_or_else(forgotten)));
        accepted.map(Some).map_err(Attempt::harmless)
    }

    /// Logs a worker in, records what came of it and takes over what shows then. To be called with the gate held.
    async fn log_in(&self, lease: &mut Lease, pin: Option<&Arc<Pin>>, by_person: bool) -> Result<(), Attempt> {
        let call =
            Call::Login { token: self.name().clone(), pin: pin.map(|pin| octets(pin)), even_final_try: by_person };
        let answer = self.call(lease, &call).await;
        if let Some(pin) = pin {
            self.note_outcome(pin, &answer);
        }
        match answer.map_err(|error| Attempt { error: error.into(), pin_at_stake: pin.is_some() })? {
            Answer::LoggedIn(seen) => {
                if let Some(link) = lease.link() {
                    link.logged_in.insert(self.name().clone());
                }
                self.shows_all.store(true, Ordering::Relaxed);
                let changed = self.seen(|known| {
                    let changed = known.keys != seen.keys;
                    *known = TokenSeen { tries: TriesLeft::NoWarning, twins: known.twins, ..seen };
                    changed
                });
                if let (true, Ok(module)) = (changed, self.module()) {
                    module.keys_changed();
                }
                Ok(())
            }
            Answer::Failed(fault) => {
                let pin_at_stake = fault.pin_at_stake;
                Err(Attempt { error: self.give_up(lease, &fault), pin_at_stake })
            }
            _ => {
                lease.discard();
                Err(Attempt {
                    error: self.fault("the worker answered another call".to_owned()).into(),
                    pin_at_stake: true,
                })
            }
        }
    }

    /// Records what came of presenting a PIN. To be called with the gate held, before it is released.
    pub(super) fn note_outcome(&self, pin: &Arc<Pin>, answer: &Result<Answer, TokenError>) {
        let Ok(module) = self.module() else { return };
        let was_accepted = self.pin(|state| state.accepted().is_some_and(|accepted| is_same(&accepted, pin)));
        match answer {
            // A wrong signature was made after the login that the key wants.
            Ok(
                Answer::LoggedIn(_)
                | Answer::Signature(_)
                | Answer::Failed(ModuleFault { kind: FaultKind::WrongSignature, .. }),
            ) => {
                module.refused.clear(self.name());
                self.pin(|state| {
                    let known = state.accepted.take().filter(|_| was_accepted);
                    let since = if known.is_some() { state.since } else { clock::now() };
                    let accepted = known.or_else(|| LockedOctets::new(pin.expose_secret()).ok());
                    *state = PinState { accepted, since, failures: state.failures, ..PinState::default() };
                });
            }
            Ok(Answer::Failed(fault)) if matches!(fault.kind, FaultKind::PinIncorrect | FaultKind::PinLocked) => {
                module.refused.note(self.name(), pin);
                self.forget_pin();
            }
            Ok(Answer::Failed(fault)) if !fault.pin_at_stake => {}
            // Nobody knows whether the token judged it.
            _ if was_accepted => {
                let doubts = self.pin(|state| {
                    state.doubts += 1;
                    state.doubts
                });
                if doubts >= MOST_DOUBTS {
                    module.refused.note(self.name(), pin);
                    self.forget_pin();
                }
            }
            _ => module.refused.doubt(self.name(), pin),
        }
    }
}
