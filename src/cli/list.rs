//! `hardkey list`: a table of keys for people, or JSON for programs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::agent::inventory::{Entry, Inventory};
use crate::rotation::{Rotation, State};

#[derive(Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Look at the modules of this configuration instead of asking the agent
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let Inventory { keys: entries, notes } = super::client::inventory(arguments.config.as_deref())?;
    notes.iter().for_each(|note| super::warn(note));
    if arguments.json {
        let text = serde_json::to_string_pretty(&entries).map_err(|error| error.to_string())?;
        return super::print(&(text + "\n"));
    }
    if entries.is_empty() {
        return super::print("no keys\n");
    }
    super::print(&table(&entries))
}

fn table(entries: &[Entry]) -> String {
    let rotation = Rotation::file().and_then(|file| Rotation::read(&file).ok()).unwrap_or_default();
    let header = ["KEY", "ALGORITHM", "TOKEN", "SLOT", "STATE", "FINGERPRINT"].map(str::to_owned);
    let rows = entries.iter().map(|entry| {
        let confirm = if entry.confirm { ", confirm" } else { "" };
        let rotation = match rotation.find(&entry.public_key).map(|known| known.state) {
            Some(State::Next) => ", next",
            Some(State::Retired) => ", retired",
            Some(State::Active) | None => "",
        };
        let end = entry.valid_before.as_ref().map(|end| format!(", until {end}")).unwrap_or_default();
        [
            entry.comment.clone(),
            entry.algorithm.clone(),
            entry.place.token.clone(),
            entry.place.slot.map_or_else(|| "-".to_owned(), |slot| slot.to_string()),
            format!("{}{confirm}{rotation}{end}", entry.place.state),
            entry.fingerprint.clone(),
        ]
    });
    columns(std::iter::once(header).chain(rows).collect())
}

/// Rows as lines, each column as wide as its widest cell.
pub(super) fn columns<const N: usize>(rows: Vec<[String; N]>) -> String {
    let widths: Vec<usize> =
        (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            cells.join("  ").trim_end().to_owned() + "\n"
        })
        .collect()
}
