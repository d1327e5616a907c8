//! Requests to replies, for one connection.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice};

use super::{Agent, inventory};
use crate::backend::software::SoftwareKey;
use crate::clock;
use crate::crypto::passphrase::PassphraseHash;
use crate::crypto::verify::Verifier;
use crate::keyring::Identity;
use crate::protocol::constraint::Constraints;
use crate::protocol::public_key::PublicKey;
use crate::protocol::reply;
use crate::protocol::request::{Add, AddProvider, Request, Sign};
use crate::protocol::session_bind::SessionBind;
use crate::text;

/// A reply as it goes out.
pub(super) enum Reply {
    Fixed(&'static [u8]),
    Shared(Arc<[u8]>),
    Own(Vec<u8>),
}

impl AsRef<[u8]> for Reply {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Fixed(octets) => octets,
            Self::Shared(octets) => octets,
            Self::Own(octets) => octets,
        }
    }
}

const FAILURE: Reply = Reply::Fixed(reply::FAILURE);
const SUCCESS: Reply = Reply::Fixed(reply::SUCCESS);

/// Handles the requests of one connection, and remembers what the connection said of itself.
pub(super) struct Handler<'a> {
    agent: &'a Agent,
}

impl<'a> Handler<'a> {
    pub(super) const fn new(agent: &'a Agent) -> Self {
        Self { agent }
    }

    /// Answers one request. Every frame gets exactly one reply.
    pub(super) async fn handle(&mut self, frame: &[u8]) -> Reply {
        let request = match Request::parse(frame) {
            Ok(request) => request,
            Err(error) => {
                tracing::info!(%error, "request refused: malformed");
                return FAILURE;
            }
        };
        if self.agent.lock().is_locked() {
            return self.handle_locked(request).await;
        }
        match request {
            Request::List => {
                self.agent.providers.first_look().await;
                Reply::Shared(self.agent.keyring().answer(clock::now()))
            }
            Request::Sign(sign) => self.sign(sign).await,
            Request::Add(add) => self.add(add),
            Request::Remove { key } => done(self.agent.keyring().remove(key, clock::now())),
            Request::RemoveAll => {
                self.agent.remove_all();
                SUCCESS
            }
            Request::AddProvider(add) => self.add_provider(add).await,
            Request::RemoveProvider { provider } => done(self.agent.providers.remove(provider)),
            Request::Lock { passphrase } => self.lock(passphrase).await,
            Request::Unlock { .. } => FAILURE,
            Request::Query => Reply::Own(reply::query()),
            Request::SessionBind(bind) => session_bind(bind),
            Request::Inventory => {
                self.agent.providers.first_look().await;
                Reply::Own(reply::inventory(&inventory::encode(&self.agent.keyring())))
            }
            Request::UnknownExtension { name } => {
                tracing::debug!(name = %text::escape(name.as_bytes()), "extension is not known");
                FAILURE
            }
        }
    }

    async fn handle_locked(&mut self, request: Request<'_>) -> Reply {
        match request {
            Request::List => Reply::Own(reply::identities(std::iter::empty())),
            Request::Unlock { passphrase } => self.unlock(passphrase).await,
            Request::SessionBind(bind) => session_bind(bind),
            _ => {
                tracing::info!("request refused: the agent is locked");
                FAILURE
            }
        }
    }

    async fn sign(&self, sign: Sign<'_>) -> Reply {
        // A client that knows its key from a file asks for a signature without listing first.
        let found = self.agent.providers.look_for(|| self.agent.keyring().find(sign.key, clock::now())).await;
        let Some(identity) = found else {
            tracing::info!("signature refused: the key is not here");
            return FAILURE;
        };
        let fingerprint = || self.agent.settings.fingerprint_hash.of(&identity.public);
        if identity.confirm {
            let comment = text::escape(&identity.comment);
            let question = format!("Allow use of key {comment}?\nKey fingerprint {}.", fingerprint());
            if let Err(refusal) = self.agent.consent.confirm(&question).await {
                tracing::warn!(key = %fingerprint(), "signature refused: {refusal}");
                return FAILURE;
            }
        }
        match identity.signer.sign(sign.data, sign.flags).await {
            Ok(signature) => {
                tracing::debug!(key = %fingerprint(), "signed");
                Reply::Own(reply::signature(&signature))
            }
            Err(error) => {
                tracing::warn!(key = %fingerprint(), "signature refused: {error}");
                FAILURE
            }
        }
    }

