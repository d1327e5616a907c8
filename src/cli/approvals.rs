//! `hardkey approvals`: the yeses that hold for a while.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::consent::approvals::{Shown, spoken};
use crate::protocol::request::{APPROVALS, Revoke};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<What>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// End an approval now
    Revoke {
        /// Its number
        #[arg(required_unless_present = "all")]
        number: Option<u64>,
        /// End all of them
        #[arg(long, conflicts_with = "number")]
        all: bool,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let revoke = match &arguments.command {
        None => Revoke::Nothing,
        Some(What::Revoke { number: Some(number), .. }) => Revoke::One(*number),
        Some(What::Revoke { number: None, .. }) => Revoke::All,
    };
    let answer = super::client::ask_running(APPROVALS, &revoke.encode())?;
    let broken = |error: serde_json::Error| format!("the agent's answer: {error}");
    if revoke != Revoke::Nothing {
        let count: usize = serde_json::from_slice(&answer).map_err(broken)?;
        return match (revoke, count) {
            (Revoke::One(number), 0) => Err(format!("there is no approval {number}; see hardkey approvals")),
            _ => super::print(&format!("{count} revoked\n")),
        };
    }
    let approvals: Vec<Shown> = serde_json::from_slice(&answer).map_err(broken)?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&approvals).map_err(|error| error.to_string())?;
        return super::print(&(text + "\n"));
    }
    match approvals.is_empty() {
        true => super::print("no approvals\n"),
        false => super::print(&table(&approvals)),
    }
}

fn table(approvals: &[Shown]) -> String {
    let header = ["N", "KEY", "FOR", "FROM", "LEFT", "USES"].map(str::to_owned);
    let rows = approvals.iter().map(|approval| {
        [
            approval.number.to_string(),
            approval.key.clone(),
            approval.purpose.clone(),
            approval.scope.clone(),
            spoken(Duration::from_secs(approval.seconds_left)),
            approval.uses_left.map_or_else(|| "any".to_owned(), |uses| uses.to_string()),
        ]
    });
    super::list::columns(std::iter::once(header).chain(rows).collect())
}
