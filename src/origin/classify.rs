//! The judgement: from evidence to where a request comes from. Pure; what it looks at is in [`Evidence`], nothing else counts.

use std::fmt;

use super::evidence::{Evidence, Need, PayloadFact, Request};
use super::known_hosts::Answer;
use super::rules::{Finding, Outcome, Rule};
use super::trust::Role;
use super::words::Words;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// The user's own trusted `ssh`, logging in for itself.
    LocalDirect,
    /// A trusted program that cannot relay, with a request of its kind.
    LocalTool,
    /// Forwarded, the first hop and the destination proved.
    ForwardedVerified,
    /// Forwarded, the first hop proved, the destination or the content not provable.
    ForwardedKnownHop,
    /// Forwarded, or tainted by a bind that failed, contradicted or came too late.
    ForwardedUnverified,
    /// Anything else.
    Unknown,
}

/// What may be said as a fact about where a signature lets somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// The server that has this host key, and no other: it checks that the key is in what was signed.
    Enforced(&'a [u8]),
    /// The server that has this host key: the local `ssh` vouches for it.
    Vouched(&'a [u8]),
    /// Any server, or none: whatever was claimed is a claim.
    Unknown,
}

/// Where a request comes from, and why that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The class.
    pub origin: Origin,
    /// Why, in one sentence fit to be shown.
    pub reason: Words,
    /// Each rule of a local login, in order.
    pub findings: Vec<Finding>,
    /// Whether the first hop of a forwarded request is a fact: the session of the first bind is one that a local `ssh` opened.
    pub first_hop_proved: bool,
}

impl Origin {
    /// Whether the request comes from this machine, for certain.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(self, Self::LocalDirect | Self::LocalTool)
    }
}

/// The names used in logs, in the configuration and in documentation.
impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::LocalDirect => "local-direct",
            Self::LocalTool => "local-tool",
            Self::ForwardedVerified => "forwarded-verified",
            Self::ForwardedKnownHop => "forwarded-known-hop",
            Self::ForwardedUnverified => "forwarded-unverified",
            Self::Unknown => "unknown",
        })
    }
}

/// The class, the reason, and a line for each rule.
impl fmt::Display for Judgement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.origin, self.reason)?;
        self.findings.iter().try_for_each(|finding| write!(formatter, "\n{finding}"))
    }
}

/// The rules that are decided without gathering anything, or by little.
const CHEAP: [Rule; 4] = [Rule::D1, Rule::D2, Rule::D5, Rule::D6];
/// The rules that the peer's configuration decides.
const BY_SETUP: [Rule; 5] = [Rule::D3, Rule::D4, Rule::D8, Rule::D9, Rule::D10];

/// Judges a request by the evidence there is. Evidence that was not gathered counts as not speaking for the peer.
#[must_use]
pub fn classify(evidence: &Evidence<'_>) -> Judgement {
    let first_hop_proved = first_hop_proved(evidence);
    let (origin, reason) = if evidence.is_forwarded() || evidence.binds.tainted() {
        forwarded(evidence, first_hop_proved)
    } else {
        local(evidence)
    };
    let reason = match evidence.label {
        Some(label) => format!("{reason} (socket {label:?})").into(),
        None => reason,
    };
    let findings = Rule::ALL.map(|rule| rule.find(evidence)).to_vec();
    Judgement { origin, reason, findings, first_hop_proved }
}

