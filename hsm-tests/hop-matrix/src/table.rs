//! The table: a line for each case.

use std::io::{Write as _, stdout};

use hsm_tests::is_stock;

use crate::case::{Asks, Case, Stock};
use crate::options::Style;
use crate::play::{Outcome, Played};

/// Begins the table.
pub(crate) fn head(style: Style) {
    match style {
        Style::Text => println!(
            "{:<34} {:<8} {:<44} {:<16} {}",
            "CASE",
            "ASKS",
            "CLASSES",
            if is_stock() { "STOCK" } else { "WITH A PERSON" },
            if is_stock() { "" } else { "NOBODY TO ASK" }
        ),
        Style::Markdown => println!(
            "| case | what happens | who asks | class | somebody can be asked | nobody can be asked | stock `ssh-agent` |\n|---|---|---|---|---|---|---|"
        ),
    }
}

/// Adds a case.
pub(crate) fn row(style: Style, case: &Case, played: &Played) {
    let classes = match played.classes.is_empty() {
        true => "-".to_owned(),
        false => played.classes.join(", "),
    };
    let shown = |outcome: Option<Outcome>| outcome.map_or_else(|| "-".to_owned(), |outcome| outcome.to_string());
    match style {
        Style::Text => {
            let mark = if played.complaints.is_empty() { "" } else { "  WRONG" };
            let alone = if is_stock() { String::new() } else { shown(played.alone) };
            let line = format!(
                "{:<34} {:<8} {classes:<44} {:<16} {alone}{mark}",
                case.name,
                case.asks,
                shown(played.with_person)
            );
            println!("{}", line.trim_end());
        }
        Style::Markdown => {
            // What must not happen and does stands out.
            let stock = match case.stock {
                Stock::Lacks => "-".to_owned(),
                stock => {
                    let outcome = Outcome::new(case, stock == Stock::Gives, false);
                    let bad = outcome.is_silent() && case.asks == Asks::Relayed;
                    if bad { format!("**{outcome}**") } else { outcome.to_string() }
                }
            };
            println!(
                "| `{}` | {} | {} | {classes} | {} | {} | {stock} |",
                case.name,
                case.what,
                case.asks,
                shown(played.with_person),
                shown(played.alone)
            );
        }
    }
    // Somebody is watching, perhaps through a pipe.
    let _ = stdout().flush();
}

/// Names the cases.
pub(crate) fn list(cases: &[&Case]) {
    for case in cases {
        println!("{:<34} {:<8} {}", case.name, case.asks, case.what.replace('`', ""));
    }
}
