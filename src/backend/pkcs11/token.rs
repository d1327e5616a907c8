//! One token: its state, its PIN, and signatures with its keys.
//!
//! PIN safety lives here. A PIN goes to the token it was given for and to no other; it is presented once per decision of a person, never
//! again by itself after a refusal, and only when the token has just been looked at. What a person typed is kept once the token accepted
//! it, because each worker process has to log in for itself.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use secrecy::ExposeSecret as _;

use super::Module;
use super::error::TokenError;
use super::pool::Lease;
use crate::backend::SignError;
use crate::backend::pin::{Pin, PinError, PinQuestion, PinSource, TriesLeft};
use crate::ipc::{
    Answer, Call, FaultKind, KeyName, KeySeen, Mechanism, ModuleFault, SecretOctets, TokenName, TokenSeen,
};

/// A token that a scan has seen.
pub struct Token {
    name: TokenName,
    module: Weak<Module>,
    seen: Mutex<TokenSeen>,
    source: PinSource,
    pin: Mutex<PinState>,
    /// Held while one request asks for the PIN; the others wait for its outcome instead of asking too.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct PinState {
    /// The token accepted it, and has not refused it since.
    accepted: Option<Arc<Pin>>,
    /// An unattended source gave it and the token refused it.
    refused: Option<Arc<Pin>>,
    /// The outcome of the last question that ended without a PIN, and how many such there were.
    failures: u64,
    last_failure: Option<PinError>,
}

/// What one signature needs from its key.
pub(super) struct Work {
    pub(super) key: KeyName,
    /// How the key is called in a question for the PIN.
    pub(super) label: String,
    pub(super) mechanism: Mechanism,
    pub(super) input: Vec<u8>,
}

