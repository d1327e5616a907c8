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

use case::{Asks, Case, Stock};
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
    match options.agent {
        None => table::list(&options.cases),
        Some(agent) => {
            hsm_tests::use_agent(agent);
            return play_all(options.cases, options.style);
        }
    }
    ExitCode::SUCCESS
}

fn play_all(mut cases: Vec<&'static Case>, style: Style) -> ExitCode {
    // What an agent cannot be asked for at all it neither passes nor fails.
    cases.retain(|case| !is_stock() || case.stock != Stock::Lacks);
    let (left_out, cases): (Vec<&Case>, Vec<&Case>) = cases.into_iter().partition(|case| needs::is_out_of_reach(case));
    if let Err(missing) = needs::check(&cases) {
        eprintln!("hop-matrix: {missing}");
        return ExitCode::from(2);
    }
    // What went wrong is told in the end, with the case it is about.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut complaints, mut failed) = (Vec::new(), 0);
    table::head(style);
    for case in &cases {
        let mut played = play::play(case);
        if matches!(case.asks, Asks::Local) && !played.complaints.is_empty() {
            // An agent that cannot find out in time where a request comes from rightly asks; on a busy machine that may happen once.
            played = play::play(case);
        }
        table::row(style, case, &played);
        failed += usize::from(!played.complaints.is_empty());
        complaints.extend(played.complaints.into_iter().map(|complaint| format!("{}: {complaint}", case.name)));
    }
    for complaint in &complaints {
        eprintln!("\n== {complaint}");
    }
    if !left_out.is_empty() {
        let names: Vec<&str> = left_out.iter().map(|case| case.name).collect();
        eprintln!("\nleft out, since only root can play them: {}", names.join(", "));
    }
    if style == Style::Text {
        println!("\n{} passed, {failed} failed", cases.len() - failed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
