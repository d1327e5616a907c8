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
/// An agent failed to answer.
pub(crate) fn measure(options: &Options, fixture: &Fixture, rows: &mut Vec<Row>) -> Result<()> {
    let count = allow_descriptors(options.idle)?;
    let name = format!("list beside {count} idle connections, 1 client");
    if !options.wants(&name) {
        return Ok(());
    }
    eprintln!("{name}");
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

/// Allows this process, and the agents that inherit it, the descriptors for so many connections to each of two agents; how many the machine
/// lets them be, if it allows fewer.
fn allow_descriptors(count: usize) -> Result<usize> {
    const OTHERS: usize = 256;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let most = maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let count = count.min(most.saturating_sub(OTHERS) / 2);
    let current = Some(u64::try_from(2 * count + OTHERS)?);
    setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    Ok(count)
}
