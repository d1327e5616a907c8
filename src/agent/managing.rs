//! Requests that change the agent: adding and removing keys and providers, locking and unlocking.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice};

use super::ProviderPolicy;
use super::account::Account;
use super::handler::{Handler, Reply, SUCCESS, shown_provider};
use super::signing::Refused;
use crate::backend::Signer;
use crate::backend::fido::{FidoKey, Handle};
use crate::backend::middleware::SecurityKey;
use crate::backend::software::SoftwareKey;
use crate::clock;
use crate::crypto::passphrase::PassphraseHash;
use crate::keyring::{Identity, Names};
use crate::origin::evidence::Request as Question;
use crate::policy::{self, Preset, destination};
use crate::protocol::constraint::Constraints;
use crate::protocol::private_key::Secret;
use crate::protocol::request::{Add, AddProvider, Request};

/// The provider of security keys that is no library.
const BUILT_IN: &str = "internal";
const REMOTE_LIBRARY: &str = "a connection bound to a session may not load libraries";
const WRONG_PASSPHRASE: &str = "wrong passphrase";

/// Whether a request changes the agent rather than uses it.
pub(super) const fn is_management(request: &Request<'_>) -> bool {
    matches!(
        request,
        Request::Add(_)
            | Request::Remove { .. }
            | Request::RemoveAll
            | Request::AddProvider(_)
            | Request::RemoveProvider { .. }
            | Request::Lock { .. }
            | Request::Unlock { .. }
    )
}

