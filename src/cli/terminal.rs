//! Talking with the person at the terminal: progress, PINs, and confirmations.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};

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
    let _question = Question::open(true);
    drop(write!(io::stderr(), "{question}: "));
    let mut line = Zeroizing::new(String::with_capacity(256));
    let read = io::stdin().lock().read_line(&mut line);
    drop(writeln!(io::stderr()));
    read.map_err(|error| format!("cannot read the PIN: {error}"))?;
    first_line(Zeroizing::new(line.as_bytes().to_vec())).ok_or_else(|| match io::stdin().is_terminal() {
        true => "no PIN was given".to_owned(),
        false => "no PIN was given: standard input is not a terminal, and has no line for it".to_owned(),
    })
}

/// Asks for a PIN that is to be, twice.
pub(super) fn new_pin(question: &str) -> Result<SecretSlice<u8>, String> {
    let (once, again) = (pin(question)?, pin(&format!("{question}, once more"))?);
    match crate::backend::pin::is_same(&once, &again) {
        true => Ok(once),
        false => Err("the two differ; nothing was changed".to_owned()),
    }
}

/// Asks for a yes; anything else is a no, and so is nobody to ask.
pub(super) fn confirmed(question: &str) -> Result<(), String> {
    typed(&format!("{question} Type yes to go on: "), "yes")
}

/// Asks for certain words, which nobody types by habit.
pub(super) fn typed(question: &str, words: &str) -> Result<(), String> {
    let _question = Question::open(false);
    drop(write!(io::stderr(), "{question}"));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| format!("cannot read the answer: {error}"))?;
    match line.trim() == words {
        true => Ok(()),
        false => Err("not confirmed; nothing was changed".to_owned()),
    }
}

/// Ends the program when it is interrupted while it waits for something to be typed. While it waits for a device the interruption is not
/// for this: the device has to be told.
pub(super) fn end_questions_at_interrupts() {
    // A thread of its own: the other one is in the midst of reading.
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                let question = QUESTION.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(before) = &*question {
                    restore(before.as_ref());
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    });
}

/// The exit status of programs that SIGINT ends, as shells see it.
const INTERRUPTED: i32 = 130;

/// The question that is open, with what the terminal was set to where it was changed.
static QUESTION: Mutex<Option<Option<Termios>>> = Mutex::new(None);

/// Something is being typed, until this is dropped; what the terminal does not show if it is secret.
struct Question;

impl Question {
    fn open(is_secret: bool) -> Self {
        let can_hide = is_secret && io::stdin().is_terminal();
        let before = can_hide.then(|| tcgetattr(rustix::stdio::stdin()).ok()).flatten();
        if let Some(mut modes) = before.clone() {
            modes.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &modes);
        }
        *QUESTION.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        Self
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if let Some(before) = QUESTION.lock().unwrap_or_else(PoisonError::into_inner).take() {
            restore(before.as_ref());
        }
    }
}

fn restore(before: Option<&Termios>) {
    if let Some(before) = before {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, before);
    }
}
