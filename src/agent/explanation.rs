//! The account that `hardkey explain` shows: where the requests of each connection come from, rule by rule, and what the latest
//! judgements were.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Agent;
use crate::clock;
use crate::origin::classify::Judgement;
use crate::origin::evidence::{PayloadFact, Request};
use crate::origin::facts::{Asker, Certainty, Facts, Hop};
use crate::origin::live::{Judged, View};
use crate::origin::rules::Outcome;
use crate::text;

/// More connections than this are not explained at once, the latest first.
const MOST_CONNECTIONS: usize = 64;

/// What an agent tells of its judgements.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Account {
    /// The connections there are, latest first.
    pub connections: Vec<Told>,
    /// The latest judgements, latest first.
    pub judged: Vec<Told>,
}

/// One connection, or one judgement. All texts are safe to show.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Told {
    /// The process at the other end, where it is known.
    pub pid: Option<i32>,
    /// Its command line.
    pub command: String,
    /// Its program and those above it, nearest first.
    pub chain: Option<String>,
    /// Its terminal.
    pub terminal: Option<String>,
    /// What the user calls the socket at which it arrived; none for the agent's own.
    pub label: Option<String>,
    /// How long ago it was, in seconds; for a connection, how long it has been there.
    pub seconds: u64,
    /// What was asked.
    pub request: String,
    /// Where it comes from.
    pub class: String,
    /// Why that was found.
    pub reason: String,
    /// The ten rules of a local login.
    pub rules: Vec<Found>,
    /// The hosts it came through, nearest first, and the host that it is for.
    pub path: Vec<String>,
    /// What followed.
    pub consequence: Option<String>,
}

/// How a rule came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// The rule's number.
    pub rule: String,
    /// Whether it holds; none when that was not looked at.
    pub holds: Option<bool>,
    /// Why.
    pub reason: String,
}

/// The account as JSON, without the connection that asks for it.
pub(super) async fn encode(agent: &Agent, asking: Option<u64>) -> Vec<u8> {
    let judged = agent.assessor.live().judged();
    let connections = agent.assessor.live().connections();
    let others = connections.into_iter().rev().filter(|(number, _)| Some(*number) != asking);
    let mut account = Account::default();
    for (number, view) in others.take(MOST_CONNECTIONS) {
        let latest = judged.iter().find(|judged| judged.connection == number);
        account.connections.push(connection(agent, view, latest).await);
    }
    account.judged = judged.iter().map(before).collect();
    serde_json::to_vec(&account).unwrap_or_default()
}

/// Tells of a connection, by looking at everything there is to look at.
async fn connection(agent: &Agent, view: View, latest: Option<&Judged>) -> Told {
    let since = view.since;
    let mut connection = agent.assessor.look(view);
    let request = latest.map_or(Request::List, |judged| judged.request.clone());
    let judgement = connection.explain(&request).await;
    let facts = connection.facts(&request, &judgement).await;
    let asker = facts.asker.as_ref().ok();
    Told {
        pid: asker.map(|asker| asker.pid),
        command: asker.map(Asker::command).unwrap_or_default(),
        chain: asker.map(Asker::chain),
        terminal: asker.and_then(|asker| asker.terminal.as_ref()).map(|terminal| terminal.name.clone()),
        label: facts.label.as_deref().map(|label| text::excerpt(label.as_bytes())),
        path: path(&facts),
        consequence: latest.and_then(|judged| judged.consequence.as_ref()).map(|steps| text::escape(steps.as_bytes())),
        request: latest.map_or_else(|| "nothing that was judged".to_owned(), |judged| words(&judged.request)),
        ..judged(&judgement, since)
    }
}

fn before(latest: &Judged) -> Told {
    Told {
        pid: latest.pid,
        command: latest.command.to_string(),
        label: latest.label.as_deref().map(|label| text::excerpt(label.as_bytes())),
        request: words(&latest.request),
        consequence: latest.consequence.as_ref().map(|steps| text::escape(steps.as_bytes())),
        ..judged(&latest.judgement, latest.at)
    }
}

fn judged(judgement: &Judgement, at: Duration) -> Told {
    let found = judgement.findings.iter().map(|finding| Found {
        rule: finding.rule.to_string(),
        holds: match finding.outcome {
            Outcome::Pass => Some(true),
            Outcome::Fail => Some(false),
            Outcome::NotReached => None,
        },
        reason: text::escape(finding.reason.as_bytes()),
    });
    Told {
        seconds: clock::now().saturating_sub(at).as_secs(),
        class: judgement.origin.to_string(),
        reason: text::escape(judgement.reason.as_bytes()),
        rules: found.collect(),
        ..Told::default()
    }
}

fn path(facts: &Facts) -> Vec<String> {
    let told = |hop: &Hop| match hop.certainty {
        Certainty::Proved => hop.host.shown(),
        Certainty::Claimed => format!("{} (claimed)", hop.host.shown()),
    };
    facts.hops.iter().chain(&facts.target).map(told).collect()
}

/// A request in words.
pub fn words(request: &Request) -> String {
    match request {
        Request::List => "the list of keys".to_owned(),
        Request::Manage => "a change of the agent".to_owned(),
        Request::Sign(PayloadFact::BoundLogin { user, .. }) => {
            format!("a login as \"{}\", bound to its host", text::excerpt(user.as_bytes()))
        }
        Request::Sign(PayloadFact::Login { user, .. }) => {
            format!("a login as \"{}\" that names no host", text::excerpt(user.as_bytes()))
        }
        Request::Sign(PayloadFact::SshSig) => "a signed file or message".to_owned(),
        Request::Sign(PayloadFact::Certificate) => "a certificate".to_owned(),
        Request::Sign(PayloadFact::Sudo) => "becoming another user (pam_ssh_agent_auth)".to_owned(),
        Request::Sign(PayloadFact::HostKex) => "an answer for a server's host key".to_owned(),
        Request::Sign(PayloadFact::Raw) => "a signature over octets of unknown meaning".to_owned(),
    }
}
