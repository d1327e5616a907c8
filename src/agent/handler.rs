//! Requests to replies, for one connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice};

use super::account::Account;
use super::description::{self, Named};
use super::signing::Refused;
use super::{Agent, ProviderPolicy, explanation, inventory};
use crate::backend::Signer;
use crate::backend::fido::{FidoKey, Handle};
use crate::backend::middleware::SecurityKey;
use crate::backend::software::SoftwareKey;
use crate::clock;
use crate::crypto::passphrase::PassphraseHash;
use crate::crypto::verify;
use crate::errand::Errand;
use crate::keyring::Identity;
use crate::origin::binds::BindClaim;
use crate::origin::connection::Connection;
use crate::origin::evidence::Request as Question;
use crate::policy::{self, Preset, Sight, destination};
use crate::protocol::Malformed;
use crate::protocol::constraint::Constraints;
use crate::protocol::private_key::Secret;
use crate::protocol::public_key::PublicKey;
use crate::protocol::reply;
use crate::protocol::request::{Add, AddProvider, EXPLAIN, INVENTORY, Request};
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

/// The provider of security keys that is no library.
const BUILT_IN: &str = "internal";
const FAILURE: Reply = Reply::Fixed(reply::FAILURE);
const SUCCESS: Reply = Reply::Fixed(reply::SUCCESS);

const REMOTE_LIBRARY: &str = "a connection bound to a session may not load libraries";
const WRONG_PASSPHRASE: &str = "wrong passphrase";

/// Handles the requests of one connection, and remembers what the connection said of itself.
pub(super) struct Handler<'a> {
    pub(super) agent: &'a Arc<Agent>,
    pub(super) origin: Box<Connection>,
    /// What a login was offered and has not used yet.
    pub(super) offered: Option<Offered>,
}

/// The keys that the server with this host key is offered, in order.
pub(super) struct Offered {
    pub(super) host: Vec<u8>,
    keys: Vec<Arc<[u8]>>,
}

impl Drop for Handler<'_> {
    fn drop(&mut self) {
        if let Some(offered) = self.offered.take() {
            self.agent.preferences().in_vain(&offered.host, &offered.keys);
        }
    }
}

impl<'a> Handler<'a> {
    pub(super) const fn new(agent: &'a Arc<Agent>, origin: Box<Connection>) -> Self {
        Self { agent, origin, offered: None }
    }

    /// Answers one request. Every frame gets exactly one reply.
    pub(super) async fn handle(&mut self, frame: &[u8]) -> Reply {
        let request = match Request::parse(frame) {
            Ok(request) => request,
            Err(error) => {
                //= RFC 9987 section 5.1: SSH_AGENT_FAILURE messages MUST also be sent in reply to requests with unknown
                //= or unsupported types.
                tracing::info!("request refused: {error}");
                return FAILURE;
            }
        };
        if let Request::SessionBind(bind) = request {
            return self.session_bind(bind);
        }
        let mut account = Account::of(self.agent, &request, &self.origin);
        let outcome = self.serve(request, &mut account).await;
        let what = account.what();
        let recorded = account.close(&outcome).await;
        match outcome.and_then(|reply| recorded.map(|()| reply).map_err(Refused::from)) {
            Ok(reply) => {
                self.origin.concluded("allowed");
                reply
            }
            Err(Refused(reason)) => {
                self.origin.concluded(&format!("refused: {reason}"));
                tracing::warn!("{what}: {reason}");
                FAILURE
            }
        }
    }

