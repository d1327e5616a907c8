//! Who gets a signature out of an SSH agent without anybody being asked: local programs, as they should, and whoever has a request
//! relayed to the agent, as they should not.
//!
//! `cargo run -p hop-matrix -- --agent PATH [--case NAME]… [--list] [--markdown]`
//!
//! `PATH` is the agent's program: hardkey, or OpenSSH's `ssh-agent` as the control. Every case is played with real programs on loopback,
//! twice: once with a person who says yes to every question, once without any way to ask. The agent passes a case if it signed what was
//! asked for locally without a question, and signed nothing relayed without one. OpenSSH's agent passes where it does what it is known
//! to do, which is to sign silently: a case in which it does not would show nothing about other agents either.
//!
//! Prints a line for each case as it ends, then what went wrong, then `N passed, N failed`; the exit status is 0 if nothing failed.
//!
//! A new case is a function in `cases` and a line in its list.

#![allow(clippy::print_stdout, reason = "the table is the program's output")]

mod case;
mod cases;
mod judgements;
mod needs;
mod options;
mod play;
mod table;
mod tap;
mod uses;
mod wire;
mod world;

use std::process::ExitCode;

use case::Stock;
use hsm_tests::is_stock;
use options::{Options, Style};

fn main() -> ExitCode {
    let options = match Options::from_arguments(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("hop-matrix: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let Some(agent) = options.agent else {
        table::list(&options.cases);
        return ExitCode::SUCCESS;
    };
    hsm_tests::use_agent(agent);
    if let Err(missing) = needs::check(&options.cases) {
        eprintln!("hop-matrix: {missing}");
        return ExitCode::from(2);
    }
    // What went wrong is told in the end, with the case it is about.
    std::panic::set_hook(Box::new(|_| {}));
    let mut failures = Vec::new();
    // What an agent cannot be asked for at all it neither passes nor fails.
    let cases: Vec<_> = options.cases.iter().filter(|case| !is_stock() || case.stock != Stock::Lacks).collect();
    table::head(options.style);
    for case in &cases {
        let played = play::play(case);
        table::row(options.style, case, &played);
        failures.extend(played.complaints.into_iter().map(|complaint| (case.name, complaint)));
    }
    for (name, complaint) in &failures {
        eprintln!("\n== {name}: {complaint}");
    }
    let mut failed: Vec<&str> = failures.iter().map(|(name, _)| *name).collect();
    failed.dedup();
    if options.style == Style::Text {
        println!("\n{} passed, {} failed", cases.len() - failed.len(), failed.len());
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
