//! Approvals of a hop or a terminal: what a yes for a while is for, and its administration.

use std::sync::Arc;

use super::account::Account;
use super::handler::{Handler, Reply};
use super::{Agent, question};
use crate::audit::record::{Consented, Event, Outcome, Record};
use crate::consent::approvals::{Grant, Scope, Shown, Subject, spoken};
use crate::consent::dialog::Offer;
use crate::keyring::Identity;
use crate::origin::classify::{Judgement, Origin};
use crate::origin::peer::ProcessId;
use crate::policy::{self, Remember};
use crate::protocol::payload::Payload;
use crate::protocol::reply;
use crate::protocol::request::{APPROVALS, Revoke};

/// A yes for a while that may be given to a request.
pub(super) struct Approvable {
    pub(super) subject: Subject,
    pub(super) generation: u64,
    since: u64,
    holder: ProcessId,
    remember: Remember,
}

impl Handler<'_> {
    /// What a longer yes to this request would be for; none where the policy wants one yes for each, or it cannot be told what it would cover.
    pub(super) fn approvable(
        &self,
        identity: &Identity,
        payload: &Payload<'_>,
        judgement: &Judgement,
        remember: Option<Remember>,
        generation: u64,
    ) -> Option<Approvable> {
        let remember = remember?;
        let process = self.origin.peer().process.as_ref().ok()?;
        let (scope, holder, program) = match remember.scope {
            policy::Scope::Terminal => {
                // In a container a path says nothing, and another program could have this one's.
                self.origin.process_here().ok()?;
                // The session's leader, and not the asking ssh: every `git pull` has a new one.
                let leader = ProcessId::now(process.stat.session)?;
                // Another program of the session may relay for somebody else.
                let program = process.executable.as_ref().ok()?.path.clone();
                (Scope::Terminal(leader), leader, Some(program))
            }
            policy::Scope::Hop => {
                let first = self.origin.binds().list().first().filter(|_| judgement.first_hop_proved)?;
                (Scope::Hop(first.session_id().to_vec()), process.id, None)
            }
        };
        let mut subject = Subject {
            key: Arc::clone(identity.public.blob()),
            origin: judgement.origin,
            kind: question::kind(payload),
            user: None,
            destination: None,
            namespace: None,
            program,
            scope,
        };
        match payload {
            // A yes to a login is one to a host: whoever relays could otherwise name another one.
            Payload::BoundLogin { login, host_key } => {
                (subject.user, subject.destination) = (Some(login.user.to_vec()), Some(host_key.to_vec()));
            }
            Payload::Login(login) if judgement.origin == Origin::LocalDirect => {
                let bind = self.origin.binds().list().first()?;
                (subject.user, subject.destination) = (Some(login.user.to_vec()), Some(bind.hostkey().to_vec()));
            }
            Payload::SshSig { namespace } => subject.namespace = Some(namespace.to_vec()),
            // Each certificate, command and unknown text is another.
            _ => return None,
        }
        Some(Approvable { subject, generation, since: self.agent.approvals.endings(), holder, remember })
    }

    /// Keeps a longer yes, and records it.
    pub(super) fn approve(&self, approvable: Approvable, shown: Shown, account: &mut Account) {
        let Approvable { subject, generation, since, holder, remember } = approvable;
        let (purpose, scope) = (shown.purpose.clone(), shown.scope.clone());
        let grant = Grant { subject, holder, cache: remember.cache, generation, since, shown };
        let in_force = self.agent.policies.current().generation;
        let Some(number) = self.agent.approvals.give(grant, in_force) else {
            tracing::info!(
                "the longer yes is one for this request alone: approvals were ended while the question stood"
            );
            account.consent(Consented::Once);
            return;
        };
        let reason = format!("approval {number}, {}: {purpose}, {scope}", spoken(remember.cache.time));
        let record =
            Record { event: Event::Approval, outcome: Outcome::Done, reason: Some(reason), ..account.so_far() };
        self.agent.audit.record(record);
    }

    /// Answers `hardkey approvals`.
    pub(super) fn approvals(&self, revoke: Revoke) -> Reply {
        // It tells who may log in where, and is for nobody who may be elsewhere.
        if !self.origin.is_own_program() {
            return Reply::Fixed(reply::EXTENSION_FAILURE);
        }
        let document = match revoke {
            Revoke::Nothing => serde_json::to_vec(&self.agent.approvals.list(self.agent.policies.current().generation)),
            Revoke::One(number) => serde_json::to_vec(&self.agent.end_approvals(Some(number), "revoked")),
            Revoke::All => serde_json::to_vec(&self.agent.end_approvals(None, "revoked")),
        };
        Reply::Own(reply::document(APPROVALS, &document.unwrap_or_default()))
    }
}

impl Approvable {
    /// The button.
    pub(super) fn offer(&self) -> Offer {
        let time = self.remember.cache.time;
        Offer { label: format!("Allow {}", spoken(time)), time }
    }

    /// What the button means, for the dialog: `Allow 5 min: this login through this connection, at most 50 times`.
    pub(super) fn meaning(&self) -> String {
        let what = if self.subject.destination.is_some() { "this login" } else { "such signatures" };
        let how_often = self.remember.cache.count.map(|count| format!(", at most {count} times")).unwrap_or_default();
        format!("{}: {what} {}{how_often}", self.offer().label, self.scope(None))
    }

    /// Whose requests, in words.
    pub(super) fn scope(&self, hop: Option<&str>) -> String {
        match (&self.subject.scope, hop) {
            (Scope::Hop(_), Some(hop)) => format!("through this connection to {hop}"),
            (Scope::Hop(_), None) => "through this connection".to_owned(),
            (Scope::Terminal(_), _) => {
                let program = self.subject.program.as_ref().and_then(|program| program.file_name());
                let program = program.map(|name| question::shown(name.as_encoded_bytes())).unwrap_or_default();
                format!("by {program} in this terminal session")
            }
        }
    }
}

impl Agent {
    /// Ends one approval or all, and records it; how many there were. Also for whoever learns that the screen was locked.
    pub(super) fn end_approvals(&self, number: Option<u64>, why: &str) -> usize {
        self.ended_approvals(self.approvals.revoke(number), why)
    }

    /// Ends those of a key that is here no more.
    pub(super) fn end_approvals_of(&self, key: &[u8]) {
        self.ended_approvals(self.approvals.revoke_key(key), "the key was removed");
    }

    fn ended_approvals(&self, count: usize, why: &str) -> usize {
        if count > 0 {
            let (count, reason) = (Some(count as u64), Some(why.to_owned()));
            let outcome = Outcome::Done;
            self.audit.record(Record { outcome, count, reason, ..Record::of(Event::ApprovalEnd) });
        }
        count
    }
}
