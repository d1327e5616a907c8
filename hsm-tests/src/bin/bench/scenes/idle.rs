//! Connections that say nothing: what each takes, and what a client beside them notices.

use std::os::unix::net::UnixStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Requests;
use super::pair::Pair;
use crate::Result;
use crate::fixture::Fixture;
use crate::options::Options;
use crate::process;
use crate::table::Row;
use crate::target::Who;

/// # Errors
///
/// The machine does not allow so many descriptors, or an agent failed to answer.
pub(crate) fn measure(options: &Options, fixture: &Fixture, rows: &mut Vec<Row>) -> Result<()> {
    let count = options.idle;
    let name = format!("list beside {count} idle connections, 1 client");
    if !options.wants(&name) {
        return Ok(());
    }
    eprintln!("{name}");
    allow_descriptors(2 * count + 256)?;
    let pair = Pair::start(options, fixture, &[])?;
    let memory = |who: Who| process::usage_of_tree(pair.agent(who).id()).rss_kb;
    let mut taken = Row::new(format!("memory of each of {count} idle connections"), "B");
    let mut idle = Vec::new();
    for who in Who::AGENTS {
        pair.list(who, 1, options.turn / 10)?;
        let before = memory(who);
        for _ in 0..count {
            idle.push(UnixStream::connect(pair.agent(who).socket())?);
        }
        // An answer to one that came last: all others have been accepted.
        pair.list(who, 1, options.turn / 10)?;
        taken.add(who, (memory(who).saturating_sub(before) * 1024) as f64 / count as f64);
    }
    rows.push(taken);
    let mut requests = Requests::new(&name);
    for _ in 0..options.rounds {
        requests.round(&Who::AGENTS, |who| pair.cpu(who), options, |who, time| pair.list(who, 1, time))?;
    }
    rows.extend(requests.rows());
    Ok(())
}

/// The agents inherit what is allowed here.
fn allow_descriptors(count: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let count = u64::try_from(count)?;
    match limit.maximum {
        Some(most) if most < count => Err(format!("at most {most} descriptors are allowed here, not {count}").into()),
        most => Ok(setrlimit(Resource::Nofile, Rlimit { current: most.or(Some(count)), maximum: most })?),
    }
}
