//! The account of one request, gathered as it passes the rooms, and given to the audit log at its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::Agent;
use super::handler::shown_provider;
use super::question;
use super::signing::Refused;
use crate::audit::record::{Consented, Event, Hop, Key, Outcome, Peer, Record, Signed, Token};
use crate::audit::{Audit, Unwritten};
use crate::backend::pin::Witness;
use crate::crypto::fingerprint::FingerprintHash;
use crate::keyring::Identity;
use crate::origin::classify::{Judgement, Origin};
use crate::origin::connection::Connection;
use crate::origin::facts::{self, Certainty, Facts};
use crate::protocol::payload::Payload;
use crate::protocol::public_key::PublicKey;
use crate::protocol::request::Request;
use crate::text;

/// The longest reason that is recorded, in characters; the agent's own log has the rest.
const LONGEST_REASON: usize = 400;

/// An account that is open. One that is dropped says that the client went away.
pub(super) struct Account {
    audit: Arc<Audit>,
    record: Option<Box<Record>>,
    /// The key that the request names, for a record of one that is not here.
    named: Vec<u8>,
    begun: Instant,
}

impl Account {
    /// Opens the account of a request; that of one that is not recorded stays empty.
    pub(super) fn of(agent: &Agent, request: &Request<'_>, origin: &Connection) -> Self {
        let audit = Arc::clone(&agent.audit);
        let mut account = Self { audit, record: None, named: Vec::new(), begun: Instant::now() };
        let record = match request {
            Request::Sign(sign) => {
                account.named = sign.key.to_vec();
                Record::of(Event::Sign)
            }
            Request::Add(add) => {
                Record { key: Some(described(&add.key.public, Some(add.comment))), ..Record::of(Event::Add) }
            }
            Request::Remove { key } => {
                account.named = key.to_vec();
                Record::of(Event::Remove)
            }
            Request::RemoveAll => Record::of(Event::RemoveAll),
            Request::AddProvider(add) => {
                Record { provider: Some(shown_provider(add.provider)), ..Record::of(Event::ProviderAdd) }
            }
            Request::RemoveProvider { provider } => {
                Record { provider: Some(shown_provider(provider)), ..Record::of(Event::ProviderRemove) }
            }
            Request::Lock { .. } => Record::of(Event::Lock),
            Request::Unlock { .. } => Record::of(Event::Unlock),
            _ => return account,
        };
        account.record = Some(Box::new(Record { peer: Some(peer(origin)), ..record }));
        account
    }

    /// What a refusal is called in the agent's own log.
    pub(super) fn what(&self) -> &'static str {
        match self.record.as_ref().map(|record| record.event) {
            Some(Event::Sign) => "signature refused",
            Some(Event::Add) => "key not added",
            Some(Event::ProviderAdd) => "provider not added",
            Some(Event::Remove | Event::RemoveAll) => "key not removed",
            Some(Event::ProviderRemove) => "provider not removed",
            Some(Event::Lock) => "locking refused",
            Some(Event::Unlock) => "unlocking refused",
            _ => "request refused",
        }
    }

    /// Whether what is about to be done may be done, where nothing may go unrecorded. Taking away is always allowed.
    ///
    /// # Errors
    /// The log cannot be written, and the user insists on it.
    pub(super) async fn ready(&self) -> Result<(), Unwritten> {
        match self.record.as_ref().map(|record| record.event) {
            Some(Event::Add | Event::ProviderAdd | Event::Unlock) => self.audit.ready().await,
            _ => Ok(()),
        }
    }

    /// The key that was found.
    pub(super) fn key(&mut self, identity: &Identity) {
        let fingerprint = identity.named().fingerprint.clone();
        let key = Key::of(&identity.public, fingerprint, Some(&identity.comment), Some(&identity.signer.place()));
        self.note(|record| record.key = Some(key));
    }

    /// What is to be signed.
    pub(super) fn payload(&mut self, payload: &Payload<'_>) {
        self.note(|record| record.request = Some(signed(payload)));
    }

    /// Where the request comes from, and through which hosts.
    pub(super) fn judgement(&mut self, judgement: &Judgement, origin: &Connection) {
        let hops = origin.binds().list().iter().filter(|bind| bind.is_forwarding()).enumerate();
        let via = hops.map(|(at, bind)| Hop {
            host: None,
            host_key: fingerprint(bind.hostkey()),
            proved: at == 0 && judgement.first_hop_proved,
        });
        let via = via.collect();
        let host = match judgement.origin {
            Origin::LocalDirect => origin.config().map(|config| {
                let host = text::excerpt(config.host_key_alias.as_deref().unwrap_or(&config.hostname).as_bytes());
                if config.port == 22 { host } else { format!("[{host}]:{}", config.port) }
            }),
            _ => None,
        };
        self.note(|record| {
            record.origin = Some(judgement.origin.to_string());
            record.because = Some(recorded(judgement.reason.as_bytes()));
            record.via = via;
            if let (Some(request), Some(host)) = (&mut record.request, host) {
                request.host = Some(host);
            }
        });
    }

    /// What was found out for a person who is asked.
    pub(super) fn facts(&mut self, facts: &Facts) {
        let name = |hop: &facts::Hop| hop.host.names.first().map(|name| text::excerpt(name.name.as_bytes()));
        self.note(|record| {
            for (via, hop) in record.via.iter_mut().zip(&facts.hops) {
                via.host = name(hop);
            }
            let target = facts.target.as_ref().filter(|target| target.certainty == Certainty::Proved);
            if let (Some(request), Some(target)) = (&mut record.request, target) {
                request.host = request.host.take().or_else(|| name(target));
                request.host_key.get_or_insert_with(|| target.host.fingerprint.clone());
            }
            if let (Some(peer), Ok(asker)) = (&mut record.peer, &facts.asker) {
                let parents = asker.ancestors.iter();
                peer.parents = parents.filter_map(|parent| Some(shown(parent.executable.as_deref()?))).collect();
            }
        });
    }

    /// The rule that decided.
    pub(super) fn rule(&mut self, rule: &str) {
        self.note(|record| record.rule = Some(recorded(rule.as_bytes())));
    }

    /// What a person said.
    pub(super) fn consent(&mut self, consent: Consented) {
        self.note(|record| record.consent = Some(consent));
    }

    /// What there is so far, for the record of something that came with it.
    pub(super) fn so_far(&self) -> Record {
        self.record.as_deref().cloned().unwrap_or_default()
    }

    /// It is refused already, even if the client does not stay to hear it.
    pub(super) fn refused(&mut self, reason: &str) {
        self.note(|record| (record.outcome, record.reason) = (Outcome::Refused, Some(reason.to_owned())));
    }

    /// How many keys it was about.
    pub(super) fn count(&mut self, count: usize) {
        self.note(|record| record.count = Some(count as u64));
    }

    /// Closes the account with what came of the request.
    ///
    /// # Errors
    /// It could not be recorded, and the user insists on it.
    pub(super) async fn close<T>(mut self, outcome: &Result<T, Refused>) -> Result<(), Unwritten> {
        let Some(mut record) = self.take() else { return Ok(()) };
        match outcome {
            Ok(_) => record.outcome = Outcome::Done,
            Err(Refused(reason)) => {
                record.outcome = Outcome::Refused;
                record.reason = Some(recorded(reason.as_bytes()));
            }
        }
        // A signature can still be kept back; everything else is done.
        if record.event == Event::Sign && record.outcome == Outcome::Done {
            return self.audit.insist(record).await;
        }
        self.audit.record(record);
        Ok(())
    }

    fn note(&mut self, note: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            note(record);
        }
    }

    fn take(&mut self) -> Option<Box<Record>> {
        let mut record = self.record.take()?;
        if record.key.is_none() {
            record.key = named(&self.named);
        }
        record.took_ms = Some(self.begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX));
        Some(record)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(record) = self.take() {
            self.audit.record(record);
        }
    }
}

