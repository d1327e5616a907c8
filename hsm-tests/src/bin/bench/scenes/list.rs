//! Listing keys, what every `ssh` does first; and the load client's own ceiling.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use super::{Requests, count};
use crate::Result;
use crate::client::{AgentClient, identities};
use crate::load;
use crate::options::Options;
use crate::table::Row;
use crate::target::{Targets, Who};

/// # Errors
///
/// An agent failed to answer.
pub(crate) fn measure(options: &Options, targets: &Targets, rows: &mut Vec<Row>) -> Result<()> {
    for (kind, anew) in [("list", false), ("list, each by a new connection", true)] {
        for &clients in options.clients {
            let name = format!("{kind}, {}", count(clients));
            if !options.wants(&name) {
                continue;
            }
            eprintln!("{name}");
            let mut requests = Requests::new(&name);
            for _ in 0..options.rounds {
                let list = |who, time| targets.list(who, clients, anew, time);
                for (_, turn) in requests.round(&Who::AGENTS, |who| targets.cpu(who), options, list)? {
                    for answer in &turn.answers {
                        identities(&answer.bytes)?;
                    }
                }
            }
            rows.extend(requests.rows());
        }
    }
    for &clients in options.clients {
        let name = format!("load client alone, {}", count(clients));
        if options.wants(&name) {
            rows.push(ceiling(options, name, clients)?);
        }
    }
    Ok(())
}

/// What the load clients reach with an agent that does nothing but answer, in the column of the raw token: far below
/// this the agents are what is measured.
fn ceiling(options: &Options, name: String, clients: usize) -> Result<Row> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket)?;
    thread::spawn(move || {
        while let Ok((connection, _)) = listener.accept() {
            thread::spawn(|| answer_nothing(connection));
        }
    });
    let mut row = Row::new(name, "1/s");
    for _ in 0..options.rounds {
        let client = |_| AgentClient::listing(&socket);
        let clients = (0..clients).map(client).collect::<Result<_>>()?;
        row.add(Who::Raw, load::run(clients, options.turn)?.rate());
    }
    Ok(row)
}

/// Answers every request with an empty list until the client goes.
fn answer_nothing(mut connection: UnixStream) {
    const EMPTY_LIST: [u8; 9] = [0, 0, 0, 5, 12, 0, 0, 0, 0];
    let mut request = [0; 5];
    while connection.read_exact(&mut request).is_ok() && connection.write_all(&EMPTY_LIST).is_ok() {}
}
