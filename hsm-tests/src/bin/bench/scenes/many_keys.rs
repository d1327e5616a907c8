//! What a thousand keys cost, beside five: rates with both, and the share that is left.

use super::pair::Pair;
use super::{Requests, count};
use crate::Result;
use crate::fixture::Fixture;
use crate::keys::Key;
use crate::options::Options;
use crate::table::Row;
use crate::target::Who;

const FEW: u16 = 5;
const MANY: u16 = 1000;
const CLIENTS: usize = 8;

/// # Errors
///
/// An agent does not take the keys, or failed to answer.
pub(crate) fn measure(options: &Options, fixture: &Fixture, rows: &mut Vec<Row>) -> Result<()> {
    if !options.wants("software keys") {
        return Ok(());
    }
    eprintln!("{FEW} and {MANY} software keys");
    let pair = Pair::start(options, fixture, &[])?;
    let last = fill(&pair, 0..FEW, fixture)?;
    let few = rates(options, &pair, FEW, &last, rows)?;
    let last = fill(&pair, FEW..MANY, fixture)?;
    let many = rates(options, &pair, MANY, &last, rows)?;
    for (action, (few, many)) in ["list", "sign"].into_iter().zip(few.into_iter().zip(many)) {
        let mut share = Row::new(format!("{action}, {MANY} software keys, share of the rate with {FEW}"), "1");
        for (who, few) in few {
            let many = many.iter().filter(|(other, _)| *other == who).map(|(_, rate)| rate).sum::<f64>();
            share.add(who, many / few);
        }
        rows.push(share);
    }
    Ok(())
}

/// Adds keys to both agents and returns the last one.
fn fill(pair: &Pair, numbers: std::ops::Range<u16>, fixture: &Fixture) -> Result<Key> {
    let seed = |number: u16| {
        let mut seed = [1; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        seed
    };
    let mut last = None;
    for who in Who::AGENTS {
        last = pair.agent(who).add_ed25519(numbers.clone().map(seed), fixture)?.pop();
    }
    last.ok_or_else(|| "no keys".into())
}

type Rates = Vec<(Who, f64)>;

fn rates(options: &Options, pair: &Pair, keys: u16, last: &Key, rows: &mut Vec<Row>) -> Result<[Rates; 2]> {
    let mut measured = [Rates::new(), Rates::new()];
    for (number, action) in ["list", "sign"].into_iter().enumerate() {
        let mut requests = Requests::new(&format!("{action}, {keys} software keys, {}", count(CLIENTS)));
        for _ in 0..options.rounds {
            requests.round(
                &Who::AGENTS,
                |who| pair.cpu(who),
                options,
                |who, time| match action {
                    "list" => pair.list(who, CLIENTS, time),
                    _ => pair.sign(who, last, CLIENTS, time),
                },
            )?;
        }
        measured[number] = Who::AGENTS.into_iter().filter_map(|who| Some((who, requests.rate(who)?))).collect();
        rows.extend(requests.rows());
    }
    Ok(measured)
}
