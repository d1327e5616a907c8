//! Talking with the person at the terminal: progress, PINs, and confirmations.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretSlice;
use zeroize::Zeroizing;

use crate::backend::pin::first_line;

/// Says what is going on, on standard error, so that output stays what was asked for.
pub(super) fn say(text: &str) {
    // Nobody listens; nothing to be done.
    drop(writeln!(io::stderr(), "{text}"));
}

/// Says when to touch.
pub(super) fn touch(device: &str) -> impl FnMut(bool) + Send + 'static {
    let device = device.to_owned();
    move |waits| {
        if waits {
            say(&format!("Touch {device} now."));
        }
    }
}

/// Asks for a PIN: at the terminal without showing it, else from a line of standard input.
pub(super) fn pin(question: &str) -> Result<SecretSlice<u8>, String> {
    let _quiet = Quiet::begin();
    drop(write!(io::stderr(), "{question}: "));
    let mut line = Zeroizing::new(String::with_capacity(256));
    let read = io::stdin().lock().read_line(&mut line);
    drop(writeln!(io::stderr()));
    read.map_err(|error| format!("cannot read the PIN: {error}"))?;
    first_line(Zeroizing::new(line.as_bytes().to_vec())).ok_or_else(|| "no PIN was given".to_owned())
}

/// Asks for a PIN that is to be, twice.
pub(super) fn new_pin() -> Result<SecretSlice<u8>, String> {
    let (once, again) = (pin("New PIN")?, pin("New PIN, once more")?);
    match crate::backend::pin::is_same(&once, &again) {
        true => Ok(once),
        false => Err("the two differ; nothing was changed".to_owned()),
    }
}

/// Asks for a yes; anything else is a no, and so is nobody to ask.
pub(super) fn confirmed(question: &str) -> Result<(), String> {
    drop(write!(io::stderr(), "{question} Type yes to go on: "));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| format!("cannot read the answer: {error}"))?;
    match line.trim() {
        "yes" => Ok(()),
        _ => Err("not confirmed; nothing was changed".to_owned()),
    }
}

/// The terminal does not show what is typed, until this is dropped.
struct Quiet(Option<Termios>);

impl Quiet {
    fn begin() -> Self {
        let before = io::stdin().is_terminal().then(|| tcgetattr(rustix::stdio::stdin()).ok()).flatten();
        if let Some(mut modes) = before.clone() {
            modes.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &modes);
        }
        Self(before)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, before);
        }
    }
}
