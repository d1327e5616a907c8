//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::case::Case;
use crate::cases;

/// Shown after a mistake in the command line.
pub(crate) const USAGE: &str = "usage: hop-matrix --agent PATH [--case NAME]... [--markdown]\n       hop-matrix --list";

/// How the table looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Columns, for people at a terminal.
    Text,
    /// For documents; has what OpenSSH's agent does in a column of its own.
    Markdown,
}

/// What to play.
pub(crate) struct Options {
    /// The agent's program; none if the cases are only to be listed.
    pub(crate) agent: Option<PathBuf>,
    /// The cases, in order.
    pub(crate) cases: Vec<&'static Case>,
    pub(crate) style: Style,
}

impl Options {
    /// # Errors
    /// The text says what is wrong with the arguments.
    pub(crate) fn from_arguments(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut agent, mut names, mut list, mut style) = (None, Vec::new(), false, Style::Text);
        while let Some(argument) = arguments.next() {
            let name = argument.to_string_lossy().into_owned();
            let mut value = || arguments.next().ok_or_else(|| format!("{name} wants a value"));
            match name.as_str() {
                "--agent" => agent = Some(PathBuf::from(value()?)),
                "--case" => names.push(value()?.to_string_lossy().into_owned()),
                "--list" => list = true,
                "--markdown" => style = Style::Markdown,
                _ => return Err(format!("unknown argument {name}")),
            }
        }
        let agent = match (agent, list) {
            (Some(program), false) => {
                Some(program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?)
            }
            (None, true) => None,
            _ => return Err("either --agent or --list is wanted".to_owned()),
        };
        let cases = match names.is_empty() {
            true => cases::all().collect(),
            false => names.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
        };
        Ok(Self { agent, cases, style })
    }
}

fn find(name: &str) -> Result<&'static Case, String> {
    cases::all().find(|case| case.name == name).ok_or_else(|| format!("no case {name}; --list shows all"))
}