impl Token {
    pub(super) fn new(module: Weak<Module>, seen: TokenSeen, source: PinSource) -> Self {
        Self {
            name: seen.name.clone(),
            module,
            seen: Mutex::new(seen),
            source,
            pin: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// What the last look found. Given to a closure, because a guard in the middle of an expression outlives the line it is on.
    pub(super) fn seen<R>(&self, with: impl FnOnce(&mut TokenSeen) -> R) -> R {
        with(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Which token it is.
    pub const fn name(&self) -> &TokenName {
        &self.name
    }

    /// Whether it can sign now, in words for people.
    pub fn state(&self) -> &'static str {
        let accepted = self.pin(|pin| pin.accepted.is_some());
        self.seen(|seen| match seen.tries {
            TriesLeft::Locked => "PIN locked",
            _ if !seen.login_required || accepted || seen.logged_in => "ready",
            _ if seen.protected_path => "PIN on device",
            TriesLeft::Final => "needs PIN (final try)",
            TriesLeft::Low => "needs PIN (few tries left)",
            TriesLeft::NoWarning => "needs PIN",
        })
    }

    /// Forgets the PIN.
    pub fn forget_pin(&self) {
        self.pin(|pin| *pin = PinState::default());
        self.seen(|seen| seen.logged_in = false);
    }

    /// Presents a PIN that a person gave for this token.
    ///
    /// A PIN that the token accepted before is compared here instead of being presented again: a wrong one costs no try.
    ///
    /// # Errors
    /// The token refused it, or did not serve.
    pub async fn unlock_with(self: &Arc<Self>, pin: Pin) -> Result<(), SignError> {
        let _asking = self.asking.lock().await;
        let known = self.pin(|pin| pin.accepted.clone());
        match known {
            Some(accepted) if accepted.expose_secret() == pin.expose_secret() => Ok(()),
            Some(_) => Err(PinError::Incorrect { token: self.label(), tries: self.tries() }.into()),
            None => self.present(Arc::new(pin), true).await,
        }
    }

    pub(super) async fn sign(self: &Arc<Self>, work: Work) -> Result<Vec<u8>, SignError> {
        let pin = self.pin_for(&work.label).await?;
        let token = Arc::clone(self);
        // A call in progress cannot be withdrawn from a module; it runs to its end although the client may be gone.
        match tokio::spawn(async move { token.run(work, pin).await }).await {
            Ok(result) => result,
            Err(_) => Err(self.fault("the agent is ending".to_owned()).into()),
        }
    }

    /// The PIN that workers log in with; `None` where none is needed or the device asks for it itself.
    async fn pin_for(self: &Arc<Self>, key: &str) -> Result<Option<Arc<Pin>>, SignError> {
        if self.seen(|seen| !seen.login_required || seen.protected_path) {
            return Ok(None);
        }
        let (accepted, failures) = self.pin(|pin| (pin.accepted.clone(), pin.failures));
        if accepted.is_some() {
            return Ok(accepted);
        }
        let _asking = self.asking.lock().await;
        let (accepted, failure) = self.pin(|pin| {
            // Requests that waited behind a declined question were declined with it.
            (pin.accepted.clone(), pin.last_failure.clone().filter(|_| pin.failures != failures))
        });
        match (accepted, failure) {
            (Some(accepted), _) => return Ok(Some(accepted)),
            (None, Some(failure)) => return Err(failure.into()),
            (None, None) => {}
        }
        let result = self.obtain(key).await;
        if let Err(SignError::Pin(failure)) = &result {
            self.pin(|pin| {
                pin.failures += 1;
                pin.last_failure = Some(failure.clone());
            });
        }
        result?;
        Ok(self.pin(|pin| pin.accepted.clone()))
    }

    /// Gets a PIN from its source or a person and presents it.
    async fn obtain(self: &Arc<Self>, key: &str) -> Result<(), SignError> {
        let module = self.module()?;
        if self.tries() == TriesLeft::Locked {
            // Somebody may have unblocked it since, and looking costs no try.
            module.scan().await?;
            if self.tries() == TriesLeft::Locked {
                return Err(PinError::Locked { token: self.label() }.into());
            }
        }
        if let Some(pin) = self.source.read()? {
            let pin = Arc::new(pin);
            module.only_claimant(self)?;
            let refused = self.pin(|pin| pin.refused.clone());
            if refused.is_some_and(|refused| refused.expose_secret() == pin.expose_secret()) {
                let from = self.source.describe().unwrap_or_default();
                return Err(PinError::RefusedBefore { token: self.label(), from }.into());
            }
            return self.present(pin, false).await;
        }
        let question = PinQuestion {
            token: self.label(),
            serial: self.name.serial.clone(),
            key: key.to_owned(),
            tries: self.tries(),
            after_refusal: self.pin(|pin| matches!(pin.last_failure, Some(PinError::Incorrect { .. }))),
        };
        let pin = module.prompt.ask(question).await?;
        self.present(Arc::new(pin), true).await
    }

    /// Presents a PIN to the token, once.
    async fn present(self: &Arc<Self>, pin: Arc<Pin>, by_person: bool) -> Result<(), SignError> {
        let (token, presented) = (Arc::clone(self), Arc::clone(&pin));
        // Spawned, so that a client that goes away cannot leave open whether the try was spent.
        let login = tokio::spawn(async move {
            let module = token.module()?;
            let mut lease = module.pool.take().await?;
            token.log_in(&mut lease, Some(&presented), by_person).await
        });
        match login.await.unwrap_or_else(|_| Err(self.fault("the agent is ending".to_owned()).into())) {
            Ok(()) => {
                self.pin(|state| {
                    *state = PinState { accepted: Some(pin), failures: state.failures, ..PinState::default() };
                });
                Ok(())
            }
            Err(error) => {
                if matches!(error, SignError::Pin(PinError::Incorrect { .. } | PinError::Locked { .. })) && !by_person {
                    self.pin(|state| state.refused = Some(pin));
                }
                Err(error)
            }
        }
    }

    async fn run(self: &Arc<Self>, work: Work, pin: Option<Arc<Pin>>) -> Result<Vec<u8>, SignError> {
        let module = self.module()?;
        let mut fresh_start_left = true;
        loop {
            let mut lease = module.pool.take().await?;
            let used_before = lease.used_before;
            match self.run_on(&mut lease, &work, pin.as_ref()).await {
                // A worker that was killed between two signatures, or has lost its token for good, is no reason to refuse one.
                Err(SignError::Token(TokenError::Crashed { .. } | TokenError::Stale { .. }))
                    if used_before && fresh_start_left =>
                {
                    fresh_start_left = false;
                }
                result => return result,
            }
        }
    }

    async fn run_on(
        self: &Arc<Self>,
        lease: &mut Lease,
        work: &Work,
        pin: Option<&Arc<Pin>>,
    ) -> Result<Vec<u8>, SignError> {
        let needs_login = self.seen(|seen| seen.login_required);
        let mut relogin_left = true;
        loop {
            if needs_login && !lease.link().is_some_and(|link| link.logged_in.contains(&self.name)) {
                self.log_in(lease, pin, false).await?;
            }
            let each_time = self.always_authenticates(&work.key);
            let call = Call::Sign {
                token: self.name.clone(),
                key: work.key.clone(),
                mechanism: work.mechanism,
                input: work.input.clone(),
                pin: pin.filter(|_| each_time).map(|pin| octets(pin)),
            };
            match lease.call(&call).await? {
                Answer::Signature(raw) => return Ok(raw),
                Answer::Failed(fault)
                    if relogin_left && matches!(fault.kind, FaultKind::SessionLost | FaultKind::NotLoggedIn) =>
                {
                    tracing::info!(token = %self.label(), reason = %fault, "session lost; logging in again");
                    relogin_left = false;
                }
                Answer::Failed(fault) => return Err(self.give_up(lease, &fault)),
                _ => return Err(self.fault("the worker answered another call".to_owned()).into()),
            }
        }
    }

    /// Logs a worker in to the token and takes over what shows then.
    async fn log_in(
        self: &Arc<Self>,
        lease: &mut Lease,
        pin: Option<&Arc<Pin>>,
        by_person: bool,
    ) -> Result<(), SignError> {
        let call = Call::Login { token: self.name.clone(), pin: pin.map(|pin| octets(pin)), even_final_try: by_person };
        match lease.call(&call).await? {
            Answer::LoggedIn(seen) => {
                if let Some(link) = lease.link() {
                    link.logged_in.insert(self.name.clone());
                }
                let changed = self.seen(|known| {
                    let changed = known.keys != seen.keys;
                    *known = TokenSeen { tries: TriesLeft::NoWarning, ..seen };
                    changed
                });
                if changed && let Some(module) = self.module.upgrade() {
                    module.keys_changed();
                }
                Ok(())
            }
            Answer::Failed(fault) => Err(self.give_up(lease, &fault)),
            _ => Err(self.fault("the worker answered another call".to_owned()).into()),
        }
    }

    /// A session that is lost even after a new login is lost to the whole process.
    fn give_up(&self, lease: &mut Lease, fault: &ModuleFault) -> SignError {
        if fault.kind == FaultKind::SessionLost {
            lease.discard();
        }
        self.refusal(fault)
    }

    /// What a fault means for the person, and for what is remembered.
    fn refusal(&self, fault: &ModuleFault) -> SignError {
        let token = self.label();
        match fault.kind {
            FaultKind::PinIncorrect => {
                self.forget_pin();
                self.seen(|seen| seen.tries = fault.tries);
                PinError::Incorrect { token, tries: fault.tries }.into()
            }
            FaultKind::PinLocked => {
                self.forget_pin();
                self.seen(|seen| seen.tries = TriesLeft::Locked);
                PinError::Locked { token }.into()
            }
            FaultKind::FinalTry => {
                self.seen(|seen| seen.tries = TriesLeft::Final);
                PinError::FinalTry { token }.into()
            }
            FaultKind::TokenGone => TokenError::Gone { token, reason: fault.text.clone() }.into(),
            FaultKind::SessionLost => TokenError::Stale { token, reason: fault.text.clone() }.into(),
            FaultKind::MechanismRefused => TokenError::Mechanism { token, reason: fault.text.clone() }.into(),
            _ => self.fault(fault.text.clone()).into(),
        }
    }

    fn always_authenticates(&self, key: &KeyName) -> bool {
        let same = |seen: &KeySeen| seen.public == key.public && seen.id == key.id;
        self.seen(|seen| seen.keys.iter().any(|seen| seen.always_authenticate && same(seen)))
    }

    fn module(&self) -> Result<Arc<Module>, TokenError> {
        self.module.upgrade().ok_or_else(|| self.fault("its module was removed".to_owned()))
    }

    fn fault(&self, reason: String) -> TokenError {
        TokenError::Fault { token: self.label(), reason }
    }

    pub(super) fn label(&self) -> String {
        crate::text::escape(self.name.label.as_bytes())
    }

    fn tries(&self) -> TriesLeft {
        self.seen(|seen| seen.tries)
    }

    fn pin<R>(&self, with: impl FnOnce(&mut PinState) -> R) -> R {
        with(&mut self.pin.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn octets(pin: &Pin) -> SecretOctets {
    SecretOctets(pin.expose_secret().to_vec().into())
}
