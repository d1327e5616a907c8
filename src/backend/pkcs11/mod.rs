//! PKCS#11 tokens behind worker processes.
//!
//! A [`Module`] is one shared object and its workers; a [`Token`] one token it shows; a [`TokenKey`] one key on that. No vendor code runs
//! in this process. Lists are answered from what the last scan found; a signature costs one call to one worker.

mod claimants;
pub mod discover;
pub mod error;
mod holders;
mod key;
mod look;
pub mod manage;
mod notes;
mod pool;
mod presence;
mod pulled;
mod readers;
mod rest;
mod set_aside;
mod silence;
mod to_its_end;
mod token;
mod unlock;
pub mod uri;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use tokio::sync::mpsc::UnboundedSender;

pub use claimants::Claimants;
pub use key::TokenKey;
pub use rest::Release;
pub use token::Token;

use super::People;
use super::pin::{PinCache, PinSource, RefusedPins};
use crate::crypto::fingerprint::FingerprintHash;
use crate::ipc::{Answer, Call, KeyName, KeySeen, Sandbox, TokenName, TokenSeen};
use crate::protocol::public_key::PublicKey;
use error::TokenError;
use pool::{Lease, Pool};
use presence::Presence;
use rest::Rest;
use uri::Uri;

/// The default limit for one call of a module: long enough for a touch, short enough for a person to wait.
pub const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// How many tokens that are gone are remembered, so that their keys are known when they come back.
const MOST_GONE: usize = 32;

/// A module and what is wanted of it.
#[derive(Clone, Default)]
pub struct ModuleSpec {
    /// The shared object.
    pub path: PathBuf,
    /// Variables for its workers' environment.
    pub env: Vec<(String, String)>,
    /// The limit for one call; [`CALL_DEADLINE`] when not given.
    pub deadline: Option<Duration>,
    /// How many workers at most; by the kind of token when not given.
    pub workers: Option<usize>,
    /// The keys that are offered; all that can sign when empty.
    pub keys: Vec<Selector>,
    /// Where the PIN comes from, for the one token of this module that wants one.
    pub pin: PinSource,
    /// How long a PIN is kept.
    pub cache: PinCache,
    /// When sessions and logins end that nobody uses.
    pub release: Release,
    /// What the module may do beside signing.
    pub sandbox: Sandbox,
    /// Tokens that share [`Self::pin`] with those of other modules.
    pub claimants: Claimants,
}

/// One line of a key selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By token and object.
    Uri(Uri),
    /// By fingerprint, as `ssh-keygen -l` prints it.
    Fingerprint(String),
}

/// A module in use.
pub struct Module {
    spec: ModuleSpec,
    pool: Arc<Pool>,
    prompt: Arc<dyn People>,
    refused: Arc<RefusedPins>,
    /// It had its first look at its tokens.
    looked: AtomicBool,
    /// Its workers notice tokens that are put in.
    sees_insertions: AtomicBool,
    presence: Arc<Presence>,
    rest: Rest,
    tokens: Mutex<IndexMap<TokenName, Arc<Token>>>,
    keys: Mutex<HashMap<(TokenName, KeyName), Arc<TokenKey>>>,
    changes: UnboundedSender<PathBuf>,
    /// Why it could not be used at the last attempt.
    trouble: Mutex<Option<TokenError>>,
}

impl Module {
    /// Prepares a module; nothing is started yet. Its path is sent to `changes` whenever its keys are found to be others.
    pub fn new(
        spec: ModuleSpec,
        prompt: Arc<dyn People>,
        refused: Arc<RefusedPins>,
        changes: UnboundedSender<PathBuf>,
    ) -> Arc<Self> {
        let deadline = spec.deadline.unwrap_or(CALL_DEADLINE);
        let pool = Pool::new(spec.path.clone(), spec.env.clone(), spec.sandbox.clone(), deadline);
        Arc::new(Self {
            spec,
            pool,
            prompt,
            refused,
            looked: AtomicBool::new(false),
            sees_insertions: AtomicBool::new(false),
            presence: Arc::default(),
            rest: Rest::default(),
            tokens: Mutex::default(),
            keys: Mutex::default(),
            changes,
            trouble: Mutex::default(),
        })
    }

    /// The shared object's path.
    pub const fn path(&self) -> &PathBuf {
        &self.spec.path
    }

