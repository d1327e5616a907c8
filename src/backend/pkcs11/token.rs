//! One token: what is known of it, and signatures with its keys. How it gets its PIN is in [`super::unlock`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use secrecy::ExposeSecret as _;
use tokio::sync::Notify;

use super::Module;
use super::error::TokenError;
use super::look::{Access, PublicLook};
use super::pool::Lease;
use super::silence::broken_by_notice;
use super::to_its_end::ToItsEnd;
use super::unlock::PinState;
use crate::backend::SignError;
use crate::backend::pin::{Pin, PinCache, PinError, PinSource, TriesLeft};
use crate::errand::Errand;
use crate::ipc::{Answer, Call, FaultKind, KeyName, KeySeen, ModuleFault, SecretOctets, TokenName, TokenSeen};
use crate::protocol::signature::SignatureAlgorithm;

/// A token that a scan has seen.
pub struct Token {
    name: TokenName,
    module: Weak<Module>,
    seen: Mutex<TokenSeen>,
    pub(super) present: AtomicBool,
    /// Its slot is called as a reader of `pcscd` is.
    pub(super) in_reader: AtomicBool,
    /// Its keys are known as they show after login: before, fewer do.
    pub(super) shows_all: AtomicBool,
    /// What the last look without a login showed.
    pub(super) public_look: Mutex<PublicLook>,
    pub(super) departure: Notify,
    pub(super) source: PinSource,
    cache: PinCache,
    /// Held for a whole signature where each one asks for its own PIN.
    alone: tokio::sync::Mutex<()>,
    pin: Mutex<PinState>,
    /// Held while one request asks for the PIN; the others wait for its outcome instead of asking too.
    pub(super) asking: tokio::sync::Mutex<()>,
    /// Held while a PIN is with the token, until what came of it is recorded.
    pub(super) gate: tokio::sync::Mutex<()>,
}

/// A signature that failed, and whether a PIN may have been spent on it.
pub(super) struct Attempt {
    pub(super) error: SignError,
    pub(super) pin_at_stake: bool,
}

impl Attempt {
    pub(super) fn harmless(error: impl Into<SignError>) -> Self {
        Self { error: error.into(), pin_at_stake: false }
    }
}

/// What one signature needs from its key.
pub(super) struct Work {
    pub(super) key: KeyName,
    /// How the key is called in a question for the PIN.
    pub(super) label: String,
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) data: Vec<u8>,
    pub(super) errand: Errand,
}

