//! The askpass program of ssh-askpass(1), called as OpenSSH calls it.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::dialog::Allowed;
use super::group::Group;
use super::minder;
use super::seat::Desk;
use super::view::{Broken, Reply};
use crate::backend::pin::{MAX_PIN, Pin, first_line};

/// An askpass program, and where it may draw.
pub(super) struct Askpass {
    pub(super) program: PathBuf,
    pub(super) desk: Desk,
}

impl Askpass {
    /// A yes is exit status 0 with an empty first line or "yes", in any case of letters.
    pub(super) async fn confirm(&self, question: &str) -> Result<(Reply, Instant), Broken> {
        let shown = Instant::now();
        let reply = self.run(question, Some("confirm")).await?.map_or(Reply::Deny, |output| {
            let line = output.split(|octet| matches!(octet, b'\n' | b'\r')).next().unwrap_or_default();
            match line.is_empty() || line.eq_ignore_ascii_case(b"yes") {
                true => Reply::Allow(Allowed::Once),
                false => Reply::Deny,
            }
        });
        Ok((reply, shown))
    }

    /// The first line of what it prints; `None` when it fails or prints nothing, which is how it says no.
    pub(super) async fn secret(&self, question: &str) -> Result<Option<Pin>, Broken> {
        Ok(self.run(question, None).await?.and_then(first_line))
    }

    /// Shows a message until what is returned is dropped; nothing where it cannot be shown.
    pub(super) fn notice(&self, text: &str) -> Option<(Child, Group)> {
        let mut command = self.command(text).ok()?;
        command.env("SSH_ASKPASS_PROMPT", "none").stdout(Stdio::null());
        let child = command.spawn().ok()?;
        let group = Group::of(&child);
        Some((child, group))
    }

    async fn run(&self, question: &str, hint: Option<&str>) -> Result<Option<Zeroizing<Vec<u8>>>, Broken> {
        let fail = |error: std::io::Error| Broken::of(self.program.display(), error);
        let mut command = self.command(question).map_err(fail)?;
        match hint {
            Some(hint) => command.env("SSH_ASKPASS_PROMPT", hint),
            None => command.env_remove("SSH_ASKPASS_PROMPT"),
        };
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(fail)?;
        let _group = Group::of(&child);
        let mut output = Zeroizing::new(Vec::with_capacity(4 * MAX_PIN));
        if let Some(stdout) = child.stdout.take() {
            stdout.take(4 * MAX_PIN as u64).read_to_end(&mut output).await.map_err(fail)?;
        }
        Ok(child.wait().await.map_err(fail)?.success().then_some(output))
    }

    fn command(&self, text: &str) -> std::io::Result<Command> {
        let mut command = minder::command(&self.program)?;
        self.desk.apply(&mut command);
        command.arg(text).stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }
}
