//! A fast key while something else waits: the share of its rate that is left to it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::pair::Pair;
use crate::Result;
use crate::client::AgentClient;
use crate::fixture::Fixture;
use crate::keys::{Key, Kind};
use crate::load::Client;
use crate::options::Options;
use crate::table::Row;
use crate::target::Who;

const CLIENTS: usize = 8;
/// How long the slow token takes for one signature.
const SLOW: &str = "300ms";

/// # Errors
///
/// An agent failed to answer.
pub(crate) fn measure(options: &Options, fixture: &Fixture, rows: &mut Vec<Row>) -> Result<()> {
    if options.wants(SLOW_TOKEN) {
        rows.push(beside_a_slow_token(options, fixture)?);
    }
    if options.wants(DIALOG) {
        rows.push(beside_a_dialog(options, fixture)?);
    }
    Ok(())
}

const SLOW_TOKEN: &str = "software ed25519 beside a slow token, share of its rate alone";
const DIALOG: &str = "software ed25519 beside a dialog, share of its rate alone";

fn beside_a_slow_token(options: &Options, fixture: &Fixture) -> Result<Row> {
    eprintln!("{SLOW_TOKEN}");
    let module = faulty_module::library()?;
    let rules = fixture.path("slow");
    fs::write(&rules, format!("C_Sign delay {SLOW}\n"))?;
    let pair = Pair::start(options, fixture, &[(faulty_module::RULES, rules.into())])?;
    let mut row = Row::new(SLOW_TOKEN, "1");
    for who in Who::AGENTS {
        pair.agent(who).add_module(&module, fixture)?;
        let slow = token_key(&pair, who)?;
        add_rounds(options, fixture, &pair, who, &slow, &mut row)?;
    }
    Ok(row)
}

fn beside_a_dialog(options: &Options, fixture: &Fixture) -> Result<Row> {
    eprintln!("{DIALOG}");
    let askpass = fixture.path("patient-askpass");
    // As long as two turns: an agent that waits for it shall still come to an end.
    fs::write(&askpass, format!("#!/bin/sh\nexec sleep {}\n", options.turn.as_secs_f64() * 2.0))?;
    fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700))?;
    let environment: [(&str, OsString); 3] =
        [("SSH_ASKPASS", askpass.into()), ("SSH_ASKPASS_REQUIRE", "force".into()), ("DISPLAY", ":0".into())];
    let pair = Pair::start(options, fixture, &environment)?;
    let mut row = Row::new(DIALOG, "1");
    for who in Who::AGENTS {
        pair.agent(who).add_confirmed_key(Kind::P256, fixture)?;
        let confirmed = listed(&pair, who, |(_, comment)| comment == Kind::P256.name())?;
        add_rounds(options, fixture, &pair, who, &confirmed, &mut row)?;
    }
    Ok(row)
}

/// In each round: the fast key alone, then the same while `other` is asked for all the time.
fn add_rounds(options: &Options, fixture: &Fixture, pair: &Pair, who: Who, other: &Key, row: &mut Row) -> Result<()> {
    let socket = pair.agent(who).socket();
    let fast = pair.agent(who).add_ed25519(std::iter::once([3; 32]), fixture)?.remove(0);
    for _ in 0..options.rounds {
        let alone = pair.sign(who, &fast, CLIENTS, options.turn)?.rate();
        let ended = AtomicBool::new(false);
        let beside = thread::scope(|scope| {
            let asking = scope.spawn(|| ask_until(&ended, socket, other));
            let turn = pair.sign(who, &fast, CLIENTS, options.turn);
            ended.store(true, Ordering::Relaxed);
            asking.join().map_err(|_| "a client panicked")??;
            turn
        })?;
        row.add(who, beside.rate() / alone);
    }
    Ok(())
}

/// Asks for signatures one after the other. What comes of them does not matter: a dialog that nobody answers is a refusal.
fn ask_until(ended: &AtomicBool, socket: &Path, key: &Key) -> Result<()> {
    let mut client = AgentClient::signing(socket, key)?;
    while !ended.load(Ordering::Relaxed) {
        client.ask(0, &mut Vec::new())?;
    }
    Ok(())
}

fn token_key(pair: &Pair, who: Who) -> Result<Key> {
    listed(pair, who, |(blob, _)| blob.windows(8).any(|part| part == b"nistp256"))
}

fn listed(pair: &Pair, who: Who, wanted: impl Fn(&(Vec<u8>, String)) -> bool) -> Result<Key> {
    let list = pair.agent(who).keys()?;
    let (blob, _) = list.into_iter().find(|identity| wanted(identity)).ok_or("a key that was added is not listed")?;
    Ok(Key { kind: Kind::P256, in_token: true, blob })
}