    /// Looks at all tokens. What is remembered of a token that is still there stays.
    ///
    /// # Errors
    /// The module cannot be used at all.
    pub async fn scan(self: &Arc<Self>) -> Result<(), TokenError> {
        let module = Arc::clone(self);
        // Spawned, so that a caller that stops waiting does not cost the worker its life.
        tokio::spawn(async move { module.scan_now().await })
            .await
            .unwrap_or_else(|_| Err(self.fault("the agent is ending")))
    }

    async fn scan_now(self: &Arc<Self>) -> Result<(), TokenError> {
        let result = self.look_at_tokens().await;
        self.note_trouble(result.as_ref().err());
        if !self.looked.swap(true, Ordering::Relaxed) {
            self.spec.claimants.looked();
        }
        result
    }

    async fn look_at_tokens(self: &Arc<Self>) -> Result<(), TokenError> {
        let mut lease = self.pool.take().await?;
        self.look_with(&mut lease).await.map(drop)
    }

    /// Looks by this worker; whether something is not as it was.
    async fn look_with(self: &Arc<Self>, lease: &mut Lease) -> Result<bool, TokenError> {
        let found = match self.call(lease, &Call::Scan).await? {
            Answer::Tokens { tokens, sees_insertions, pcscd } => {
                self.note_trouble(None);
                self.sees_insertions.store(sees_insertions, Ordering::Relaxed);
                self.reads_by(pcscd);
                tokens
            }
            Answer::Failed(fault) => {
                lease.discard();
                return Err(self.fault(&fault.text));
            }
            _ => {
                lease.discard();
                return Err(TokenError::Nonsense { module: self.name() });
            }
        };
        self.pool.widen(self.spec.workers.unwrap_or_else(|| worker_count(&found)));
        let changed = self.take_over(found);
        self.claim();
        let misses = !self.shows_a_token() || self.is_missing_a_token();
        if (changed || misses)
            && let Some(readers) = self.readers().await
        {
            self.note_readers(&readers);
            if misses {
                self.look_for_holder(&readers).await;
            }
        }
        if changed {
            self.keys_changed();
        }
        Ok(changed)
    }

    /// Takes over what a look found; whether something is not as it was.
    fn take_over(self: &Arc<Self>, found: Vec<TokenSeen>) -> bool {
        let mut changed = false;
        let mut tokens = self.tokens();
        for (_, token) in tokens.iter().filter(|(name, _)| found.iter().all(|seen| seen.name != **name)) {
            if token.leaves() {
                tracing::info!(token = token.label(), "token is gone");
                changed = true;
            }
        }
        for seen in found {
            match tokens.get(&seen.name) {
                Some(known) => changed |= known.arrives(seen),
                None => {
                    let source = self.pin_source(&seen);
                    let token = Token::new(Arc::downgrade(self), seen, source, self.spec.cache);
                    tracing::info!(token = token.label(), "token found");
                    tokens.insert(token.name().clone(), Arc::new(token));
                    changed = true;
                }
            }
        }
        let gone = tokens.values().filter(|token| !token.is_present()).count();
        let mut surplus = gone.saturating_sub(MOST_GONE);
        tokens.retain(|_, token| {
            let is_surplus = surplus > 0 && !token.is_present();
            surplus -= usize::from(is_surplus);
            !is_surplus
        });
        changed
    }

    /// Forgets the PINs whose time is over.
    fn forget_expired(&self) {
        let tokens: Vec<Arc<Token>> = self.tokens().values().cloned().collect();
        tokens.iter().for_each(|token| token.forget_if_expired());
    }

    /// The module is out of reach, and with it every token.
    fn all_gone(&self) {
        let tokens: Vec<Arc<Token>> = self.tokens().values().cloned().collect();
        // Each of them, not only up to the first.
        if tokens.iter().filter(|token| token.leaves()).count() > 0 {
            tracing::warn!(module = self.name(), "the module does not answer; its tokens count as gone");
            self.keys_changed();
        }
    }

    fn has_looked(&self) -> bool {
        self.looked.load(Ordering::Relaxed)
    }

    fn sees_insertions(&self) -> bool {
        self.sees_insertions.load(Ordering::Relaxed)
    }

    fn is_missing_a_token(&self) -> bool {
        self.tokens().values().any(|token| !token.is_present())
    }

