//! Dialogs by pinentry, in a helper process of their own.
//!
//! The `pinentry` crate blocks and gives no hold on its child, so this binary runs itself again (`hardkey prompt`) in a process group of
//! its own: closing a dialog is ending that group.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use ::pinentry::{ConfirmationDialog, PassphraseInput, unix};
use rustix::process::{Pid, Signal};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::Refusal;
use crate::backend::pin::{MAX_PIN, Pin};

/// The hidden subcommand that runs [`serve`].
pub const SUBCOMMAND: &str = "prompt";

/// The crate panics on lines of a thousand octets, counted after it has escaped them.
const LONGEST_LINE: usize = 900;

const ALLOWED: u8 = b'y';
const DECLINED: u8 = b'n';
const FAILED: u8 = b'!';

/// A pinentry program and the terminal it may draw on.
pub(super) struct Pinentry {
    program: PathBuf,
    terminal: Option<(PathBuf, String)>,
}

/// What the helper is to ask.
#[derive(Serialize, Deserialize)]
struct Question {
    program: PathBuf,
    terminal: Option<(PathBuf, String)>,
    text: String,
    secret: bool,
    seconds: u16,
}

/// The pinentry program of the system, if one is installed.
pub fn default_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("pinentry")).find(|program| program.is_file())
}

impl Pinentry {
    pub(super) const fn new(program: PathBuf, terminal: Option<(PathBuf, String)>) -> Self {
        Self { program, terminal }
    }

    pub(super) async fn confirm(&self, text: &str, timeout: Duration) -> Result<(), Refusal> {
        self.ask(text, false, timeout).await.map(drop)
    }

    pub(super) async fn secret(&self, text: &str, timeout: Duration) -> Result<Pin, Refusal> {
        let pin = self.ask(text, true, timeout).await?;
        match pin.is_empty() {
            true => Err(Refusal::Declined),
            false => Ok(pin.to_vec().into()),
        }
    }

    async fn ask(&self, text: &str, secret: bool, timeout: Duration) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let fail = |error: io::Error| Refusal::NoDialog(format!("{}: {error}", self.program.display()));
        let question = Question {
            program: self.program.clone(),
            terminal: self.terminal.clone(),
            text: cut(text),
            secret,
            seconds: timeout.as_secs().try_into().unwrap_or(u16::MAX),
        };
        let question = postcard::to_stdvec(&question).map_err(|error| Refusal::NoDialog(error.to_string()))?;
        let mut child = Command::new("/proc/self/exe")
            .arg0("hardkey")
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(fail)?;
        let _group = Group::of(&child);
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&question).await.map_err(fail)?;
        }
        let mut answer = Zeroizing::new(Vec::with_capacity(2 + 4 * MAX_PIN));
        if let Some(stdout) = child.stdout.take() {
            stdout.take(1 + 4 * MAX_PIN as u64).read_to_end(&mut answer).await.map_err(fail)?;
        }
        match answer.split_first() {
            Some((&ALLOWED, secret)) => Ok(Zeroizing::new(secret.to_vec())),
            Some((&DECLINED, _)) => Err(Refusal::Declined),
            Some((_, reason)) => {
                Err(Refusal::NoDialog(format!("{}: {}", self.program.display(), crate::text::escape(reason))))
            }
            None => Err(Refusal::NoDialog(format!("{} ended without an answer", self.program.display()))),
        }
    }
}

/// The process group of a dialog; ended when dropped, so that no dialog outlives its cause.
pub(super) struct Group(Option<Pid>);

impl Group {
    /// The group that a child was started to lead.
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good. TERM first would let a dialog linger that ignores it.
            let _ = rustix::process::kill_process_group(group, Signal::TERM);
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// The helper: reads one question from standard input, shows it, writes the answer to standard output.
///
/// # Errors
/// The agent went away.
pub fn serve() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    let mut question = Vec::new();
    io::stdin().take(1 << 20).read_to_end(&mut question)?;
    let question: Question = postcard::from_bytes(&question).map_err(io::Error::other)?;
    let answer = match show(&question) {
        Ok(Some(secret)) => {
            let mut answer = Zeroizing::new(vec![ALLOWED]);
            answer.reserve_exact(secret.len());
            answer.extend_from_slice(&secret);
            answer
        }
        Ok(None) => Zeroizing::new(vec![DECLINED]),
        Err(reason) => Zeroizing::new([&[FAILED], reason.as_bytes()].concat()),
    };
    io::stdout().write_all(&answer)
}

/// `Ok(None)` is a no.
fn show(question: &Question) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let mut options = unix::Options::builder();
    let terminal = question.terminal.as_ref().map(|(name, kind)| (name.to_string_lossy(), kind));
    if let Some((name, kind)) = &terminal {
        options = options.tty_name(name).tty_type(kind);
    }
    let options = options.build();
    let missing = || "no such program".to_owned();
    let result = if question.secret {
        let mut dialog = PassphraseInput::with_binary(&question.program).ok_or_else(missing)?;
        dialog.with_description(&question.text).with_prompt("PIN:").with_timeout(question.seconds);
        dialog.with_unix_options(options);
        dialog.interact().map(|pin| Some(Zeroizing::new(pin.expose_secret().as_bytes().to_vec())))
    } else {
        let mut dialog = ConfirmationDialog::with_binary(&question.program).ok_or_else(missing)?;
        dialog.with_ok("Allow").with_cancel("Deny").with_timeout(question.seconds);
        dialog.with_unix_options(options);
        dialog.confirm(&question.text).map(|allowed| allowed.then(Zeroizing::default))
    };
    match result {
        Ok(answer) => Ok(answer),
        Err(::pinentry::Error::Cancelled | ::pinentry::Error::Timeout) => Ok(None),
        // GPG_ERR_NOT_CONFIRMED
        Err(::pinentry::Error::Gpg(error)) if error.code() == 114 => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Cuts a text such that it fits one line of the Assuan protocol, in which line breaks and percent signs take three octets.
fn cut(text: &str) -> String {
    let mut length = 0;
    let cost = |character: char| if matches!(character, '%' | '\n' | '\r') { 3 } else { character.len_utf8() };
    let end = text.char_indices().find(|(_, character)| {
        length += cost(*character);
        length > LONGEST_LINE
    });
    match end {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_kind_is_cut_to_fit() {
        for character in ['a', '%', '\n', '鍵', '🔑'] {
            let escaped = cut(&character.to_string().repeat(2000)).replace(['%', '\n'], "%25");
            assert!((890..960).contains(&escaped.len()), "{character:?}: {}", escaped.len());
        }
        assert_eq!(cut("short"), "short");
    }
}
