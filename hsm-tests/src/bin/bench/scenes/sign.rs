//! Signing with each key.

use super::{Requests, count};
use crate::Result;
use crate::keys::Key;
use crate::load::{MESSAGES, Turn};
use crate::options::Options;
use crate::table::Row;
use crate::target::{Targets, Who};
use crate::verify::{Verifier, out_of_reply};

/// # Errors
///
/// A target refused to sign or signed wrongly.
pub(crate) fn measure(options: &Options, targets: &Targets, rows: &mut Vec<Row>) -> Result<()> {
    for key in &targets.keys {
        let mut verifier = Verifier::of(key)?;
        for &clients in options.clients {
            let name = format!("sign, {}, {}", key.name(), count(clients));
            if options.wants(&name) {
                eprintln!("{name}");
                rows.extend(measure_one(options, targets, key, clients, &mut verifier, &name)?);
            }
        }
    }
    Ok(())
}

fn measure_one(
    options: &Options,
    targets: &Targets,
    key: &Key,
    clients: usize,
    verifier: &mut Verifier,
    name: &str,
) -> Result<[Row; 4]> {
    let mut requests = Requests::new(name);
    let able: Vec<_> = Who::ALL.into_iter().filter(|who| targets.has(*who, key)).collect();
    for _ in 0..options.rounds {
        let sign = |who, time| targets.sign(who, key, clients, time);
        for (who, turn) in requests.round(&able, |who| targets.cpu(who), options, sign)? {
            verify(&turn, who, key, verifier).map_err(|error| format!("{name}: {who:?}: {error}"))?;
        }
    }
    Ok(requests.rows())
}

fn verify(turn: &Turn, who: Who, key: &Key, verifier: &mut Verifier) -> Result<()> {
    let messages: Vec<_> = (0..MESSAGES).map(|number| key.login_data(number as u8)).collect();
    for answer in &turn.answers {
        let signature = match who {
            Who::Raw => answer.bytes.to_vec(),
            Who::Hardkey | Who::Stock => out_of_reply(key.kind, &answer.bytes)?,
        };
        verifier.check(answer.message, &messages[answer.message], &signature)?;
    }
    Ok(())
}
