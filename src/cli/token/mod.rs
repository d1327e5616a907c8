//! `hardkey token`: PKCS#11 tokens without an agent. Modules run in workers of this command's own.

mod certificate;
mod choose;
mod init;
mod keygen;
mod list;
mod opensc;
mod pin;
mod secrets;
mod words;
mod work;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::terminal;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the tokens that are there, with the state of their PINs
    List(list::Arguments),
    /// Initialise a token: erase it, and give it a label and PINs
    Init(init::Arguments),
    /// Have a token make a key, and print its public half
    Keygen(keygen::Arguments),
    /// Store an X.509 certificate beside its key on a token
    ImportCert(certificate::Arguments),
    /// Change the PIN of a token, or its SO PIN
    ChangePin(pin::ChangeArguments),
    /// Set a new PIN on a token whose PIN is locked or was never set, by its SO PIN or PUK
    Unblock(pin::UnblockArguments),
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        terminal::end_questions_at_interrupts();
        match &arguments.command {
            Command::List(arguments) => list::run(arguments).await,
            Command::Init(arguments) => init::run(arguments).await,
            Command::Keygen(arguments) => keygen::run(arguments).await,
            Command::ImportCert(arguments) => certificate::run(arguments).await,
            Command::ChangePin(arguments) => pin::change(arguments).await,
            Command::Unblock(arguments) => pin::unblock(arguments).await,
        }
    })
}
