//! The path of one signature: from the request, by judgement and consent, to the key.

use std::sync::Arc;

use super::account::Account;
use super::asking::Asking;
use super::description::Description;
use super::handler::Handler;
use super::policies::InForce;
use super::question;
use crate::clock;
use crate::errand::{Demands, Errand, Sake};
use crate::keyring::Identity;
use crate::origin::classify::Origin;
use crate::origin::evidence::{PayloadFact, Request as Question};
use crate::policy::{Action, KeyLimits, Policy, Preset, Requirements, destination};
use crate::protocol::payload::Payload;
use crate::protocol::request::Sign;
use crate::protocol::signature::Wanted;
use crate::text;

/// Why a request was not served; the text is for the log.
pub(super) struct Refused(pub(super) String);

impl<E: std::error::Error> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Refused {
    /// For a reason that is always the same.
    pub(super) fn because(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

impl Handler<'_> {
    pub(super) async fn sign(&mut self, sign: Sign<'_>, account: &mut Account) -> Result<Vec<u8>, Refused> {
        let payload = match self.origin.may_be_host_key_agent() {
            true => Payload::for_host_key_agent(sign.data),
            false => Payload::of(sign.data),
        };
        account.payload(&payload);
        let identity = self.find(sign.key).await.ok_or_else(|| Refused::because("the key is not here"))?;
        account.key(&identity);
        destination::permits_signature(&identity.destinations, self.origin.binds(), &identity.public, &payload)?;
        self.agent.settings.websafe.permits(&identity.public, &payload)?;
        let purpose = question::purpose(&payload);
        let sake = if self.origin.is_forwarded() { Sake::Others } else { Sake::Own };
        let mut errand = Errand { purpose, asker: self.origin.peer().id(), sake, ..Errand::default() };
        let InForce { policy, generation } = self.agent.policies.current();
        let request = Asking { identity: &identity, payload: &payload, data: sign.data, generation };
        // Boxed, because the two together are more than a request is to take.
        Box::pin(self.consent(&policy, &request, &mut errand, account)).await?;
        let wanted = Wanted { flags: sign.flags, sha1: policy.preset() == Preset::Openssh };
        let signature = identity.signer.sign(sign.data, wanted, &errand).await?;
        // A dialog, a PIN or a touch takes time, in which the user may have locked the agent or taken the key away.
        if self.agent.lock().is_locked() {
            return Err(Refused::because("the agent was locked while the request waited"));
        }
        if self.agent.keyring().find(sign.key, clock::now()).is_none() {
            return Err(Refused::because("the key was removed while the request waited"));
        }
        if let (Some(_), Some(offered)) = (payload.login(), self.offered.take()) {
            self.agent.preferences().worked(&offered.host, identity.public.blob());
        }
        tracing::debug!(key = %text::excerpt(&identity.comment), "signed");
        Ok(signature)
    }

    /// Succeeds when the signature may be made: by the rules alone, or because a person said yes to it. The errand learns what remains for
    /// the key's device to demand.
    async fn consent(
        &mut self,
        policy: &Policy,
        request: &Asking<'_>,
        errand: &mut Errand,
        account: &mut Account,
    ) -> Result<(), Refused> {
        let Asking { identity, payload, .. } = *request;
        let own = identity.signer.demands();
        let limits = KeyLimits {
            confirm: identity.confirm,
            named_destination: !identity.destinations.is_empty(),
            token: Requirements::of(own.touch, own.pin),
        };
        let question = Question::Sign(fact(payload));
        let judgement = match policy.preset() == Preset::Strict || policy.looks_closer() {
            true => Some(self.origin.judge(&question).await),
            false => None,
        };
        if let Some(judgement) = &judgement {
            account.judgement(judgement, &self.origin);
            if let (Origin::LocalDirect, Some(login), Some(config)) =
                (judgement.origin, payload.login(), self.origin.config())
            {
                errand.purpose = question::purpose_of_login(login.user, &config.hostname);
            }
            if errand.sake == Sake::Own && !judgement.origin.is_local() {
                errand.sake = Sake::Unknown;
            }
        }
        let description =
            Description::of(policy, &self.origin, identity, &question, judgement.as_deref(), payload).await;
        let verdict = policy.decide(&description.asked(), limits);
        let reason = verdict.because();
        account.rule(&reason.cited());
        let Action::Require(demanded) = verdict.action else { return Err(Refused(reason.cited())) };
        errand.demands =
            Demands { touch: demanded.contains(Requirements::TOUCH), pin: demanded.contains(Requirements::PIN) };
        // Before anybody is asked: nobody's yes could make up for it.
        if let Err(cannot) = identity.signer.can_demand(errand.demands) {
            return Err(Refused(format!("{} are demanded, and {cannot} ({})", verdict.action, reason.cited())));
        }
        self.agent.rates().serve(&verdict, description.asked().key.fingerprint, clock::now())?;
        if demanded.contains(Requirements::CONFIRM) {
            self.origin.followed("consent needed");
            let confirmed =
                Box::pin(self.confirm(request, judgement.as_deref(), verdict.remember, errand, account)).await;
            let fact = judgement.as_ref().map_or("", |judgement| &*judgement.reason);
            confirmed.map_err(|refusal| Refused(format!("{refusal} (asked because: {}: {fact})", reason.cited())))?;
        } else if demanded.contains(Requirements::NOTIFY) {
            self.agent
                .consent
                .notify(&question::notice(judgement.as_deref(), &errand.purpose, &identity.comment), errand);
        }
        Ok(())
    }

    /// The identity that a blob names; a client that knows its key from a file may ask before the tokens have shown theirs.
    async fn find(&self, key: &[u8]) -> Option<Arc<Identity>> {
        let known = || self.agent.keyring().find(key, clock::now());
        match known() {
            Some(identity) => Some(identity),
            None => {
                self.agent.look_around();
                Box::pin(self.agent.providers.look_for(known)).await
            }
        }
    }
}

/// What the judgement of origins needs to know of a payload.
pub(super) fn fact(payload: &Payload<'_>) -> PayloadFact {
    let user = |user: &[u8]| String::from_utf8_lossy(user).into_owned();
    match payload {
        Payload::BoundLogin { login, host_key } => PayloadFact::BoundLogin {
            user: user(login.user),
            session_id: login.session_id.to_vec(),
            hostkey: host_key.to_vec(),
        },
        Payload::Login(login) => PayloadFact::Login { user: user(login.user), session_id: login.session_id.to_vec() },
        Payload::SshSig { .. } => PayloadFact::SshSig,
        Payload::Certificate(_) => PayloadFact::Certificate,
        Payload::Sudo(_) => PayloadFact::Sudo,
        Payload::HostKex { .. } => PayloadFact::HostKex,
        Payload::Raw => PayloadFact::Raw,
    }
}