    async fn serve(&mut self, request: Request<'_>, account: &mut Account) -> Result<Reply, Refused> {
        if self.agent.lock().is_locked() {
            return self.serve_locked(request, account).await;
        }
        //= RFC 9987 section 3: MAY additionally refuse some operations in particular contexts
        if is_management(&request) {
            self.judge_management(account).await?;
        }
        account.ready().await?;
        match request {
            Request::List => Ok(self.list().await),
            //= RFC 9987 section 5.6: is otherwise unable or unwilling to generate the signature
            Request::Sign(sign) => {
                self.sign(sign, account).await.map(|signature| Reply::Own(reply::signature(&signature)))
            }
            Request::Add(add) => self.add(add),
            Request::Remove { key } => self.remove(key),
            Request::RemoveAll => {
                //= RFC 9987 section 5.4: an agent SHOULD delete all keys that it is holding and reply with
                //= SSH_AGENT_SUCCESS
                self.agent.remove_all();
                Ok(SUCCESS)
            }
            Request::AddProvider(add) => self.add_provider(add, account).await,
            //= RFC 9987 section 5.4: An agent MUST reply with SSH_AGENT_SUCCESS if the keys were deleted or
            //= SSH_AGENT_FAILURE if none were found.
            Request::RemoveProvider { provider } => match self.agent.providers.remove(provider) {
                true => Ok(SUCCESS),
                false => Err(Refused::because("it is not in use")),
            },
            Request::Lock { passphrase } => self.lock(passphrase).await,
            Request::Query => Ok(Reply::Own(reply::query())),
            Request::Inventory => Ok(self.inventory().await),
            Request::Approvals(revoke) => Ok(self.approvals(revoke)),
            Request::Explain => Ok(self.explain().await),
            Request::UnknownExtension { name } => {
                //= RFC 9987 section 5.8: An agent that does not support extensions of the supplied type MUST reply with
                //= an empty SSH_AGENT_FAILURE message.
                tracing::debug!(name = %text::excerpt(name.as_bytes()), "extension is not known");
                Ok(FAILURE)
            }
            Request::Unlock { .. } => Err(Refused::because("the agent is not locked")),
            Request::SessionBind(_) => Ok(FAILURE),
        }
    }

    async fn serve_locked(&mut self, request: Request<'_>, account: &mut Account) -> Result<Reply, Refused> {
        match request {
            //= RFC 9987 section 5.7: When locked, an agent MUST suspend processing of sensitive operations
            Request::List => Ok(Reply::Own(reply::identities(std::iter::empty()))),
            Request::Unlock { passphrase } => {
                self.judge_management(account).await?;
                account.ready().await?;
                self.unlock(passphrase, account).await
            }
            _ => Err(Refused::because("the agent is locked")),
        }
    }

    async fn list(&mut self) -> Reply {
        self.agent.residents.refresh(&self.agent.keyring, &self.agent.fido);
        self.agent.providers.first_look().await;
        let preset = self.agent.preset();
        let login = match self.origin.binds().list() {
            [bind] if preset == Preset::Strict && !bind.is_forwarding() => Some(bind.hostkey().to_vec()),
            _ => None,
        };
        if login.is_some() {
            // An ssh lists once, before it logs in by whatever means; that its session is a local one has to be known when it forwards the
            // agent later.
            self.origin.judge(&Question::List).await;
        }
        let binds = self.origin.binds();
        let is_forwarded = self.origin.is_forwarded();
        let errand = Errand { asker: self.origin.peer().id(), ..Errand::default() };
        // Looked for only where something hangs on it.
        let can_ask = !is_forwarded || self.agent.consent.can_ask(&errand).await;
        let shows_all = policy::decide_list(preset, is_forwarded, can_ask);
        let policy = self.agent.policies.current().policy;
        let at = match binds.list().last() {
            Some(bind) if policy.sorts_keys() && !binds.tainted() && !bind.is_forwarding() => {
                Some(description::names_of(&self.origin.host(bind.hostkey()).await))
            }
            _ => None,
        };
        let sight = match &at {
            Some(names) => Sight::At(names),
            None if is_forwarded => Sight::Beyond,
            None => Sight::Here,
        };
        let by_policy = |identity: &Identity| {
            if !policy.sorts_keys() {
                return shows_all || !identity.destinations.is_empty();
            }
            let named = Named::of(identity);
            let may_be_used =
                shows_all || !identity.destinations.is_empty() || policy.may_pass_silently(&named.facts());
            may_be_used && policy.shows(&named.facts(), sight)
        };
        let may_see = |identity: &Identity| {
            destination::permits_sight(&identity.destinations, binds).is_ok() && by_policy(identity)
        };
        let Some(host) = login else {
            return Reply::Shared(self.agent.keyring().answer_for(clock::now(), may_see));
        };
        let mut identities = self.agent.keyring().seen_by(clock::now(), may_see);
        self.agent.preferences().order(&host, &mut identities);
        let keys = identities.iter().map(|identity| Arc::clone(identity.public.blob())).collect();
        self.offered = Some(Offered { host, keys });
        let pairs = identities.iter().map(|identity| (&identity.public.blob()[..], &identity.comment[..]));
        Reply::Own(reply::identities(pairs))
    }

