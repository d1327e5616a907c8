//! The command line: one file per subcommand, thin.

mod agent;
mod approvals;
mod client;
mod described;
mod explain;
mod fido;
mod getopt;
mod hypothesis;
mod list;
mod log;
mod policy;
mod prompts;
mod public;
mod terminal;
mod token;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::backend;
use crate::consent::minder;

/// An SSH agent for keys that live in hardware
#[derive(Parser)]
#[command(name = "hardkey", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent: in the background, in the foreground, or around a command
    Agent(agent::Arguments),
    /// List keys with their token, slot, algorithm and state
    List(list::Arguments),
    /// Have the agent forget the PINs of tokens and end its logins
    Release,
    /// Print public keys as lines for authorized_keys
    Pub(public::Arguments),
    /// List the approvals that hold for a while, or revoke them
    Approvals(approvals::Arguments),
    /// Answer the agent's questions in this terminal as they come
    Prompts(prompts::Arguments),
    /// Explain where requests come from and what follows: latest ones, those of a process, or one that is described
    Explain(explain::Arguments),
    /// Show what the agent decided, and who used which key where
    Log(log::Arguments),
    /// Check the rules of a configuration, and show what a request would take
    Policy(policy::Arguments),
    /// Manage security keys (FIDO2): list them, make and delete keys, set the PIN
    Fido(fido::Arguments),
    /// Manage PKCS#11 tokens: list and initialise them, make keys, set PINs
    Token(token::Arguments),
    /// Serve calls of the agent on one PKCS#11 module (started by the agent)
    #[command(hide = true)]
    Worker,
}

/// Runs the program. Called through a link named `ssh-agent` it is ssh-agent.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let called = arguments.first().map(|name| Path::new(name).file_name().unwrap_or_default().to_owned());
    if called.is_some_and(|name| name == "ssh-agent") {
        return agent::as_ssh_agent(arguments);
    }
    // The hidden ones first: a worker starts in a millisecond, without building a command line it does not need.
    let outcome = match arguments.get(1).and_then(|word| word.to_str()) {
        Some(backend::SUBCOMMAND) if arguments.len() == 2 => crate::worker::run().map_err(|error| error.to_string()),
        Some(minder::SUBCOMMAND) => {
            return report("hardkey", minder::mind(&arguments[2..]).map_err(|error| error.to_string().into()));
        }
        _ => return run(arguments),
    };
    report("hardkey", outcome.map(|()| ExitCode::SUCCESS).map_err(Failure::from))
}

fn run(mut arguments: Vec<OsString>) -> ExitCode {
    let command = Cli::command();
    if let Some(agent) =
        arguments.get(1).and_then(|word| command.find_subcommand(word)).filter(|found| found.get_name() == "agent")
    {
        getopt::mark_operands(agent, &mut arguments, 2);
    }
    let matches = command.get_matches_from(arguments);
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let outcome = match cli.command {
        Command::Agent(arguments) => agent::run(arguments, agent::Mode::Hardkey),
        Command::Release => client::release().map(|()| ExitCode::SUCCESS).map_err(Failure::from),
        Command::List(arguments) => list::run(&arguments).map_err(Failure::from),
        Command::Pub(arguments) => public::run(&arguments).map_err(Failure::from),
        Command::Approvals(arguments) => approvals::run(&arguments).map_err(Failure::from),
        Command::Prompts(arguments) => prompts::run(&arguments).map_err(Failure::from),
        Command::Explain(arguments) => explain::run(&arguments).map_err(Failure::from),
        Command::Log(arguments) => log::run(&arguments).map_err(Failure::from),
        Command::Policy(arguments) => policy::run(&arguments).map_err(Failure::from),
        Command::Fido(arguments) => fido::run(arguments).map_err(Failure::from),
        Command::Token(arguments) => token::run(&arguments).map_err(Failure::from),
        Command::Worker => crate::worker::run().map(|()| ExitCode::SUCCESS).map_err(|error| error.to_string().into()),
    };
    report("hardkey", outcome)
}

/// What ends the program: a text for the user and the exit status.
struct Failure {
    text: String,
    status: u8,
}

impl Failure {
    /// What OpenSSH calls fatal: exit status 255.
    const fn fatal(text: String) -> Self {
        Self { text, status: 255 }
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { text, status: 1 }
    }
}

#[expect(clippy::print_stderr, reason = "this is where errors reach the user")]
fn report(program: &str, outcome: Result<ExitCode, Failure>) -> ExitCode {
    outcome.unwrap_or_else(|failure| {
        eprintln!("{program}: {}", failure.text);
        ExitCode::from(failure.status)
    })
}

/// Tells something that is not the answer itself.
#[expect(clippy::print_stderr, reason = "notes are for people, and stay out of what programs read")]
fn warn(text: &str) {
    eprintln!("hardkey: {text}");
}

/// Writes to standard output; a reader that has seen enough is no error.
fn print(text: &str) -> Result<ExitCode, String> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(format!("cannot print: {error}")),
    }
}