impl Token {
    pub(super) fn new(module: Weak<Module>, seen: TokenSeen, source: PinSource, cache: PinCache) -> Self {
        Self {
            name: seen.name.clone(),
            public_look: Mutex::new(PublicLook::of(&seen.keys)),
            module,
            seen: Mutex::new(seen),
            present: AtomicBool::new(true),
            in_reader: AtomicBool::new(false),
            shows_all: AtomicBool::new(false),
            departure: Notify::new(),
            source,
            cache,
            alone: tokio::sync::Mutex::default(),
            pin: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            gate: tokio::sync::Mutex::default(),
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

    /// Whether it was there at the last look.
    pub fn is_present(&self) -> bool {
        self.present.load(Ordering::Relaxed)
    }

    /// Waits until it is not there any more.
    pub(super) async fn departed(&self) {
        let departure = self.departure.notified();
        if self.is_present() {
            departure.await;
        }
    }

    /// Whether it can sign now with this key, in words for people.
    pub(super) fn state(&self, key: &KeyName) -> String {
        let holder = self.module().ok().and_then(|module| module.holder());
        match (self.is_present(), holder) {
            (false, Some(programs)) => format!("in use by {programs}"),
            (false, None) => "gone".to_owned(),
            (true, _) if self.access(key) != Access::AfterLogin => "ready".to_owned(),
            (true, _) => self.state_of_pin().to_owned(),
        }
    }

    fn state_of_pin(&self) -> &'static str {
        let accepted = self.pin(|pin| pin.is_accepted());
        self.seen(|seen| match seen.tries {
            TriesLeft::Locked => "PIN locked",
            _ if !seen.login_required || accepted || seen.logged_in => "ready",
            _ if seen.protected_path => "PIN on device",
            TriesLeft::Final => "needs PIN (final try)",
            TriesLeft::Low | TriesLeft::Left(_) => "needs PIN (few tries left)",
            TriesLeft::NoWarning => "needs PIN",
        })
    }

    pub(super) async fn sign(self: &Arc<Self>, work: Work) -> Result<Vec<u8>, SignError> {
        let module = self.module()?;
        match self.sign_there(&module, work).await {
            Err(SignError::Token(gone @ TokenError::Gone { .. })) => Err(module.held().await.unwrap_or(gone).into()),
            // What modules say in the moment before they notice.
            Err(SignError::Token(TokenError::Fault { reason, .. })) if self.is_pulled(&module).await => {
                self.note_gone();
                Err(self.gone(&reason).into())
            }
            result => result,
        }
    }

    /// Takes it for gone before a look has found that.
    pub(super) fn note_gone(&self) {
        if let (true, Ok(module)) = (self.leaves(), self.module()) {
            module.keys_changed();
            module.presence.nudge();
        }
    }

    async fn sign_there(self: &Arc<Self>, module: &Arc<Module>, work: Work) -> Result<Vec<u8>, SignError> {
        let rested = module.wake();
        module.notice_suspend();
        self.forget_if_expired();
        let mut once = None;
        let mut open_try_left = true;
        let work = Arc::new(work);
        let mut fresh_start_left = true;
        let mut return_left = true;
        if rested && !self.pin(|pin| pin.is_accepted()) {
            // Nobody is asked for the PIN of a token that another program has taken meanwhile.
            Box::pin(module.scan()).await?;
        }
        loop {
            let access = self.access(&work.key);
            if self.cache == PinCache::Never && access != Access::Open && once.is_none() {
                once = Some(Once { _alone: self.alone.lock().await, token: self });
            }
            if !self.is_present() {
                // It may have been put in this very moment.
                Box::pin(module.scan()).await?;
                if !self.is_present() {
                    return Err(self.gone("the token is not there").into());
                }
            }
            let openly = open_try_left && access != Access::AfterLogin;
            if !openly {
                self.unlock(&work.label, &work.errand).await?;
            }
            // While it waits for a worker a request can be withdrawn; what was begun in a module cannot, and runs to its end.
            let permit = module.pool.permit().await?;
            let mut may_retry = false;
            let signing = async {
                let mut lease = module.pool.take_with(permit).await.map_err(Attempt::harmless)?;
                may_retry = lease.used_before && fresh_start_left;
                let (token, job) = (Arc::clone(self), Arc::clone(&work));
                ToItsEnd::new(async move { token.run(&mut lease, &job, openly).await }).await
            };
            match broken_by_notice(signing, &*module.prompt, &self.name, &work).await {
                Ok(signature) => return Ok(signature),
                // A worker that was killed between two signatures, or has lost its token for good, is no reason to refuse one. What
                // failed with a PIN in its hands is never done again by itself.
                Err(Attempt {
                    error: SignError::Token(TokenError::Crashed { .. } | TokenError::Stale { .. }),
                    pin_at_stake: false,
                }) if may_retry => {
                    fresh_start_left = false;
                }
                // It was taken out since the last look; perhaps it is back.
                Err(Attempt { error: SignError::Token(TokenError::Gone { .. }), pin_at_stake: false })
                    if return_left =>
                {
                    return_left = false;
                }
                // The same seen by others: the PIN went with the token. Where nobody has to type it there is nobody to ask again.
                Err(Attempt { error: SignError::Pin(PinError::Forgotten { .. }), pin_at_stake: false })
                    if return_left && self.source.describe().is_some() =>
                {
                    return_left = false;
                }
                // What shows without a login does not always sign without one, and some modules do not say that this is why.
                Err(Attempt { error: SignError::Token(error), .. }) if openly && error.may_be_for_want_of_a_login() => {
                    tracing::debug!(token = self.label(), "logging in: {error}");
                    self.note_access(&work.key, Access::AfterLogin);
                    open_try_left = false;
                }
                Err(attempt) => return Err(attempt.error),
            }
        }
    }

    /// Forgets the PIN if its time is over.
    pub(super) fn forget_if_expired(&self) {
        let is_over = match self.cache {
            PinCache::For(time) => self.pin(|pin| pin.is_older_than(time)),
            // One that a request left behind which did not wait for its signature.
            PinCache::Never => self.alone.try_lock().is_ok() && self.pin(|pin| pin.is_accepted()),
            PinCache::UntilRemoval => false,
        };
        if is_over {
            tracing::info!(token = self.label(), "the time of its PIN is over");
            self.forget_pin();
        }
    }

    /// Signs by this worker; `openly` says that it is not to be logged in for that.
    async fn run(self: &Arc<Self>, lease: &mut Lease, work: &Work, openly: bool) -> Result<Vec<u8>, Attempt> {
        let needs_login = !openly && self.seen(|seen| seen.login_required);
        let mut relogin_left = true;
        loop {
            let is_in = lease.link().is_some_and(|link| link.logged_in.contains(&self.name));
            if needs_login && !is_in {
                Box::pin(self.log_in_worker(lease)).await?;
            }
            let each_time = !openly && self.always_authenticates(&work.key);
            // Held for the whole call where it carries a PIN.
            let gate = if each_time { Some(self.gate.lock().await) } else { None };
            let pin = if each_time { self.pin_in_force()? } else { None };
            let call = Call::Sign {
                token: self.name.clone(),
                key: work.key.clone(),
                algorithm: work.algorithm,
                data: work.data.clone(),
                pin: pin.as_deref().map(octets),
            };
            let answer = self.call(lease, &call).await;
            if let Some(pin) = &pin {
                self.note_outcome(pin, &answer);
            }
            drop(gate);
            let answer = answer.map_err(|error| Attempt { error: error.into(), pin_at_stake: pin.is_some() })?;
            match answer {
                Answer::Signature(raw) => {
                    if openly && !is_in {
                        self.note_access(&work.key, Access::Open);
                    }
                    return Ok(raw);
                }
                Answer::Failed(fault) if openly && may_be_for_want_of_a_login(fault.kind) => {
                    return Err(Attempt::harmless(TokenError::WantsLogin { token: self.label(), reason: fault.text }));
                }
                Answer::Failed(fault)
                    if relogin_left
                        && !fault.pin_at_stake
                        && matches!(fault.kind, FaultKind::SessionLost | FaultKind::NotLoggedIn) =>
                {
                    tracing::info!(token = %self.label(), reason = %fault, "session lost; logging in again");
                    relogin_left = false;
                }
                Answer::Failed(fault) if fault.kind == FaultKind::WrongSignature => {
                    let module = self.module().map_err(Attempt::harmless)?.path().display().to_string();
                    return Err(Attempt::harmless(TokenError::WrongSignature { module, key: work.label.clone() }));
                }
                Answer::Failed(fault) => {
                    let pin_at_stake = fault.pin_at_stake;
                    return Err(Attempt { error: self.give_up(lease, &fault), pin_at_stake });
                }
                _ => {
                    lease.discard();
                    return Err(Attempt::harmless(self.fault("the worker answered another call".to_owned())));
                }
            }
        }
    }

    /// A session that is lost even after a new login is lost to the whole process.
    pub(super) fn give_up(&self, lease: &mut Lease, fault: &ModuleFault) -> SignError {
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
                self.seen(|seen| seen.tries = fault.tries);
                PinError::Incorrect { token, tries: fault.tries }.into()
            }
            FaultKind::PinLocked => {
                self.seen(|seen| seen.tries = TriesLeft::Locked);
                PinError::Locked { token }.into()
            }
            FaultKind::FinalTry => {
                self.seen(|seen| seen.tries = TriesLeft::Final);
                PinError::FinalTry { token }.into()
            }
            FaultKind::TokenGone => {
                self.note_gone();
                self.gone(&fault.text).into()
            }
            FaultKind::SessionLost => TokenError::Stale { token, reason: fault.text.clone() }.into(),
            FaultKind::MechanismRefused => TokenError::Mechanism { token, reason: fault.text.clone() }.into(),
            _ => self.fault(fault.text.clone()).into(),
        }
    }

    pub(super) fn always_authenticates(&self, key: &KeyName) -> bool {
        let same = |seen: &KeySeen| seen.public == key.public && seen.id == key.id;
        self.seen(|seen| seen.keys.iter().any(|seen| seen.always_authenticate && same(seen)))
    }

    pub(super) fn module(&self) -> Result<Arc<Module>, TokenError> {
        self.module.upgrade().ok_or_else(|| self.fault("its module was removed".to_owned()))
    }

    pub(super) fn gone(&self, reason: &str) -> TokenError {
        TokenError::Gone { token: self.label(), reason: reason.to_owned() }
    }

    pub(super) fn fault(&self, reason: String) -> TokenError {
        TokenError::Fault { token: self.label(), reason }
    }

    pub(super) fn label(&self) -> String {
        crate::text::escape(self.name.label.as_bytes())
    }

    pub(super) fn tries(&self) -> TriesLeft {
        self.seen(|seen| seen.tries)
    }

    pub(super) fn pin<R>(&self, with: impl FnOnce(&mut PinState) -> R) -> R {
        with(&mut self.pin.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a signature without a login may have failed only because of that: what a module says then it says to nobody who is logged in.
const fn may_be_for_want_of_a_login(kind: FaultKind) -> bool {
    use FaultKind::{Cancelled, MechanismRefused, SessionLost, TokenGone};
    !matches!(kind, TokenGone | SessionLost | MechanismRefused | Cancelled)
}

/// One signature with a PIN of its own: whatever comes of it, the PIN is forgotten and the login ended.
struct Once<'a> {
    _alone: tokio::sync::MutexGuard<'a, ()>,
    token: &'a Token,
}

impl Drop for Once<'_> {
    fn drop(&mut self) {
        // A key that signs without a PIN costs the worker its life no more than elsewhere.
        if self.token.pin(|pin| pin.is_accepted()) || self.token.seen(|seen| seen.logged_in) {
            self.token.forget_pin();
        }
    }
}

pub(super) fn octets(pin: &Pin) -> SecretOctets {
    SecretOctets(pin.expose_secret().to_vec().into())
}