/// The evidence that the judgement still hangs on: cheapest first, none when nothing that could be found would change it.
#[must_use]
pub fn needed(evidence: &Evidence<'_>) -> Option<Need> {
    if evidence.is_forwarded() || evidence.binds.tainted() {
        let open = hop_fault(evidence).is_none() && !evidence.first_hop_is_local_login;
        return match (&evidence.setup, &evidence.pin) {
            (None, _) if open => Some(Need::Setup),
            (Some(Ok(_)), None) if open => Some(Need::Pin),
            _ => None,
        };
    }
    let fails = |rules: &[Rule]| rules.iter().any(|rule| rule.find(evidence).outcome == Outcome::Fail);
    if fails(&CHEAP) || fails(&[Rule::D4]) {
        None
    } else if evidence.phase.is_none() {
        Some(Need::Phase)
    } else if evidence.setup.is_none() {
        Some(Need::Setup)
    } else if evidence.pin.is_none() && !fails(&BY_SETUP) {
        Some(Need::Pin)
    } else {
        None
    }
}

/// What may be stated as a fact about the destination of a signature, given where the request for it comes from.
#[must_use]
pub fn destination<'a>(evidence: &'a Evidence<'_>, origin: Origin) -> Destination<'a> {
    match (evidence.request, evidence.binds.list()) {
        (Request::Sign(PayloadFact::BoundLogin { hostkey, .. }), _) => Destination::Enforced(hostkey),
        (Request::Sign(PayloadFact::Login { .. }), [bind]) if origin == Origin::LocalDirect => {
            Destination::Vouched(bind.hostkey())
        }
        _ => Destination::Unknown,
    }
}

fn forwarded(evidence: &Evidence<'_>, first_hop_proved: bool) -> (Origin, Words) {
    let unverified = |reason: Words| (Origin::ForwardedUnverified, reason);
    if let Some(fault) = hop_fault(evidence) {
        return unverified(fault);
    }
    if !first_hop_proved {
        return unverified("forwarded, through a session that is not one this machine is known to have opened".into());
    }
    if let Some(contradiction) = contradiction(evidence) {
        return unverified(contradiction.into());
    }
    let ends_in_login = evidence.binds.list().last().is_some_and(|bind| !bind.is_forwarding());
    match evidence.request {
        Request::Sign(PayloadFact::BoundLogin { .. }) if ends_in_login => (
            Origin::ForwardedVerified,
            "forwarded; the first hop is proved and the server enforces the destination".into(),
        ),
        Request::Sign(PayloadFact::BoundLogin { .. } | PayloadFact::Login { .. }) => {
            (Origin::ForwardedKnownHop, "forwarded; the first hop is proved, the destination is not".into())
        }
        Request::Sign(_) => {
            (Origin::ForwardedKnownHop, "forwarded; the first hop is proved, what asked there is not".into())
        }
        Request::List | Request::Manage => (Origin::ForwardedKnownHop, "forwarded; the first hop is proved".into()),
    }
}

/// What keeps the first hop from being proved, whatever else is found out.
fn hop_fault(evidence: &Evidence<'_>) -> Option<Words> {
    if let Some(fault) = evidence.binds.taint_reason() {
        return Some(format!("not to be believed: {fault}").into());
    }
    let program = Rule::D1.find(evidence);
    if program.outcome != Outcome::Pass {
        return Some(format!("forwarded, and not by a trusted ssh: {}", program.reason).into());
    }
    match &evidence.standing {
        Err(unknown) => return Some(format!("forwarded, and {unknown}").into()),
        Ok(standing) => {
            if let Some(fault) = standing.taint {
                return Some(format!("forwarded: on another connection of the process {fault}").into());
            }
        }
    }
    match evidence.binds.list().first() {
        Some(first) if first.is_forwarding() => None,
        Some(_) => Some("arrived where only forwarded requests do, but announced as a login".into()),
        None => Some("arrived where only forwarded requests do, and announced nothing".into()),
    }
}

/// Whether the first hop is a fact: the first bind names the session of a login that was judged local, or the host that this
/// `ssh` was started for. That a process has announced the session before is not enough, for it may have been relaying then, too.
fn first_hop_proved(evidence: &Evidence<'_>) -> bool {
    let known = evidence.first_hop_is_local_login || matches!(evidence.pin, Some(Ok(Answer::Known(_))));
    known && hop_fault(evidence).is_none()
}