    fn shows_a_token(&self) -> bool {
        self.tokens().values().any(|token| token.is_present())
    }

    /// The keys that are offered, in the order of tokens and objects.
    pub fn offered(&self) -> Vec<Arc<TokenKey>> {
        let tokens: Vec<Arc<Token>> = self.tokens().values().cloned().collect();
        let mut keys = self.keys();
        let mut offered = Vec::new();
        for token in tokens {
            let seen = token.seen(|seen| seen.clone());
            for key in seen.keys.iter().filter(|key| self.selects(&seen, key)) {
                let index = (seen.name.clone(), key.name());
                let known = match keys.get(&index) {
                    Some(known) => Some(Arc::clone(known)),
                    None => TokenKey::new(Arc::clone(&token), self.name(), key).map(Arc::new),
                };
                if let Some(known) = known {
                    keys.insert(index, Arc::clone(&known));
                    offered.push(known);
                }
            }
        }
        keys.retain(|(token, _), _| offered.iter().any(|key| key.token_name() == token));
        offered
    }

    /// The tokens of this module that are there and want a PIN, out of those the selection is about.
    pub fn tokens_wanting_pin(&self) -> Vec<Arc<Token>> {
        self.tokens_ever_wanting_pin().into_iter().filter(|token| token.is_present()).collect()
    }

    /// Forgets PINs and ends the workers, and with them every login.
    pub fn release(self: &Arc<Self>) {
        let tokens: Vec<Arc<Token>> = self.tokens().values().cloned().collect();
        tokens.iter().for_each(|token| token.forget_pin());
        self.rest();
    }

    fn keys_changed(&self) {
        // The receiver lives as long as the agent; at its end nobody needs to know.
        let _ = self.changes.send(self.spec.path.clone());
    }

    fn pin_source(&self, token: &TokenSeen) -> PinSource {
        self.own_pin_source(token).unwrap_or_else(|| self.spec.pin.clone())
    }

    /// The `pin-source` of the first URI that is about this token.
    fn own_pin_source(&self, token: &TokenSeen) -> Option<PinSource> {
        self.spec.keys.iter().find_map(|selector| match selector {
            Selector::Uri(uri) if uri.matches_token(token) => uri.pin_source.clone().map(PinSource::File),
            _ => None,
        })
    }

    fn is_about(&self, token: &TokenSeen) -> bool {
        self.spec.keys.is_empty()
            || self.spec.keys.iter().any(|selector| match selector {
                Selector::Uri(uri) => uri.matches_token(token),
                Selector::Fingerprint(wanted) => token.keys.iter().any(|key| has_fingerprint(key, wanted)),
            })
    }

    fn selects(&self, token: &TokenSeen, key: &KeySeen) -> bool {
        let is_usual = !set_aside::is_set_aside(token, key);
        self.spec.keys.is_empty() && is_usual
            || self.spec.keys.iter().any(|selector| match selector {
                Selector::Uri(uri) => {
                    uri.matches_token(token) && uri.matches_key(key) && (is_usual || uri.names_a_key())
                }
                Selector::Fingerprint(wanted) => has_fingerprint(key, wanted),
            })
    }

    fn fault(&self, reason: &str) -> TokenError {
        TokenError::Load { module: self.name(), reason: reason.to_owned() }
    }

    fn name(&self) -> String {
        self.spec.path.display().to_string()
    }

    fn tokens(&self) -> MutexGuard<'_, IndexMap<TokenName, Arc<Token>>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<(TokenName, KeyName), Arc<TokenKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device computes one thing at a time; a token in software profits from every core, and from one worker that has its next call already
/// while another's answer is passed on. Which of them a reader without a card is for is not known yet.
fn worker_count(tokens: &[TokenSeen]) -> usize {
    match tokens.is_empty() || tokens.iter().any(|token| token.device) {
        true => 1,
        false => std::thread::available_parallelism().map_or(1, usize::from) + 1,
    }
}

fn has_fingerprint(key: &KeySeen, wanted: &str) -> bool {
    PublicKey::from_blob(&key.public).is_ok_and(|public| {
        let hash = match wanted.split_once(':') {
            Some(("MD5", _)) => FingerprintHash::Md5,
            _ => FingerprintHash::Sha256,
        };
        hash.of(&public) == wanted
    })
}
