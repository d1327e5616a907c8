//! The `hardkey` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    hardkey::cli::main(std::env::args_os().collect())
}
