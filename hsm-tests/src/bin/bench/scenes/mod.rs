//! What is measured, one axis a file.

pub(crate) mod idle;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod many_keys;
pub(crate) mod memory;
pub(crate) mod neighbours;
mod pair;
pub(crate) mod sign;
pub(crate) mod startup;

use std::time::Duration;

use crate::Result;
use crate::load::Turn;
use crate::options::Options;
use crate::table::Row;
use crate::target::Who;

/// A round's turns are cut into so many, which alternate: the shorter they are, the less does a busy moment of the
/// machine hit one target alone.
const SLICES: u32 = 5;

/// "8 clients".
fn count(clients: usize) -> String {
    format!("{clients} {}", if clients == 1 { "client" } else { "clients" })
}

/// The rows of one kind of request: how many, how fast, at what cost.
struct Requests {
    rate: Row,
    median: Row,
    slowest: Row,
    cpu: Row,
}

impl Requests {
    fn new(name: &str) -> Self {
        Self {
            rate: Row::new(name, "1/s"),
            median: Row::new(format!("{name}, median"), "us"),
            slowest: Row::new(format!("{name}, p99"), "us"),
            cpu: Row::new(format!("{name}, CPU"), "us"),
        }
    }

    /// Lets `all` take their turns in one round, adds what that gives and returns it. `turn` lets one of them work for
    /// a time.
    fn round(
        &mut self,
        all: &[Who],
        cpu: impl Fn(Who) -> Duration,
        options: &Options,
        turn: impl Fn(Who, Duration) -> Result<Turn>,
    ) -> Result<Vec<(Who, Turn)>> {
        let mut turns: Vec<_> = all.iter().map(|who| (*who, Turn::default(), Duration::ZERO)).collect();
        for slice in 0..SLICES as usize {
            for number in 0..turns.len() {
                // Every slice begins with another: nobody shall always come after the same.
                let next = (slice + number) % turns.len();
                let (who, total, used) = &mut turns[next];
                let before = cpu(*who);
                let slice = turn(*who, options.turn / SLICES)?;
                *used += cpu(*who).saturating_sub(before);
                total.elapsed += slice.elapsed;
                total.answers.extend(slice.answers);
            }
        }
        for (who, turn, cpu) in &turns {
            self.add(*who, turn, *cpu);
        }
        Ok(turns.into_iter().map(|(who, turn, _)| (who, turn)).collect())
    }

    fn add(&mut self, who: Who, turn: &Turn, cpu: Duration) {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        self.rate.add(who, turn.rate());
        self.median.add(who, micros(turn.latency(0.5)));
        self.slowest.add(who, micros(turn.latency(0.99)));
        self.cpu.add(who, micros(cpu) / turn.answers.len() as f64);
    }

    /// The median rate so far.
    fn rate(&self, who: Who) -> Option<f64> {
        self.rate.median(who)
    }

    fn rows(self) -> [Row; 4] {
        [self.rate, self.median, self.slowest, self.cpu]
    }
}
