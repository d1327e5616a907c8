//! Requests to replies, for one connection.

use std::sync::Arc;

use super::account::Account;
use super::description::{self, key_facts};
use super::inventory::Inventory;
use super::managing::is_management;
use super::signing::Refused;
use super::{Agent, explanation};
use crate::clock;
use crate::consent::board::Viewer;
use crate::crypto::verify;
use crate::errand::Errand;
use crate::keyring::Identity;
use crate::origin::binds::BindClaim;
use crate::origin::connection::Connection;
use crate::origin::evidence::Request as Question;
use crate::policy::{self, Preset, Sight, destination};
use crate::protocol::Malformed;
use crate::protocol::public_key::PublicKey;
use crate::protocol::reply;
use crate::protocol::request::{EXPLAIN, INVENTORY, RELEASE, Request, TOKENS_CHANGED};
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
pub(super) const SUCCESS: Reply = Reply::Fixed(reply::SUCCESS);

/// Handles the requests of one connection, and remembers what the connection said of itself.
pub(super) struct Handler<'a> {
    pub(super) agent: &'a Arc<Agent>,
    pub(super) origin: Box<Connection>,
    /// What a login was offered and has not used yet.
    pub(super) offered: Option<Offered>,
    /// What makes the client somebody who can be asked.
    pub(super) viewer: Option<Viewer>,
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
        Self { agent, origin, offered: None, viewer: None }
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

    /// What is rare is boxed: each request needs room for whatever it might become.
    async fn serve(&mut self, request: Request<'_>, account: &mut Account) -> Result<Reply, Refused> {
        if self.agent.lock().is_locked() {
            return Box::pin(self.serve_locked(request, account)).await;
        }
        //= RFC 9987 section 3: MAY additionally refuse some operations in particular contexts
        if is_management(&request) {
            Box::pin(self.judge_management(account)).await?;
        }
        account.ready().await?;
        match request {
            Request::List => Ok(self.list().await),
            //= RFC 9987 section 5.6: is otherwise unable or unwilling to generate the signature
            Request::Sign(sign) => {
                self.sign(sign, account).await.map(|signature| Reply::Own(reply::signature(&signature)))
            }
            Request::Add(add) => self.add(*add),
            Request::Remove { key } => self.remove(key),
            Request::RemoveAll => {
                //= RFC 9987 section 5.4: an agent SHOULD delete all keys that it is holding and reply with
                //= SSH_AGENT_SUCCESS
                self.agent.remove_all();
                Ok(SUCCESS)
            }
            Request::AddProvider(add) => Box::pin(self.add_provider(*add, account)).await,
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
            Request::Explain => Ok(Box::pin(self.explain()).await),
            Request::Prompts(prompts) => Ok(self.prompts(prompts).await),
            Request::Release => Ok(self.release()),
            Request::TokensChanged => Ok(self.tokens_changed().await),
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
            // Who looks at them goes on looking: questions may wait that were asked before.
            Request::Prompts(prompts) => Ok(self.prompts(prompts).await),
            _ => Err(Refused::because("the agent is locked")),
        }
    }

    async fn list(&mut self) -> Reply {
        self.agent.look_around();
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
        let named = self.origin.named_keys().await;
        let binds = self.origin.binds();
        let is_forwarded = self.origin.is_forwarded();
        let errand = Errand { asker: self.origin.peer().id(), ..Errand::default() };
        // Looked for only where something hangs on it.
        let can_ask = !is_forwarded || Box::pin(self.agent.consent.can_ask(&errand)).await;
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
            let may_be_used =
                shows_all || !identity.destinations.is_empty() || policy.may_pass_silently(&key_facts(identity));
            may_be_used && policy.shows(&key_facts(identity), sight)
        };
        let states = self.agent.key_states.current();
        let may_see = |identity: &Identity| {
            destination::permits_sight(&identity.destinations, binds).is_ok()
                && by_policy(identity)
                && !states.hides(&identity.public, &named)
        };
        let is_next = |identity: &Identity| states.is_next(&identity.public);
        let Some(host) = login else {
            if states.is_empty() {
                return Reply::Shared(self.agent.keyring().answer_for(clock::now(), may_see));
            }
            let mut identities = self.agent.keyring().seen_by(clock::now(), may_see);
            identities.sort_by_key(|identity| is_next(identity));
            return Reply::Own(list_of(&identities));
        };
        let mut identities = self.agent.keyring().seen_by(clock::now(), may_see);
        self.agent.preferences().order(&host, &named, is_next, &mut identities);
        let keys = identities.iter().map(|identity| Arc::clone(identity.public.blob())).collect();
        self.offered = Some(Offered { host, keys });
        Reply::Own(list_of(&identities))
    }

    async fn inventory(&self) -> Reply {
        // It tells more than a list, and nobody but this program asks for it.
        if !self.origin.binds().untouched() {
            return Reply::Fixed(reply::EXTENSION_FAILURE);
        }
        self.agent.look_around();
        self.agent.providers.first_look().await;
        let notes = self.agent.providers.notes();
        Reply::Own(reply::document(INVENTORY, &Inventory::of(&self.agent.keyring(), notes).encode()))
    }

    async fn explain(&self) -> Reply {
        // It tells who logs in where, and is for nobody who may be elsewhere.
        if !self.origin.is_own_program() {
            tracing::info!("explanation refused: it is for hardkey itself, on this machine and by no relay");
            return Reply::Fixed(reply::EXTENSION_FAILURE);
        }
        Reply::Own(reply::document(EXPLAIN, &explanation::encode(self.agent, self.origin.number()).await))
    }

    /// Forgets the PINs of tokens and ends the logins.
    fn release(&self) -> Reply {
        // It takes away nothing but convenience; yet a forwarding host is not to wear people out with questions.
        if !self.origin.is_own_program() {
            return Reply::Fixed(reply::EXTENSION_FAILURE);
        }
        self.agent.providers.release();
        tracing::info!("the PINs of tokens are forgotten, and their logins ended");
        Reply::Own(reply::document(RELEASE, &[]))
    }

    /// Looks at the tokens anew.
    async fn tokens_changed(&self) -> Reply {
        if !self.origin.is_own_program() {
            return Reply::Fixed(reply::EXTENSION_FAILURE);
        }
        tracing::info!("tokens were changed: their PINs are forgotten, and they are looked at anew");
        self.agent.providers.look_anew().await;
        Reply::Own(reply::document(TOKENS_CHANGED, &[]))
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

fn list_of(identities: &[Arc<Identity>]) -> Vec<u8> {
    reply::identities(identities.iter().map(|identity| (&identity.public.blob()[..], &identity.comment[..])))
}

/// How a provider is called in the log: without the part of a URI in which people put PINs.
pub(super) fn shown_provider(name: &str) -> String {
    text::excerpt(name.split('?').next().unwrap_or_default().as_bytes())
}
