//! The decision on one request, by preset.

use serde::Deserialize;

use crate::origin::binds::Binds;
use crate::origin::classify::{Judgement, Origin};

/// A named set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Nothing that is not local for certain is served without consent.
    #[default]
    Strict,
    /// Exactly what stock ssh-agent allows.
    Openssh,
}

/// What is to happen. The greater one wins where several apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The request is served.
    Allow,
    /// It is served if a person says yes to it.
    Confirm,
    /// It is refused.
    Deny,
}

/// A decision and the rule it was made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What is to happen.
    pub action: Action,
    /// The rule, for the log and for explanations.
    pub rule: &'static str,
}

/// What a key's own limits say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyLimits {
    /// It was added with `ssh-add -c`.
    pub confirm: bool,
    /// It was added with `ssh-add -h`, and the constraints permit this signature.
    pub named_destination: bool,
}

/// What is asked to be signed, as far as the decision depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Something that says what it is for.
    Understood,
    /// Octets that could be anything.
    Raw,
}

const fn verdict(action: Action, rule: &'static str) -> Verdict {
    Verdict { action, rule }
}

impl Verdict {
    /// Both have to be satisfied: the stricter one stands.
    fn and(self, other: Self) -> Self {
        if other.action > self.action { other } else { self }
    }
}

/// Decides on a signature when origins are judged.
///
/// `binds` are the connection's; that the key's destination constraints permit the path has been tested before.
pub fn decide(judgement: &Judgement, ask: Ask, limits: KeyLimits, binds: &Binds) -> Verdict {
    strict(judgement, ask, limits, binds).and(by_key(limits))
}

/// Decides as stock ssh-agent does: nothing but the key's own limits counts.
pub fn decide_as_stock(limits: KeyLimits) -> Verdict {
    verdict(Action::Allow, "preset openssh: stock ssh-agent allows it").and(by_key(limits))
}

const fn by_key(limits: KeyLimits) -> Verdict {
    match limits.confirm {
        //= RFC 9987 section 5.2.7.2: require explicit user confirmation for each private key operation using the key
        true => verdict(Action::Confirm, "the key was added with confirmation (ssh-add -c)"),
        false => verdict(Action::Allow, "the key has no limit that applies"),
    }
}

fn strict(judgement: &Judgement, ask: Ask, limits: KeyLimits, binds: &Binds) -> Verdict {
    //= RFC 9987 section 10: Agents SHOULD implement additional controls over key visibility and use for forwarded agent
    //= connections
    let one_proved_hop = binds.list().len() == 2;
    match judgement.origin {
        Origin::LocalDirect => verdict(Action::Allow, "local-direct: the user's own ssh logs in for itself"),
        Origin::LocalTool => verdict(Action::Allow, "local-tool: a trusted program that cannot relay"),
        Origin::ForwardedVerified if limits.named_destination && one_proved_hop => {
            verdict(Action::Allow, "the key was added for this hop and destination (ssh-add -h), and both are proved")
        }
        Origin::Unknown if limits.named_destination => verdict(
            Action::Deny,
            "the key was added for paths that begin here (ssh-add -h), and it is not certain that this one does",
        ),
        Origin::ForwardedVerified | Origin::ForwardedKnownHop | Origin::ForwardedUnverified if ask == Ask::Raw => {
            verdict(Action::Deny, "forwarded: octets of unknown meaning are never signed")
        }
        Origin::ForwardedVerified => verdict(Action::Confirm, "forwarded-verified: a hop never signs silently"),
        Origin::ForwardedKnownHop => verdict(Action::Confirm, "forwarded-known-hop: a hop never signs silently"),
        Origin::ForwardedUnverified => verdict(Action::Confirm, "forwarded-unverified: a hop never signs silently"),
        Origin::Unknown => verdict(Action::Confirm, "unknown: it may come from elsewhere"),
    }
}

/// Decides on a change to the agent: adding, removing, locking, unlocking, providers.
pub fn decide_management(judgement: &Judgement) -> Verdict {
    match judgement.origin.is_local() {
        true => verdict(Action::Allow, "the agent is managed by local programs"),
        false => verdict(Action::Deny, "the agent is managed by trusted local programs only"),
    }
}

/// Whether a connection is shown the keys that only a dialog could allow it to use.
pub fn decide_list(preset: Preset, is_forwarded: bool, can_ask: bool) -> bool {
    preset == Preset::Openssh || can_ask || !is_forwarded
}