/// What in a payload cannot be true of the path that was announced.
fn contradiction(evidence: &Evidence<'_>) -> Option<&'static str> {
    let Request::Sign(payload) = evidence.request else {
        return None;
    };
    let (_, session_id) = payload.login()?;
    let last = evidence.binds.list().last()?;
    if last.is_forwarding() {
        let forwarding = evidence.binds.list().iter().any(|bind| bind.session_id() == session_id);
        return forwarding.then_some("the login is for a session that forwards the agent");
    }
    if session_id != last.session_id() {
        return Some("the login is for another session than the last one announced");
    }
    match payload.hostkey() {
        Some(hostkey) if hostkey != last.hostkey() => {
            Some("the login is for another host key than the last one announced")
        }
        _ => None,
    }
}

fn local(evidence: &Evidence<'_>) -> (Origin, Words) {
    let may_be_elsewhere = |reason: &str| (Origin::Unknown, format!("may come from elsewhere: {reason}").into());
    let role = match &evidence.program {
        Ok(program) => program.role,
        Err(unknown) => return may_be_elsewhere(unknown.reason()),
    };
    match role {
        Role::Ssh if adds_its_key(evidence) => {
            (Origin::LocalDirect, "ssh on this machine, busy with its own login".into())
        }
        Role::Ssh => match unproved(evidence) {
            None => (Origin::LocalDirect, "ssh on this machine, logging in for itself".into()),
            Some(reason) => may_be_elsewhere(&reason),
        },
        Role::Signer | Role::Manager | Role::Server if !evidence.binds.untouched() => {
            may_be_elsewhere("a tool that announces a session")
        }
        Role::Signer | Role::Manager | Role::Server if !is_clean(evidence) => {
            may_be_elsewhere("a connection of this process has misbehaved")
        }
        Role::Server if is_of_its_kind(role, evidence.request) => {
            (Origin::LocalTool, "this machine's ssh server, which has its host keys here".into())
        }
        tool if is_of_its_kind(tool, evidence.request) => {
            (Origin::LocalTool, "a tool on this machine that does not relay".into())
        }
        _ => (Origin::Unknown, "a trusted tool, but not a request of its kind".into()),
    }
}

/// Why a login is not certain to be local: the first rule that fails, else the first for which there is no evidence.
fn unproved(evidence: &Evidence<'_>) -> Option<Words> {
    let findings = Rule::ALL.map(|rule| rule.find(evidence));
    let first = |outcome| findings.iter().find(|finding| finding.outcome == outcome);
    let worst = first(Outcome::Fail).or_else(|| first(Outcome::NotReached));
    worst.map(|finding| finding.reason.clone())
}

/// `AddKeysToAgent`: ssh adds the key it is logging in with by a second connection, on which it announces nothing. As long as
/// the connection of its login is open there is no far side yet that could ask for anything.
fn adds_its_key(evidence: &Evidence<'_>) -> bool {
    let passes = |rule: Rule| rule.find(evidence).outcome == Outcome::Pass;
    let busy = evidence.standing.as_ref().is_ok_and(|standing| standing.authenticating);
    *evidence.request == Request::Manage
        && evidence.binds.untouched()
        && busy
        && [Rule::D1, Rule::D2, Rule::D5].into_iter().all(passes)
}

fn is_of_its_kind(tool: Role, request: &Request) -> bool {
    match tool {
        Role::Signer => {
            matches!(request, Request::List | Request::Sign(PayloadFact::SshSig | PayloadFact::Certificate))
        }
        Role::Manager => matches!(request, Request::List | Request::Manage | Request::Sign(PayloadFact::Raw)),
        Role::Server => matches!(request, Request::List | Request::Sign(PayloadFact::HostKex)),
        Role::Ssh => false,
    }
}

fn is_clean(evidence: &Evidence<'_>) -> bool {
    evidence.standing.as_ref().is_ok_and(|standing| standing.taint.is_none())
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
