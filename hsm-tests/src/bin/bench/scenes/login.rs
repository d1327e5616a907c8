//! Whole logins of `ssh` at an `sshd`: what it costs that the agent looks where a request comes from.

use std::process::{Command, Stdio};
use std::time::Instant;

use hsm_tests::{Home, KeyFile, Sshd};

use super::pair::Pair;
use crate::Result;
use crate::fixture::{Fixture, run};
use crate::options::Options;
use crate::table::Row;
use crate::target::Who;

const NAME: &str = "login by ssh";
/// Logins vary much: by key exchange, by `sshd`, by its children.
const LOGINS_PER_ROUND: usize = 10;

/// # Errors
///
/// An agent did not start, or a login failed.
pub(crate) fn measure(options: &Options, fixture: &Fixture, rows: &mut Vec<Row>) -> Result<()> {
    if !options.wants(NAME) {
        return Ok(());
    }
    eprintln!("{NAME}");
    let home = Home::new();
    let key = KeyFile::new(&home, "login");
    let sshd = Sshd::start(&home, [key.public()]);
    // The judgement is what is measured, so the rules are the usual ones.
    let pair = Pair::configured(options, fixture, &fixture.usual_configuration()?, &[])?;
    for who in Who::AGENTS {
        let socket = pair.agent(who).socket();
        run(Command::new("ssh-add").env("SSH_AUTH_SOCK", socket).arg("-q").arg(key.path()))?;
    }
    let mut time = Row::new(NAME, "ms");
    let mut more = Row::new(format!("{NAME}, hardkey's time beyond stock's"), "ms");
    let mut order = Who::AGENTS;
    for _ in 0..options.rounds * LOGINS_PER_ROUND {
        order.reverse();
        let mut taken = [0.0; 2];
        for who in order {
            let began = Instant::now();
            run(Command::new("ssh")
                .env("SSH_AUTH_SOCK", pair.agent(who).socket())
                .stdin(Stdio::null())
                .arg("-F")
                .arg(sshd.client_configuration())
                .args(["box", "true"]))?;
            taken[usize::from(who != Who::Hardkey)] = began.elapsed().as_secs_f64() * 1e3;
        }
        let [hardkey, stock] = taken;
        time.add(Who::Hardkey, hardkey);
        time.add(Who::Stock, stock);
        more.add(Who::Hardkey, hardkey - stock);
    }
    rows.extend([time, more]);
    Ok(())
}
