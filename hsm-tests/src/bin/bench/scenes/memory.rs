//! Memory after all the work: what a user's session keeps.

use crate::Result;
use crate::agent::Agent;
use crate::client::AgentClient;
use crate::fixture::Fixture;
use crate::keys::{Key, Kind};
use crate::load::{Client as _, MESSAGES};
use crate::options::Options;
use crate::process::{self, Usage};
use crate::table::Row;
use crate::target::{Targets, Who};

/// As many as a busy user's token makes in a month.
const SIGNATURES: usize = 10_000;

pub(crate) fn measure(options: &Options, targets: &Targets, rows: &mut Vec<Row>) {
    for (name, part) in PARTS {
        if options.wants(name) {
            let mut row = Row::new(name, "kB");
            for who in Who::AGENTS {
                if let Some((all, alone)) = targets.memory(who) {
                    row.add(who, part(&all, &alone) as f64);
                }
            }
            rows.push(row);
        }
    }
}

/// What a fresh agent and the one process that serves its token keep after many signatures.
///
/// # Errors
///
/// An agent did not start or did not sign.
pub(crate) fn after_signatures(options: &Options, fixture: &Fixture, keys: &[Key], rows: &mut Vec<Row>) -> Result<()> {
    let name = format!("memory, agent and one worker after {SIGNATURES} signatures");
    if !options.wants(&name) {
        return Ok(());
    }
    eprintln!("{name}");
    let key = keys.iter().find(|key| key.in_token && key.kind == Kind::P256).ok_or("no key")?;
    let configuration = fixture.configuration_of_one_worker()?;
    let mut row = Row::new(name, "kB");
    for who in Who::AGENTS {
        let program = if who == Who::Hardkey { &options.hardkey } else { &options.stock };
        let mut agent = Agent::start_with(program, "month", fixture, &configuration, &[])?;
        agent.wait()?;
        agent.add_token(fixture)?;
        agent.wait_for(|list| list.iter().any(|(blob, _)| *blob == key.blob))?;
        let mut client = AgentClient::signing(agent.socket(), key)?;
        let mut reply = Vec::new();
        for number in 0..SIGNATURES {
            reply.clear();
            client.ask(number % MESSAGES, &mut reply)?;
        }
        row.add(who, process::usage_of_tree(agent.id()).rss_kb as f64);
    }
    rows.push(row);
    Ok(())
}

type Part = fn(&Usage, &Usage) -> u64;

const PARTS: [(&str, Part); 4] = [
    ("memory, agent", |_, alone| alone.rss_kb),
    ("memory, agent and children", |all, _| all.rss_kb),
    ("peak memory, agent", |_, alone| alone.peak_kb),
    ("peak memory, agent and children", |all, _| all.peak_kb),
];
