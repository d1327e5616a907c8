//! Asking a person about one signature: what there is to say is gathered, an approval looked for, the dialog shown, the answer kept.

use super::account::Account;
use super::approving::Approvable;
use super::handler::Handler;
use super::question::file::{self, SignedFile};
use super::question::{self, Case, KeyLine};
use super::signing::fact;
use crate::audit::record::Consented;
use crate::consent::Refusal;
use crate::consent::approvals::Shown;
use crate::consent::dialog::{Allowed, Dialog, Source};
use crate::errand::Errand;
use crate::keyring::Identity;
use crate::origin::classify::{Judgement, Origin};
use crate::origin::evidence::Request as Question;
use crate::origin::facts::Facts;
use crate::policy::Remember;
use crate::protocol::payload::{MessageDigest, Payload};
use crate::text;

/// A signature that somebody asks for.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    /// The key.
    pub(super) identity: &'a Identity,
    /// What the octets are.
    pub(super) payload: &'a Payload<'a>,
    /// The octets.
    pub(super) data: &'a [u8],
    /// The policy that decides.
    pub(super) generation: u64,
}

impl Handler<'_> {
    /// Succeeds if a person says yes, or said a longer yes that covers the request. The errand learns what there was to find out.
    pub(super) async fn confirm(
        &self,
        request: &Asking<'_>,
        judgement: Option<&Judgement>,
        remember: Option<Remember>,
        errand: &mut Errand,
        account: &mut Account,
    ) -> Result<(), Refusal> {
        let Asking { identity, payload, generation, .. } = *request;
        let fingerprint = self.agent.settings.fingerprint_hash.of(&identity.public);
        let Some(judgement) = judgement else {
            let text = question::stock(payload, !identity.destinations.is_empty(), &identity.comment, &fingerprint);
            let dialog = Dialog { text, errand: errand.clone(), ..Dialog::default() };
            return self.put(&dialog, account).await.map(drop);
        };
        let approvable = self.approvable(identity, payload, judgement, remember, generation);
        if let Some(Approvable { subject, generation, .. }) = &approvable
            && self.agent.approvals.covers(subject, *generation)
        {
            account.consent(Consented::Earlier);
            return Ok(());
        }
        let facts = self.origin.facts(&Question::Sign(fact(payload)), judgement).await;
        account.facts(&facts);
        let place = identity.signer.place();
        let (public, comment, demands) = (&identity.public, &identity.comment, errand.demands);
        let key = KeyLine { public, comment, fingerprint: &fingerprint, place, demands };
        let file = self.signed_file(judgement, request.data).await;
        let offer = approvable.as_ref().map(Approvable::offer);
        let longer = approvable.as_ref().map(Approvable::meaning);
        let case = Case { judgement, facts: &facts, payload, file, key, longer };
        errand.purpose = case.purpose();
        let dialog =
            Dialog { text: case.text(), errand: errand.clone(), offer, source: Some(self.source(&facts, judgement)) };
        if let (Allowed::AsOffered, Some(approvable)) = (self.put(&dialog, account).await?, approvable) {
            let shown = Shown {
                key: question::shown(&identity.comment),
                fingerprint,
                purpose: errand.purpose.clone(),
                scope: approvable.scope(question::first_hop(&facts).as_deref()),
                ..Shown::default()
            };
            self.approve(approvable, shown, account);
        }
        Ok(())
    }

    async fn put(&self, dialog: &Dialog, account: &mut Account) -> Result<Allowed, Refusal> {
        let answer = self.agent.consent.ask(dialog).await;
        account.consent(match &answer {
            Ok(Allowed::Once) => Consented::Once,
            Ok(Allowed::AsOffered) => Consented::ForAWhile,
            Err(_) => Consented::No,
        });
        answer
    }

    /// The file that a local `ssh-keygen` signs, if it can be found.
    async fn signed_file(&self, judgement: &Judgement, data: &[u8]) -> Option<SignedFile> {
        let digest = MessageDigest::of(data).filter(|_| judgement.origin == Origin::LocalTool)?;
        let process = self.origin.peer().process.as_ref().ok()?;
        let arguments = process.arguments.as_ref().ok()?;
        file::find(arguments, process.working_directory().ok(), &digest).await
    }

    /// Whom a person silences who has enough of this: a hop only where it is proved, since any other could call itself something else the next
    /// time, and would never be silent.
    fn source(&self, facts: &Facts, judgement: &Judgement) -> Source {
        let first = self.origin.binds().list().first().filter(|_| judgement.first_hop_proved);
        if let (Some(bind), Some(name)) = (first, question::first_hop(facts)) {
            return Source::Hop { session: bind.session_id().to_vec(), name };
        }
        // In a container, too, everything can be called something else the next time; and a module can run another program.
        let program = self.origin.process_here().ok().and_then(|process| process.executable.as_ref().ok());
        let path = program.map(|program| text::escape(program.path.as_os_str().as_encoded_bytes())).unwrap_or_default();
        match judgement.origin.is_local() {
            true => Source::Program(path),
            false => Source::Through(path),
        }
    }
}
