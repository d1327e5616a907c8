//! `hardkey explain`: where requests come from, rule by rule, and what follows.

use std::process::ExitCode;

use clap::Args;

use super::described::Described;
use crate::agent::explanation::{Account, Told};
use crate::protocol::request::EXPLAIN;
use crate::text;

/// The judgements that are shown when nothing is said of how many.
const SHOWN: usize = 10;

#[derive(Args)]
pub(super) struct Arguments {
    /// Explain the connections and latest judgements of this process only, with all rules
    #[arg(value_name = "PID", conflicts_with_all = ["peer", "via", "host", "user", "key"])]
    process: Option<i32>,
    /// Show this many of the latest judgements; the agent keeps 64
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    described: Described,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    if arguments.described.is_anything() {
        return super::print(&super::hypothesis::explain(&arguments.described)?);
    }
    let document = super::client::ask_running(EXPLAIN, &[])?;
    let mut account: Account =
        serde_json::from_slice(&document).map_err(|error| format!("the agent's answer: {error}"))?;
    let mut shown = SHOWN;
    if let Some(process) = arguments.process {
        account.connections.retain(|told| told.pid == Some(process));
        account.judged.retain(|told| told.pid == Some(process));
        if account.connections.is_empty() && account.judged.is_empty() {
            return Err(format!("process {process} has no connection to the agent, and none of its latest judgements"));
        }
        shown = 1;
    }
    account.judged.truncate(arguments.last.unwrap_or(shown));
    if arguments.json {
        let text = serde_json::to_string_pretty(&account).map_err(|error| error.to_string())?;
        return super::print(&(text + "\n"));
    }
    super::print(&text::printable(&table(&account, arguments.process.is_some())))
}

fn table(account: &Account, with_rules: bool) -> String {
    let mut text = String::new();
    let mut section = |title: &str, all: &[Told], is_now: bool| {
        if !all.is_empty() {
            let blank = if text.is_empty() { "" } else { "\n" };
            text += &format!("{blank}{title}\n");
            all.iter().for_each(|told| text += &entry(told, is_now, with_rules));
        }
    };
    section("Connections now", &account.connections, true);
    section("Latest judgements, the last one first", &account.judged, false);
    match text.is_empty() {
        true => "no connection but this one, and nothing has been judged yet\n".to_owned(),
        false => text,
    }
}

fn entry(told: &Told, is_now: bool, with_rules: bool) -> String {
    let process = told.pid.map_or_else(|| "a process that is not known".to_owned(), |pid| format!("process {pid}"));
    let time = match is_now {
        true => format!("for {}", duration(told.seconds)),
        false => format!("{} ago", duration(told.seconds)),
    };
    let mut lines = vec![format!("\n  {process}, {time}: {}", told.command)];
    let mut line = |name: &str, text: &str| lines.push(format!("    {name:<9}{text}"));
    match (&told.chain, &told.terminal) {
        (Some(chain), Some(terminal)) => line("from", &format!("{chain} ({terminal})")),
        (Some(chain), None) => line("from", chain),
        _ => {}
    }
    if let Some(label) = &told.label {
        line("socket", label);
    }
    line("asked", &told.request);
    if !told.path.is_empty() {
        line("path", &told.path.join(" -> "));
    }
    line("class", &told.class);
    line("because", &told.reason);
    if let Some(consequence) = &told.consequence {
        line("then", consequence);
    }
    if with_rules {
        lines.extend(told.rules.iter().map(|found| {
            let holds = match found.holds {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "-",
            };
            format!("    {:<4}{holds:<5}{}", found.rule, found.reason)
        }));
    }
    lines.join("\n") + "\n"
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_has_judged_nothing_says_so() {
        assert!(table(&Account::default(), false).starts_with("no connection"));
    }
}