    fn add(&self, add: Add<'_>) -> Reply {
        match SoftwareKey::new(&add.key) {
            Ok(key) => {
                self.agent.keyring().add(Identity {
                    public: add.key.public,
                    comment: add.comment.to_vec(),
                    signer: Arc::new(key),
                    provider: None,
                    confirm: add.constraints.confirm,
                    expires: self.expiry(&add.constraints),
                });
                self.agent.expiry_changed.notify_one();
                SUCCESS
            }
            Err(error) => {
                tracing::warn!(%error, "key not added");
                FAILURE
            }
        }
    }

    async fn add_provider(&self, add: AddProvider<'_>) -> Reply {
        let policy = super::ProviderPolicy { confirm: add.constraints.confirm, expires: self.expiry(&add.constraints) };
        let provider = text::escape(add.provider.as_bytes());
        match self.agent.providers.add(add.provider, add.pin, policy).await {
            Ok(count) => {
                tracing::info!(provider, count, "provider added");
                self.agent.expiry_changed.notify_one();
                SUCCESS
            }
            Err(error) => {
                tracing::warn!(provider, "provider not added: {error}");
                FAILURE
            }
        }
    }

    async fn lock(&self, passphrase: SecretSlice<u8>) -> Reply {
        let hashed = tokio::task::spawn_blocking(move || PassphraseHash::new(&passphrase)).await;
        let Ok(Ok(hash)) = hashed else { return FAILURE };
        let locked = self.agent.lock().lock(hash);
        if locked.is_ok() {
            tracing::info!("locked");
        }
        done(locked.is_ok())
    }

    async fn unlock(&self, passphrase: SecretSlice<u8>) -> Reply {
        // An empty passphrase is a slip, not a guess (as in OpenSSH).
        let (Some(hash), false) = (self.agent.lock().hash(), passphrase.expose_secret().is_empty()) else {
            return FAILURE;
        };
        let compared = Arc::clone(&hash);
        let matched = tokio::task::spawn_blocking(move || compared.matches(&passphrase)).await.unwrap_or(false);
        if matched {
            tracing::info!("unlocked");
            return done(self.agent.lock().unlock(&hash));
        }
        let delay = self.agent.lock().failed();
        tracing::warn!("wrong passphrase for unlocking");
        tokio::time::sleep(delay).await;
        FAILURE
    }

    fn expiry(&self, constraints: &Constraints) -> Option<Duration> {
        let lifetime = constraints.lifetime.or(self.agent.settings.default_lifetime)?;
        Some(clock::now() + Duration::from_secs(lifetime.into()))
    }
}

fn session_bind(bind: Result<SessionBind<'_>, crate::protocol::Malformed>) -> Reply {
    const MAX_SESSION_ID: usize = 128;
    let verified: Result<(), Cow<'static, str>> = bind.map_err(|error| error.0.into()).and_then(|bind| {
        if bind.session_id.len() > MAX_SESSION_ID {
            return Err("session identifier is too long".into());
        }
        let host_key = PublicKey::from_blob(bind.host_key).map_err(|error| error.0)?;
        let verifier = Verifier::new(host_key.material()).map_err(|error| error.to_string())?;
        verifier.verify_blob(bind.session_id, bind.signature).map_err(|error| error.to_string().into())
    });
    match verified {
        Ok(()) => SUCCESS,
        Err(reason) => {
            tracing::info!("session bind refused: {reason}");
            Reply::Fixed(reply::EXTENSION_FAILURE)
        }
    }
}

const fn done(success: bool) -> Reply {
    if success { SUCCESS } else { FAILURE }
}
