//! The askpass program of ssh-askpass(1), called as OpenSSH calls it.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncReadExt as _;
use tokio::process::Child;
use zeroize::Zeroizing;

use super::pinentry::Group;
use super::{Refusal, minder};
use crate::backend::pin::{MAX_PIN, Pin, first_line};

/// An askpass program.
pub(super) struct Askpass {
    program: PathBuf,
}

impl Askpass {
    pub(super) const fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// A yes is exit status 0 with an empty first line or "yes", in any case of letters.
    pub(super) async fn confirm(&self, question: &str) -> Result<(), Refusal> {
        let output = self.run(question, Some("confirm")).await?;
        let line = output.split(|octet| matches!(octet, b'\n' | b'\r')).next().unwrap_or_default();
        match line.is_empty() || line.eq_ignore_ascii_case(b"yes") {
            true => Ok(()),
            false => Err(Refusal::Declined),
        }
    }

    /// The first line of what it prints.
    pub(super) async fn secret(&self, question: &str) -> Result<Pin, Refusal> {
        first_line(self.run(question, None).await?).ok_or(Refusal::Declined)
    }

    /// Shows a message until what is returned is dropped; nothing where it cannot be shown.
    pub(super) fn notice(&self, text: &str) -> Option<(Child, Group)> {
        let mut command = minder::command(&self.program).ok()?;
        command.arg(text).env("SSH_ASKPASS_PROMPT", "none").stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.kill_on_drop(true).spawn().ok()?;
        let group = Group::of(&child);
        Some((child, group))
    }

    async fn run(&self, question: &str, hint: Option<&str>) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let fail = |error: std::io::Error| Refusal::NoDialog(format!("{}: {error}", self.program.display()));
        let mut command = minder::command(&self.program).map_err(fail)?;
        command.arg(question).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        match hint {
            Some(hint) => command.env("SSH_ASKPASS_PROMPT", hint),
            None => command.env_remove("SSH_ASKPASS_PROMPT"),
        };
        let mut child = command.spawn().map_err(fail)?;
        let _group = Group::of(&child);
        let mut output = Zeroizing::new(Vec::with_capacity(4 * MAX_PIN));
        if let Some(stdout) = child.stdout.take() {
            stdout.take(4 * MAX_PIN as u64).read_to_end(&mut output).await.map_err(fail)?;
        }
        match child.wait().await.map_err(fail)?.success() {
            true => Ok(output),
            false => Err(Refusal::Declined),
        }
    }
}
