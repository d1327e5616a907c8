//! Answers of a person who is not there.

use std::fs;
use std::path::Path;

use crate::home::Home;

/// What the scripted person does with one dialog.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// Types this text (a PIN, a passphrase, `yes`) and presses OK.
    Type(&'a str),
    /// Presses OK.
    Ok,
    /// Presses OK before anybody could have read what it says.
    Slip,
    /// Presses "no" or "not confirmed".
    No,
    /// Closes the dialog.
    Cancel,
    /// Leaves the dialog open: for ever, or until [`Pinentry::decides`](crate::Pinentry::decides).
    Hang,
}

impl Answer<'_> {
    pub(crate) fn as_line(self) -> String {
        match self {
            Self::Type(text) => format!("type {text}\n"),
            Self::Ok => "ok\n".into(),
            Self::Slip => "slip\n".into(),
            Self::No => "no\n".into(),
            Self::Cancel => "cancel\n".into(),
            Self::Hang => "hang\n".into(),
        }
    }
}

/// Puts a dialog program and its answers into a directory: one file an answer, in order, each taken by renaming it, so that two dialogs
/// at once never get the same one.
pub(crate) fn install(home: &Home, name: &str, script: &str, answers: &[Answer<'_>]) {
    home.directory(name);
    home.directory(Path::new(name).join("answers"));
    home.directory(Path::new(name).join("given"));
    home.program(Path::new(name).join(name), script);
    add(home, name, answers);
}

/// Appends answers to those not yet given.
pub(crate) fn add(home: &Home, name: &str, answers: &[Answer<'_>]) {
    let count = |folder: &str| fs::read_dir(home.path(name).join(folder)).map_or(0, Iterator::count);
    let first = count("answers") + count("given");
    for (index, answer) in answers.iter().enumerate() {
        home.file(Path::new(name).join("answers").join(format!("{:04}", first + index)), answer.as_line());
    }
}
