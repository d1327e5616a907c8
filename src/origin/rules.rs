//! The ten rules of a local login. Each speaks for itself, from evidence alone, and says why in words.
//!
//! A signature without asking is given to the user's own `ssh` logging in for itself, and all ten must hold for a request to be
//! that. They overlap on purpose: whatever relays for somebody else fails at least one even if another were got round.

use std::fmt;
use std::time::Duration;

use super::Unknown;
use super::evidence::{Evidence, PayloadFact, Request, Setup};
use super::known_hosts::Answer;
use super::trust::{OLDEST_SSH, Role};
use super::words::Words;

/// An `ssh` older than this is past its login.
pub const LONGEST_LOGIN: Duration = Duration::from_secs(120);

/// A rule, by its number in the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The program is a trusted `ssh` that announces its sessions, running as we do and where we do.
    D1,
    /// The connection is the first of its process, or bound to the session of the first.
    D2,
    /// The agent that this `ssh` asks for its own login is the one that was asked.
    D3,
    /// The process is not past its login.
    D4,
    /// The agent has known the process from its start.
    D5,
    /// The one bind of the connection is verified and is what the payload is about.
    D6,
    /// The host key is known for the destination this `ssh` was started for.
    D7,
    /// The user is the one this `ssh` was started for.
    D8,
    /// This `ssh` does not pass a local agent on to the far side by forwarding a socket.
    D9,
    /// This `ssh` does not pass the agent on after a key exchange that announces nothing.
    D10,
}

/// How a rule came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not hold, or cannot be seen to hold.
    Fail,
    /// It was not looked at, since the rest had decided already.
    NotReached,
}

/// A rule's outcome and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How it came out.
    pub outcome: Outcome,
    /// Why, in words fit to be shown.
    pub reason: Words,
}

impl Rule {
    /// All rules in order.
    pub const ALL: [Self; 10] =
        [Self::D1, Self::D2, Self::D3, Self::D4, Self::D5, Self::D6, Self::D7, Self::D8, Self::D9, Self::D10];

    /// Looks at the evidence for this rule.
    #[must_use]
    pub fn find(self, evidence: &Evidence<'_>) -> Finding {
        let looked = match self {
            Self::D1 => Some(program(evidence)),
            Self::D2 => Some(first_connection(evidence)),
            Self::D3 => with_setup(evidence, own_agent),
            Self::D4 => phase(evidence),
            Self::D5 => Some(known_from_start(evidence)),
            Self::D6 => Some(bind_fits_payload(evidence)),
            Self::D7 => evidence.pin.as_ref().map(destination),
            Self::D8 => with_setup(evidence, |setup| user(evidence.request, setup)),
            Self::D9 => with_setup(evidence, relay),
            Self::D10 => with_setup(evidence, gssapi),
        };
        let (outcome, reason) = match looked {
            Some(Ok(reason)) => (Outcome::Pass, reason),
            Some(Err(reason)) => (Outcome::Fail, reason),
            None => (Outcome::NotReached, "not looked at".into()),
        };
        Finding { rule: self, outcome, reason }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "FAIL",
            Outcome::NotReached => "-",
        };
        write!(formatter, "{:<4}{outcome:<5}{}", self.rule.to_string(), self.reason)
    }
}

/// Why a rule holds, or why it does not.
type Looked = Result<Words, Words>;

fn program(evidence: &Evidence<'_>) -> Looked {
    let program = evidence.program.as_ref()?;
    match (program.role, program.version) {
        (Role::Ssh, Some(version)) if version >= OLDEST_SSH => Ok(format!("a trusted ssh, OpenSSH {version}").into()),
        (Role::Ssh, Some(version)) => {
            Err(format!("OpenSSH {version} does not announce its sessions; {OLDEST_SSH} and newer do").into())
        }
        (Role::Ssh, None) => Err("the version of ssh is not known".into()),
        (Role::Signer | Role::Manager | Role::Server, _) => Err("a trusted tool, but not ssh".into()),
    }
}

fn first_connection(evidence: &Evidence<'_>) -> Looked {
    let standing = evidence.standing.as_ref()?;
    if let Some(fault) = standing.taint {
        return Err(format!("a connection of this process has misbehaved: {fault}").into());
    }
    let bound = evidence.binds.list().last().map(|bind| bind.session_id());
    match standing.ordinal {
        Some(1) => Ok("the first connection of this process".into()),
        Some(_) if standing.authenticating => Ok("this process is still busy with its own login".into()),
        Some(_) if bound.is_some() && bound == standing.first_session.as_deref() => {
            Ok("bound to the same session as the first connection of this process".into())
        }
        Some(ordinal) => {
            Err(format!("connection {ordinal} of this process: only the first is its own, the others may be relayed")
                .into())
        }
        None => Err("too many processes at once to follow this one".into()),
    }
}

