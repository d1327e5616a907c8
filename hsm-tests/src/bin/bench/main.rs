//! How fast hardkey is, beside OpenSSH's agent and the bare token.
//!
//! `cargo run --release -p hsm-tests --bin bench -- [--quick] [--json FILE] [--hardkey PATH] [--stock PATH] [--only TEXT]`
//!
//! All three – hardkey, stock `ssh-agent` and a loop of `C_SignInit` and `C_Sign` in this process – use one SoftHSM
//! token, and take turns in every round, so that whatever else the machine does hits all of them. Every signature is
//! verified afterwards by RustCrypto's implementations, which none of the three signs with. A table row has the medians
//! of all rounds and the median of the rounds' own ratios.
//!
//! A path that ends in `ssh-agent` is started the way OpenSSH's agent wants it, also behind `--hardkey`: with stock in
//! both places the ratios show the noise. Software keys have no raw column; Ed25519 in a token is beyond OpenSSH 9.2.
//!
//! A new axis is a function in `scenes` that measures and adds [`Row`]s, and a line in [`measure`].

#![allow(clippy::print_stdout, reason = "the table is the program's output")]

mod agent;
mod client;
mod fixture;
mod keys;
mod load;
mod machine;
mod options;
mod process;
mod raw;
mod scenes;
mod table;
mod target;
mod verify;
mod wire;

use std::error::Error;
use std::process::ExitCode;

use fixture::Fixture;
use options::Options;
use table::Row;
use target::Targets;

/// What a measurement that could not be made gives; its text says why.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let options = match Options::from_arguments(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("bench: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let fixture = Fixture::new(options.kinds)?;
    let machine = machine::describe(options);
    for (name, value) in &machine {
        println!("{name}: {value}");
    }
    let mut rows = Vec::new();
    let measured = measure(options, &fixture, &mut rows);
    // Also after a failure: what went well until then may have taken minutes.
    table::print(&rows);
    if let Some(path) = &options.json {
        std::fs::write(path, table::json(&machine, &rows))?;
    }
    measured
}

fn measure(options: &Options, fixture: &Fixture, rows: &mut Vec<Row>) -> Result<()> {
    let targets = Targets::start(options, fixture)?;
    scenes::list::measure(options, &targets, rows)?;
    scenes::sign::measure(options, &targets, rows)?;
    scenes::memory::measure(options, &targets, rows);
    let keys = targets.end();
    scenes::memory::after_signatures(options, fixture, &keys, rows)?;
    scenes::login::measure(options, fixture, rows)?;
    scenes::many_keys::measure(options, fixture, rows)?;
    scenes::idle::measure(options, fixture, rows)?;
    scenes::neighbours::measure(options, fixture, rows)?;
    scenes::startup::measure(options, fixture, &keys, rows)
}
