//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::keys::Kind;

/// Shown after a mistake in the command line.
pub(crate) const USAGE: &str = "usage: bench [--quick] [--json FILE] [--hardkey PATH] [--stock PATH] [--only TEXT]";

/// What to measure, how long, and where to write it.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) json: Option<PathBuf>,
    pub(crate) hardkey: PathBuf,
    pub(crate) stock: PathBuf,
    /// Only rows whose name contains this.
    only: String,
    /// Each has one turn of every target.
    pub(crate) rounds: usize,
    /// How long a target works in one round.
    pub(crate) turn: Duration,
    /// How many clients at once.
    pub(crate) clients: &'static [usize],
    /// What kinds of keys the token holds.
    pub(crate) kinds: &'static [Kind],
    /// How many connections that say nothing are open beside a load.
    pub(crate) idle: usize,
}

impl Options {
    /// # Errors
    ///
    /// The text says what is wrong with the arguments.
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Self {
            json: None,
            hardkey: beside_this_program("hardkey"),
            stock: "/usr/bin/ssh-agent".into(),
            only: String::new(),
            rounds: 5,
            turn: Duration::from_secs(1),
            clients: &[1, 8, 64],
            kinds: &Kind::ALL,
            idle: 10_000,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let name = argument.to_string_lossy().into_owned();
            let mut value = || arguments.next().ok_or_else(|| format!("{name} wants a value"));
            match name.as_str() {
                "--quick" => {
                    options.rounds = 3;
                    options.turn = Duration::from_millis(250);
                    options.clients = &[1, 8];
                    options.kinds = &Kind::USUAL;
                    options.idle = 500;
                }
                "--json" => options.json = Some(value()?.into()),
                "--hardkey" => options.hardkey = value()?.into(),
                "--stock" => options.stock = value()?.into(),
                "--only" => options.only = value()?.to_string_lossy().into_owned(),
                _ => return Err(format!("unknown argument {name}")),
            }
        }
        Ok(options)
    }

    /// Whether the rows under `name` are wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }
}

fn beside_this_program(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::from_arguments(arguments.iter().map(OsString::from))
    }

    #[test]
    fn without_arguments_there_are_five_rounds() {
        let options = parse(&[]).unwrap();
        assert_eq!((options.rounds, options.clients), (5, &[1, 8, 64][..]));
        assert!(options.wants("anything"));
    }

    #[test]
    fn arguments_have_their_effect_or_are_refused() {
        let options = parse(&["--quick", "--only", "token", "--hardkey", "/x"]).unwrap();
        assert_eq!((options.rounds, options.hardkey), (3, PathBuf::from("/x")));
        assert_eq!(parse(&["--json"]).unwrap_err(), "--json wants a value");
        assert_eq!(parse(&["--slow"]).unwrap_err(), "unknown argument --slow");
        let only = parse(&["--only", "token"]).unwrap();
        assert!(only.wants("sign token rsa2048") && !only.wants("list"));
    }
}
