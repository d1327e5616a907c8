//! What one line of the audit log says: the schema, version 1, as docs/audit.md documents it for other programs.
//!
//! A field that does not apply is left out. New fields and new words may come within a version; none goes or changes its meaning.

use serde::{Deserialize, Serialize};

use crate::backend::Place;
use crate::protocol::public_key::PublicKey;
use crate::text;

/// The version of the schema.
pub const VERSION: u8 = 1;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`]
    pub v: u8,
    /// When it was decided, in UTC: `2026-11-20T20:53:16.123Z`.
    pub time: String,
    /// The process number of the agent.
    pub agent: u32,
    /// The number of the record among those of this agent, from 1.
    pub seq: u64,
    /// What was to be done.
    pub event: Event,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was refused, or what there is to know of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// What a person said; left out when nobody was asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub consent: Option<Consented>,
    /// From the request to its answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub took_ms: Option<u64>,
    /// The class of origin, such as `local-direct`; left out where origins are not judged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<String>,
    /// Why it is of that class.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub because: Option<String>,
    /// Who asked, on this machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<Peer>,
    /// The hops it was forwarded through, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub via: Vec<Hop>,
    /// The key it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<Key>,
    /// What was to be signed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request: Option<Signed>,
    /// The provider it is about: a module's path or a URI.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<String>,
    /// The token whose PIN it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<Token>,
    /// Stands for so many that were refused like this and are not recorded one by one; this is the last of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub more: Option<u64>,
    /// How many: keys added or removed, approvals revoked, records lost.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
}

/// What was to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A signature.
    #[default]
    Sign,
    /// A key was to be added.
    Add,
    /// A key was to be removed.
    Remove,
    /// All keys were to be removed.
    RemoveAll,
    /// The keys of a provider were to be added.
    ProviderAdd,
    /// The keys of a provider were to be removed.
    ProviderRemove,
    /// The agent was to be locked.
    Lock,
    /// The agent was to be unlocked.
    Unlock,
    /// A PIN was presented to a token.
    Pin,
    /// A person gave a yes that holds for a while.
    Approval,
    /// Such a yes has ended.
    ApprovalEnd,
    /// Records that could not be written.
    Lost,
    /// An event of a later version.
    #[serde(other)]
    Other,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused, or failed.
    Refused,
    /// The client went away before it was decided.
    #[default]
    Withdrawn,
    /// An outcome of a later version.
    #[serde(other)]
    Other,
}

/// What a person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consented {
    /// Yes, to this request.
    Once,
    /// Yes, for a while.
    ForAWhile,
    /// Yes, for a while, when an earlier request was asked about.
    Earlier,
    /// No, or nothing.
    No,
    /// A word of a later version.
    #[serde(other)]
    Other,
}

/// The process at the other end of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Peer {
    /// Its process number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<i32>,
    /// Its user's number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<u32>,
    /// Its program's path.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub program: Option<String>,
    /// Its terminal, such as `pts/3`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub terminal: Option<String>,
    /// The programs that started it, the nearest first; looked up when a person was asked.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub parents: Vec<String>,
}

/// A host that the agent is forwarded through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hop {
    /// Its name in `known_hosts`, where it has one and it was looked up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// The fingerprint of its host key.
    pub host_key: String,
    /// Whether it is a fact that the agent is forwarded through it; else the hop before it says so.
    pub proved: bool,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Key {
    /// `SHA256:` fingerprint; of a certificate, that of its key.
    pub fingerprint: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its comment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comment: Option<String>,
    /// The token's label, or `memory`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<String>,
    /// The token's serial number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub serial: Option<String>,
}

/// What was to be signed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Signed {
    /// `bound-login`, `login`, `sshsig`, `certificate`, `sudo`, `host-kex`, `raw`.
    pub kind: String,
    /// The user to log in as.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// The name of the host to log in to, from the user's own configuration and `known_hosts`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// The fingerprint of the host key of the server that lets in whoever has the signature.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host_key: Option<String>,
    /// The namespace of a signature over a file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    /// Whom a certificate speaks for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub principals: Vec<String>,
    /// The command that `sudo` is to run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Token {
    /// Its label.
    pub label: String,
    /// Its serial number.
    pub serial: String,
}

impl Record {
    /// The beginning of a record; time and numbers come when it is written.
    #[must_use]
    pub fn of(event: Event) -> Self {
        Self { v: VERSION, event, ..Self::default() }
    }

    /// The host of a login as far as it is known: its name, else its key's fingerprint.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        let request = self.request.as_ref()?;
        request.host.as_deref().or(request.host_key.as_deref())
    }
}

impl Key {
    /// Describes a key, and where it lives if it is here.
    #[must_use]
    pub fn of(public: &PublicKey, fingerprint: String, comment: Option<&[u8]>, place: Option<&Place>) -> Self {
        Self {
            fingerprint,
            kind: public.type_name().to_owned(),
            comment: comment.map(text::excerpt),
            token: place.map(|place| text::excerpt(place.token.as_bytes())),
            serial: place.and_then(|place| place.serial.as_deref()).map(|serial| text::excerpt(serial.as_bytes())),
        }
    }
}