fn own_agent(setup: &Setup) -> Looked {
    match &setup.own_agent_is_ours {
        Ok(true) => Ok("this ssh asks this socket for its own login".into()),
        Ok(false) => {
            Err("this ssh does not ask this socket for its own login, so the request is somebody else's".into())
        }
        Err(unknown) => Err(unknown.into()),
    }
}

/// Half of this rule needs the configuration; what can be said without it is said before.
fn phase(evidence: &Evidence<'_>) -> Option<Looked> {
    let phase = match evidence.phase.as_ref()? {
        Ok(phase) => phase,
        Err(unknown) => return Some(Err(unknown.into())),
    };
    if phase.forked {
        return Some(Err("a fork of an ssh that has logged in already".into()));
    }
    if phase.listens {
        return Some(Err("it holds a listening socket, so it is a multiplexing master or forwards one".into()));
    }
    if phase.age > LONGEST_LOGIN {
        return Some(Err(
            format!("it has been running for {} s, longer than a login takes", phase.age.as_secs()).into()
        ));
    }
    with_setup(evidence, |setup| match phase.detached && setup.backgrounds {
        true => Err("it runs in the background, as its configuration has it do after its login".into()),
        false => Ok(format!("it has been running for {} s and listens nowhere", phase.age.as_secs()).into()),
    })
}

fn known_from_start(evidence: &Evidence<'_>) -> Looked {
    let standing = evidence.standing.as_ref()?;
    match standing.predates_agent {
        true => Err("it is older than this agent, which is not the first of this session".into()),
        false => Ok("nothing it did can have been missed".into()),
    }
}

fn bind_fits_payload(evidence: &Evidence<'_>) -> Looked {
    if let Some(fault) = evidence.binds.taint_reason() {
        return Err(fault.to_string().into());
    }
    let [bind] = evidence.binds.list() else {
        return Err(match evidence.binds.list().is_empty() {
            true => "no session was announced, as after a key exchange by GSSAPI or through a relay".into(),
            false => "more than one session has been announced".into(),
        });
    };
    if bind.is_forwarding() {
        return Err("the session announced forwards the agent".into());
    }
    let payload = match evidence.request {
        Request::Sign(payload) => payload,
        Request::List | Request::Manage => {
            return Ok("bound to one session; nothing is to be signed".into());
        }
    };
    let (_, session_id) = payload.login().ok_or("what is to be signed is not a login")?;
    if session_id != bind.session_id() {
        return Err("the login is for another session than the one announced".into());
    }
    match payload.hostkey() {
        Some(hostkey) if hostkey != bind.hostkey() => {
            Err("the login is for another host key than the one announced".into())
        }
        Some(_) => Ok("the login is for the session and the host key announced".into()),
        None => Ok("the login is for the session announced".into()),
    }
}

fn destination(pin: &Result<Answer, Unknown>) -> Looked {
    match pin {
        Ok(Answer::Known(place)) => {
            Ok(format!("the host key is the destination's ({:?} line {})", place.file, place.line).into())
        }
        Ok(Answer::Revoked(place)) => {
            Err(format!("the host key is revoked ({:?} line {})", place.file, place.line).into())
        }
        Ok(Answer::Unknown) => Err("the host key is not known for this ssh's destination".into()),
        Err(unknown) => Err(unknown.into()),
    }
}

fn user(request: &Request, setup: &Setup) -> Looked {
    match request {
        Request::Sign(PayloadFact::BoundLogin { user, .. } | PayloadFact::Login { user, .. }) => {
            match *user == setup.user {
                true => Ok(format!("logs in as {user:?}, as this ssh was told to").into()),
                false => {
                    Err(format!("logs in as {user:?}, but this ssh was told to log in as {:?}", setup.user).into())
                }
            }
        }
        Request::Sign(_) => Err("what is to be signed names no user to log in as".into()),
        Request::List | Request::Manage => Ok("nothing is to be signed".into()),
    }
}

fn relay(setup: &Setup) -> Looked {
    match &setup.relays {
        Some(what) => Err(format!("this ssh {what}").into()),
        None => Ok("this ssh forwards no agent's socket".into()),
    }
}

fn gssapi(setup: &Setup) -> Looked {
    if !setup.gssapi_key_exchange {
        return Ok("no key exchange by GSSAPI".into());
    }
    match &setup.forwards_us {
        Ok(false) => Ok("key exchange by GSSAPI, but this agent is not forwarded".into()),
        Ok(true) => {
            Err("this ssh forwards the agent and may use a key exchange by GSSAPI, which does not announce it".into())
        }
        Err(unknown) => Err(unknown.into()),
    }
}

fn with_setup(evidence: &Evidence<'_>, look: impl FnOnce(&Setup) -> Looked) -> Option<Looked> {
    Some(match evidence.setup.as_ref()? {
        Ok(setup) => look(setup),
        Err(unknown) => Err(unknown.into()),
    })
}
