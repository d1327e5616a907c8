//! From nothing to the first answer and to the first signature of the token.

use std::path::Path;
use std::time::Instant;

use crate::Result;
use crate::agent::Agent;
use crate::client::AgentClient;
use crate::fixture::Fixture;
use crate::keys::{Key, Kind};
use crate::load::Client;
use crate::options::Options;
use crate::process;
use crate::table::Row;
use crate::target::Who;
use crate::verify::{Verifier, out_of_reply};

/// Starts are short and vary much.
const STARTS_PER_ROUND: usize = 3;

/// # Errors
///
/// An agent did not start or did not sign.
pub(crate) fn measure(options: &Options, fixture: &Fixture, keys: &[Key], rows: &mut Vec<Row>) -> Result<()> {
    if !options.wants("start") {
        return Ok(());
    }
    eprintln!("start");
    let key = keys.iter().find(|key| key.in_token && key.kind == Kind::P256).ok_or("no key")?;
    let mut bare = Row::new("start to first answer, no token", "ms");
    let mut starts = Start::rows();
    let mut order = Who::AGENTS;
    for _ in 0..options.rounds * STARTS_PER_ROUND {
        order.reverse();
        for who in order {
            let program = if who == Who::Hardkey { &options.hardkey } else { &options.stock };
            bare.add(who, without_token(program, fixture)?);
            Start::measure(program, fixture, key)?.add_to(who, &mut starts);
        }
    }
    rows.push(bare);
    rows.extend(starts);
    Ok(())
}

/// Milliseconds until an agent that knows of no token answers.
fn without_token(program: &Path, fixture: &Fixture) -> Result<f64> {
    let configuration = fixture.usual_configuration()?;
    let began = Instant::now();
    let mut agent = Agent::start_with(program, "bare", fixture, &configuration, &[])?;
    agent.wait()?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// One start.
struct Start {
    first_answer_ms: f64,
    first_signature_ms: f64,
    memory_kb: u64,
}

impl Start {
    fn rows() -> [Row; 3] {
        [
            Row::new("start to first answer, with a token", "ms"),
            Row::new("start to first token signature", "ms"),
            Row::new("start, memory of agent and children", "kB"),
        ]
    }

    fn measure(program: &Path, fixture: &Fixture, key: &Key) -> Result<Self> {
        let began = Instant::now();
        let milliseconds = || began.elapsed().as_secs_f64() * 1e3;
        let mut agent = Agent::start(program, "start", fixture)?;
        agent.wait()?;
        let first_answer_ms = milliseconds();
        agent.add_token(fixture)?;
        agent.wait_for(|list| list.iter().any(|(blob, _)| *blob == key.blob))?;
        let mut reply = Vec::new();
        AgentClient::signing(agent.socket(), key)?.ask(0, &mut reply)?;
        let first_signature_ms = milliseconds();
        let signature = out_of_reply(key.kind, &reply)?;
        Verifier::of(key)?.check(0, &key.login_data(0), &signature)?;
        Ok(Self { first_answer_ms, first_signature_ms, memory_kb: process::usage_of_tree(agent.id()).rss_kb })
    }

    fn add_to(&self, who: Who, rows: &mut [Row; 3]) {
        let values = [self.first_answer_ms, self.first_signature_ms, self.memory_kb as f64];
        for (row, value) in rows.iter_mut().zip(values) {
            row.add(who, value);
        }
    }
}
