//! The path of one signature: from the request, by judgement and consent, to the key.

use std::sync::Arc;

use super::handler::Handler;
use super::question;
use crate::clock;
use crate::consent::Dialog;
use crate::errand::{Errand, Sake};
use crate::keyring::Identity;
use crate::origin::evidence::{PayloadFact, Request as Question};
use crate::policy::{self, Action, Ask, KeyLimits, Preset, destination};
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

impl Handler<'_> {
    pub(super) async fn sign(&mut self, sign: Sign<'_>) -> Result<Vec<u8>, Refused> {
        let identity = self.find(sign.key).await.ok_or_else(|| Refused("the key is not here".to_owned()))?;
        let payload = Payload::of(sign.data);
        destination::permits_signature(&identity.destinations, self.origin.binds(), &identity.public, &payload)?;
        self.agent.settings.websafe.permits(&identity.public, &payload)?;
        let sake = if self.origin.is_forwarded() { Sake::Others } else { Sake::Own };
        let mut errand = Errand { purpose: question::purpose(&payload), asker: self.origin.peer().id(), sake };
        self.consent(&identity, &payload, &mut errand).await?;
        let wanted = Wanted { flags: sign.flags, sha1: self.agent.settings.preset == Preset::Openssh };
        let signature = identity.signer.sign(sign.data, wanted, &errand).await?;
        // A dialog, a PIN or a touch takes time, in which the user may have locked the agent or taken the key away.
        if self.agent.lock().is_locked() {
            return Err(Refused("the agent was locked while the request waited".to_owned()));
        }
        if self.agent.keyring().find(sign.key, clock::now()).is_none() {
            return Err(Refused("the key was removed while the request waited".to_owned()));
        }
        if let (Some(_), Some(offered)) = (payload.login(), self.offered.take()) {
            self.agent.preferences().worked(&offered.host, identity.public.blob());
        }
        tracing::debug!(key = %text::excerpt(&identity.comment), "signed");
        Ok(signature)
    }

    /// Succeeds when the signature may be made: by the rules alone, or because a person said yes to it.
    async fn consent(
        &mut self,
        identity: &Identity,
        payload: &Payload<'_>,
        errand: &mut Errand,
    ) -> Result<(), Refused> {
        let settings = &self.agent.settings;
        let limits = KeyLimits { confirm: identity.confirm, named_destination: !identity.destinations.is_empty() };
        let judgement = match settings.preset {
            Preset::Strict => Some(self.origin.judge(&Question::Sign(fact(payload))).await),
            Preset::Openssh => None,
        };
        if errand.sake == Sake::Own && judgement.as_ref().is_some_and(|judgement| !judgement.origin.is_local()) {
            errand.sake = Sake::Unknown;
        }
        let verdict = match &judgement {
            Some(judgement) => policy::decide(judgement, ask(payload), limits, self.origin.binds()),
            None => policy::decide_as_stock(limits),
        };
        match verdict.action {
            Action::Allow => Ok(()),
            Action::Deny => Err(Refused(verdict.rule.to_owned())),
            Action::Confirm => {
                let fingerprint = settings.fingerprint_hash.of(&identity.public);
                let text = match &judgement {
                    Some(judgement) if !judgement.origin.is_local() => {
                        question::about(judgement, payload, &identity.comment, &fingerprint)
                    }
                    _ => question::stock(payload, limits.named_destination, &identity.comment, &fingerprint),
                };
                let dialog = Dialog { text, errand: errand.clone(), ..Dialog::default() };
                let confirmed = self.agent.consent.ask(&dialog).await.map(drop);
                let fact = judgement.as_ref().map_or("", |judgement| judgement.reason.as_str());
                confirmed.map_err(|refusal| Refused(format!("{refusal} (asked because: {}: {fact})", verdict.rule)))
            }
        }
    }

    /// The identity that a blob names; a client that knows its key from a file may ask before the tokens have shown theirs.
    async fn find(&self, key: &[u8]) -> Option<Arc<Identity>> {
        self.agent.providers.look_for(|| self.agent.keyring().find(key, clock::now())).await
    }
}

const fn ask(payload: &Payload<'_>) -> Ask {
    match payload {
        Payload::Raw => Ask::Raw,
        _ => Ask::Understood,
    }
}

/// What the judgement of origins needs to know of a payload.
fn fact(payload: &Payload<'_>) -> PayloadFact {
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
        Payload::Raw => PayloadFact::Raw,
    }
}