impl Handler<'_> {
    pub(super) async fn judge_management(&mut self, account: &mut Account) -> Result<(), Refused> {
        if self.agent.preset() == Preset::Openssh {
            return Ok(());
        }
        let judgement = self.origin.judge(&Question::Manage).await;
        account.judgement(&judgement, &self.origin);
        policy::decide_management(judgement.origin).map_err(|refusal| {
            account.rule(&refusal.to_string());
            Refused::from(refusal)
        })
    }

    pub(super) fn add(&self, add: Add<'_>) -> Result<Reply, Refused> {
        if !self.may_touch(add.key.public.blob()) {
            let reason = "it is here already, and its destination constraints hide it from this connection";
            return Err(Refused::because(reason));
        }
        let signer = self.signer(&add)?;
        //= RFC 9987 section 5.2: An agent MUST reply with SSH_AGENT_SUCCESS if the key was successfully loaded
        //= as a result of one of these messages or SSH_AGENT_FAILURE otherwise.
        self.agent.keyring().add(Identity {
            public: add.key.public,
            comment: add.comment.to_vec(),
            signer,
            provider: None,
            confirm: add.constraints.confirm,
            expires: self.expiry(&add.constraints),
            destinations: add.constraints.destinations.into(),
            names: Names::default(),
        });
        self.agent.expiry_changed.notify_one();
        Ok(SUCCESS)
    }

    /// What signs with a key that was added.
    fn signer(&self, add: &Add<'_>) -> Result<Arc<dyn Signer>, Refused> {
        if !matches!(add.key.secret, Secret::SecurityKey { .. }) {
            return Ok(Arc::new(SoftwareKey::new(&add.key, self.agent.preset() == Preset::Openssh)?));
        }
        // As OpenSSH's ssh-add names the agent's own code; other clients name nothing.
        let provider = add.constraints.sk_provider.as_deref().unwrap_or(BUILT_IN);
        if provider.eq_ignore_ascii_case(BUILT_IN) {
            return Ok(Arc::new(FidoKey::new(Handle::new(&add.key, add.comment)?, self.agent.fido.clone())?));
        }
        if !self.origin.binds().untouched() && !self.agent.settings.allow_remote_providers {
            return Err(Refused::because(REMOTE_LIBRARY));
        }
        let library = self.agent.providers.permitted(Path::new(provider))?;
        let consent = Arc::clone(&self.agent.consent);
        let key = SecurityKey::new(&add.key, add.comment, library, Arc::clone(&consent) as _, consent)?;
        Ok(Arc::new(key))
    }

    pub(super) fn remove(&self, key: &[u8]) -> Result<Reply, Refused> {
        //= RFC 9987 section 5.4: An agent MUST reply with SSH_AGENT_SUCCESS if the key was deleted or SSH_AGENT_FAILURE
        //= if it was not found.
        match self.may_touch(key) && self.agent.keyring().remove(key, clock::now()) {
            true => {
                self.agent.end_approvals_of(key);
                Ok(SUCCESS)
            }
            false => Err(Refused::because("the key is not here")),
        }
    }

    /// Whether the connection may see the identity with this blob, if there is one.
    fn may_touch(&self, key: &[u8]) -> bool {
        let known = self.agent.keyring().find(key, clock::now());
        known.is_none_or(|known| destination::permits_sight(&known.destinations, self.origin.binds()).is_ok())
    }

    pub(super) async fn add_provider(&self, add: AddProvider<'_>, account: &mut Account) -> Result<Reply, Refused> {
        if !self.origin.binds().untouched() && !self.agent.settings.allow_remote_providers {
            //= RFC 9987 section 10: MAY disallow remote clients from loading token keys entirely
            return Err(Refused::because(REMOTE_LIBRARY));
        }
        let policy = ProviderPolicy {
            confirm: add.constraints.confirm,
            expires: self.expiry(&add.constraints),
            destinations: add.constraints.destinations.into(),
            certificates: add.constraints.certificates.unwrap_or_default(),
        };
        //= RFC 9987 section 5.2.6: An agent MUST reply with SSH_AGENT_SUCCESS if one or more keys were successfully
        //= loaded as a result of one of these messages or with SSH_AGENT_FAILURE if no keys were found.
        let count = self.agent.providers.add(add.provider, add.pin, policy).await?;
        account.count(count);
        tracing::info!(provider = shown_provider(add.provider), count, "provider added");
        self.agent.expiry_changed.notify_one();
        Ok(SUCCESS)
    }

    pub(super) async fn lock(&self, passphrase: SecretSlice<u8>) -> Result<Reply, Refused> {
        if passphrase.expose_secret().is_empty() {
            return Err(Refused::because("the passphrase is empty"));
        }
        let agent = Arc::clone(self.agent);
        // To its end, whether or not the client waits for it: who asked for a lock relies on it.
        let locking = tokio::spawn(async move {
            let hashed = tokio::task::spawn_blocking(move || PassphraseHash::new(&passphrase)).await;
            let Ok(Ok(hash)) = hashed else { return false };
            //= RFC 9987 section 5.7: The agent MUST reply with SSH_AGENT_SUCCESS if locked successfully or
            //= SSH_AGENT_FAILURE otherwise
            let locked = agent.lock().lock(hash).is_ok();
            if locked {
                agent.end_approvals(None, "the agent was locked");
            }
            locked
        });
        match locking.await.unwrap_or(false) {
            true => {
                self.agent.providers.release();
                tracing::info!("locked; the PINs of tokens are forgotten");
                Ok(SUCCESS)
            }
            false => Err(Refused::because("it is locked already, or out of memory")),
        }
    }

    pub(super) async fn unlock(&self, passphrase: SecretSlice<u8>, account: &mut Account) -> Result<Reply, Refused> {
        // An empty passphrase is a slip, not a guess (as in OpenSSH).
        if passphrase.expose_secret().is_empty() {
            return Err(Refused::because("the passphrase is empty"));
        }
        let not_locked = || Refused::because("the agent is not locked any more");
        let (turn, hash, paid) = loop {
            let turn = self.agent.comparing.acquire().await.map_err(|_| Refused::because("the agent ends"))?;
            //= RFC 9987 section 5.7: If the agent is already unlocked or if the passphrase does not match, it MUST reply
            //= with SSH_AGENT_FAILURE.
            let hash = self.agent.lock().hash().ok_or_else(not_locked)?;
            let guess = self.agent.lock().guess(clock::now());
            let wait = match guess {
                Ok(paid) => break (turn, hash, paid),
                Err(too_many) => too_many.wait,
            };
            drop(turn);
            tokio::time::sleep(wait).await;
        };
        let compared = Arc::clone(&hash);
        let matched = tokio::task::spawn_blocking(move || compared.matches(&passphrase)).await.unwrap_or(false);
        drop(turn);
        if matched {
            //= RFC 9987 section 5.7: If the agent is already locked and the passphrase matches the one used to lock it,
            //= then it MUST unlock and reply with SSH_AGENT_SUCCESS.
            let unlocked = self.agent.lock().unlock(&hash);
            return if unlocked { Ok(SUCCESS) } else { Err(not_locked()) };
        }
        // Before the wait, so that whoever hangs up meanwhile has guessed all the same.
        account.refused(WRONG_PASSPHRASE);
        tokio::time::sleep(paid.saturating_sub(clock::now())).await;
        Err(Refused::because(WRONG_PASSPHRASE))
    }

    fn expiry(&self, constraints: &Constraints) -> Option<Duration> {
        let lifetime = constraints.lifetime.or(self.agent.settings.default_lifetime)?;
        Some(clock::now() + Duration::from_secs(lifetime.into()))
    }
}