    async fn inventory(&self) -> Reply {
        // It tells more than a list, and nobody but this program asks for it.
        if !self.origin.binds().untouched() {
            return Reply::Fixed(reply::EXTENSION_FAILURE);
        }
        self.agent.residents.refresh(&self.agent.keyring, &self.agent.fido);
        self.agent.providers.first_look().await;
        Reply::Own(reply::document(INVENTORY, &inventory::encode(&self.agent.keyring())))
    }

    async fn explain(&self) -> Reply {
        // It tells who logs in where, and is for nobody who may be elsewhere.
        if !self.origin.is_own_program() {
            tracing::info!("explanation refused: it is for hardkey itself, on this machine and by no relay");
            return Reply::Fixed(reply::EXTENSION_FAILURE);
        }
        Reply::Own(reply::document(EXPLAIN, &explanation::encode(self.agent, self.origin.number()).await))
    }

    async fn judge_management(&mut self, account: &mut Account) -> Result<(), Refused> {
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

    fn add(&self, add: Add<'_>) -> Result<Reply, Refused> {
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

    fn remove(&self, key: &[u8]) -> Result<Reply, Refused> {
        //= RFC 9987 section 5.4: An agent MUST reply with SSH_AGENT_SUCCESS if the key was deleted or SSH_AGENT_FAILURE
        //= if it was not found.
        match self.may_touch(key) && self.agent.keyring().remove(key, clock::now()) {
            true => Ok(SUCCESS),
            false => Err(Refused::because("the key is not here")),
        }
    }

    /// Whether the connection may see the identity with this blob, if there is one.
    fn may_touch(&self, key: &[u8]) -> bool {
        let known = self.agent.keyring().find(key, clock::now());
        known.is_none_or(|known| destination::permits_sight(&known.destinations, self.origin.binds()).is_ok())
    }

    async fn add_provider(&self, add: AddProvider<'_>, account: &mut Account) -> Result<Reply, Refused> {
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

    async fn lock(&self, passphrase: SecretSlice<u8>) -> Result<Reply, Refused> {
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

    async fn unlock(&self, passphrase: SecretSlice<u8>, account: &mut Account) -> Result<Reply, Refused> {
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

    fn session_bind(&mut self, bind: Result<SessionBind<'_>, Malformed>) -> Reply {
        let bound = match bind {
            Ok(bind) => {
                let claim = BindClaim {
                    hostkey: bind.host_key,
                    session_id: bind.session_id,
                    signature: bind.signature,
                    is_forwarding: bind.is_forwarding,
                };
                self.origin.bind(&claim, |host_key, session_id, signature| {
                    PublicKey::from_blob(host_key)
                        .is_ok_and(|key| verify::verify_host(&key, session_id, signature).is_ok())
                })
            }
            Err(_) => self.origin.bind_malformed(),
        };
        match bound {
            //= RFC 9987 section 5.8: Successful extension requests MUST return either SSH_AGENT_SUCCESS on success or
            //= an extension-specific response message
            Ok(()) => SUCCESS,
            Err(reason) => {
                tracing::info!("session bind refused: {reason}");
                //= RFC 9987 section 5.8: Extensions SHOULD NOT use the standard SSH_AGENT_FAILURE message.
                Reply::Fixed(reply::EXTENSION_FAILURE)
            }
        }
    }
}

/// How a provider is called in the log: without the part of a URI in which people put PINs.
pub(super) fn shown_provider(name: &str) -> String {
    text::excerpt(name.split('?').next().unwrap_or_default().as_bytes())
}

/// Whether a request changes the agent rather than uses it.
const fn is_management(request: &Request<'_>) -> bool {
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