/// Records each PIN that a token refuses, whoever gave it.
pub(super) fn of_refused_pins(audit: Arc<Audit>) -> Witness {
    Box::new(move |token| {
        let shown = |text: &str| text::excerpt(text.as_bytes());
        let token = Some(Token { label: shown(&token.label), serial: shown(&token.serial) });
        let reason = Some("the token refused the PIN; a try is spent".to_owned());
        audit.record(Record { outcome: Outcome::Refused, reason, token, ..Record::of(Event::Pin) });
    })
}

fn peer(origin: &Connection) -> Peer {
    let peer = origin.peer();
    let process = peer.process.as_ref().ok();
    let program = process.and_then(|process| process.executable.as_ref().ok());
    Peer {
        pid: process.map(|process| process.id.pid),
        uid: peer.user,
        program: program.map(|program| shown(&program.path)),
        terminal: process.and_then(|process| process.terminal()).map(|terminal| terminal.name),
        parents: Vec::new(),
    }
}

fn shown(path: &Path) -> String {
    recorded(path.as_os_str().as_encoded_bytes())
}

fn named(blob: &[u8]) -> Option<Key> {
    PublicKey::from_blob(blob).ok().map(|key| described(&key, None))
}

/// A key that is not here.
fn described(public: &PublicKey, comment: Option<&[u8]>) -> Key {
    Key::of(public, FingerprintHash::Sha256.of(public), comment, None)
}

fn signed(payload: &Payload<'_>) -> Signed {
    let mut signed = Signed { kind: question::kind(payload).to_owned(), ..Signed::default() };
    match payload {
        Payload::BoundLogin { login, host_key } => {
            signed.user = Some(text::excerpt(login.user));
            signed.host_key = Some(fingerprint(host_key));
        }
        Payload::Login(login) => signed.user = Some(text::excerpt(login.user)),
        Payload::SshSig { namespace } => signed.namespace = Some(text::excerpt(namespace)),
        Payload::Certificate(certificate) => {
            signed.principals = certificate.principals.iter().map(|principal| text::excerpt(principal)).collect();
        }
        Payload::Sudo(sudo) => {
            signed.user = Some(text::excerpt(sudo.user));
            signed.command = Some(text::excerpt(&sudo.command.join(&b' ')));
        }
        Payload::HostKex { .. } | Payload::Raw => {}
    }
    signed
}

/// The fingerprint of a host key; of one that cannot be read, that it is none.
fn fingerprint(blob: &[u8]) -> String {
    PublicKey::from_blob(blob).map_or_else(|_| "not a key".to_owned(), |key| FingerprintHash::Sha256.of(&key))
}

/// Text from elsewhere, or with such in it, as it is recorded.
fn recorded(octets: &[u8]) -> String {
    text::cut(text::escape(octets), LONGEST_REASON)
}
