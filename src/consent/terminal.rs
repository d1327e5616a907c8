//! Questions on the terminal of the program that asks, while that program waits for the agent.
//!
//! The terminal belongs to the job in its foreground. So the question goes away as soon as the asker is no longer that job, and leaves the
//! terminal as it was.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use zeroize::Zeroizing;

use super::board::Showing;
use super::dialog::Allowed;
use super::seat::Tty;
use super::view::{ARMED_AFTER, Broken, Reply, View};
use crate::backend::pin::{MAX_PIN, Pin};
use crate::origin::glimpse::Foreground;

/// How often it is looked whether the asker still has the terminal; no event tells.
const LOOK: Duration = Duration::from_millis(200);

/// A terminal with a question on it.
struct Screen<'a> {
    place: &'a Foreground,
    watched: AsyncFd<OwnedFd>,
    file: File,
    before: Termios,
    during: Termios,
    /// Nobody has answered yet.
    is_open: bool,
}

/// What tells how many questions wait.
pub(super) type News = watch::Receiver<Showing>;

/// Asks for a yes or no in whole words. What is typed before the question has stood for a moment is thrown away. With `news`, it is told how many
/// questions wait.
pub(super) async fn confirm(tty: &Tty, view: &View, news: Option<News>) -> Result<(Reply, Instant), Broken> {
    let mut screen = Screen::open(&tty.place, true)?;
    let shown = Instant::now();
    screen.write(&format!("\n{}\n", view.text))?;
    screen.throw_away_until(shown + ARMED_AFTER).await?;
    let mut words = vec!["\"yes\" to allow".to_owned()];
    if let Some(offer) = &view.offer {
        words.push(format!("\"more\" for: {offer}"));
    }
    if view.can_mute {
        words.push("\"mute\" to deny, and the next too".to_owned());
    }
    let words = words.join(", ");
    let line = match news {
        None => screen.ask(&format!("hardkey: type {words}; Enter denies: "), None).await?,
        Some(_) => {
            screen.write(&format!("hardkey: type {words}\n"))?;
            screen.ask("Enter denies: ", news).await?
        }
    };
    let reply = match line.as_deref().map(|line| line.trim_ascii().to_ascii_lowercase()).as_deref() {
        Some(b"yes") => Reply::Allow(Allowed::Once),
        Some(b"more") if view.offer.is_some() => Reply::Allow(Allowed::AsOffered),
        Some(b"mute") if view.can_mute => Reply::Mute,
        _ => Reply::Deny,
    };
    screen.answered();
    Ok((reply, shown))
}

/// Asks for a PIN, without showing it; `None` when the line is empty. For `news` see [`confirm`].
pub(super) async fn secret(tty: &Tty, text: &str, news: Option<News>) -> Result<Option<Pin>, Broken> {
    let mut screen = Screen::open(&tty.place, false)?;
    screen.write(&format!("\n{text}\n"))?;
    let line = screen.ask("PIN: ", news).await?;
    screen.write("\n")?;
    screen.answered();
    Ok(line.filter(|line| !line.is_empty()).map(|line| line.to_vec().into()))
}

/// Writes one line that is wiped away when what is returned is dropped.
pub(super) fn notice(tty: &Tty, text: &str) -> Option<impl Send + use<>> {
    let mut file = open(&tty.place).ok()?;
    let columns = tcgetwinsize(&file).map_or(80, |size| usize::from(size.ws_col)).max(20);
    let line: String = text.replace('\n', " ").chars().take(columns - 1).collect();
    file.write_all(format!("\r{line}").as_bytes()).ok()?;
    Some(Line { file, length: line.chars().count(), place: tty.place.clone() })
}

/// Writes one line that stays.
pub(super) fn tell(tty: &Tty, text: &str) -> Result<(), Broken> {
    let mut file = open(&tty.place)?;
    file.write_all(format!("\r{}\n", text.replace('\n', " ")).as_bytes()).map_err(|error| gone(&tty.place, error))
}

struct Line {
    file: File,
    length: usize,
    place: Foreground,
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.place.holds() {
            let _ = self.file.write_all(format!("\r{}\r", " ".repeat(self.length)).as_bytes());
        }
    }
}

impl<'a> Screen<'a> {
    fn open(place: &'a Foreground, echo: bool) -> Result<Self, Broken> {
        let fail = |error: std::io::Error| gone(place, error);
        let file = open(place)?;
        let before = tcgetattr(&file).map_err(|error| fail(error.into()))?;
        if !before.local_modes.contains(LocalModes::ICANON) {
            return Err(Broken(format!("{}: a program reads single keys there", place.path.display())));
        }
        let mut during = before.clone();
        during.local_modes.insert(LocalModes::ISIG);
        during.local_modes.set(LocalModes::ECHO, echo);
        tcsetattr(&file, OptionalActions::Flush, &during).map_err(|error| fail(error.into()))?;
        let second = file.as_fd().try_clone_to_owned().map_err(fail)?;
        let watched = crate::sys::watch(second, Interest::READABLE).map_err(fail)?;
        Ok(Self { place, watched, file, before, during, is_open: true })
    }

    fn write(&mut self, text: &str) -> Result<(), Broken> {
        self.file.write_all(text.as_bytes()).map_err(|error| gone(self.place, error))
    }

    /// Reads a line after `prompt`, and keeps the number of questions before it up to date meanwhile.
    async fn ask(&mut self, prompt: &str, news: Option<News>) -> Result<Option<Zeroizing<Vec<u8>>>, Broken> {
        let Some(news) = news else {
            self.write(prompt)?;
            return self.line().await;
        };
        let count = waiting(&news.borrow());
        self.write(&format!("{count} waiting; {prompt}"))?;
        let place = self.place;
        tokio::select! {
            line = self.line() => line,
            () = keep_count(place, news, count) => Err(left(place)),
        }
    }

    async fn throw_away_until(&mut self, moment: Instant) -> Result<(), Broken> {
        tokio::time::sleep_until(moment).await;
        tcflush(&self.file, QueueSelector::IFlush).map_err(|error| gone(self.place, error.into()))
    }

    /// One line without its end; `None` at the end of input (Ctrl-D). Ctrl-C ends the asker, and the question with it.
    async fn line(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Broken> {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = ticks.tick();
            tokio::pin!(next);
            let mut ready = tokio::select! {
                ready = self.watched.readable() => ready.map_err(|error| gone(self.place, error))?,
                _ = next => {
                    if !self.place.holds() {
                        return Err(left(self.place));
                    }
                    continue;
                }
            };
            // The line may have been typed for the job that is there now.
            if !self.place.holds() {
                return Err(left(self.place));
            }
            let mut line = Zeroizing::new(vec![0; MAX_PIN + 2]);
            match (&self.file).read(&mut line) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    line.truncate(count);
                    while line.last().is_some_and(|octet| matches!(octet, b'\n' | b'\r')) {
                        line.pop();
                    }
                    if line.len() > MAX_PIN {
                        return Err(Broken(format!("{}: the line is too long", self.place.path.display())));
                    }
                    return Ok(Some(line));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Err(gone(self.place, error)),
            }
        }
    }

    fn answered(&mut self) {
        self.is_open = false;
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // Whoever changed the terminal since knows better.
        let is_ours = tcgetattr(&self.file).is_ok_and(|now| now.local_modes == self.during.local_modes);
        if is_ours {
            // With what was typed and not sent: it may be half a PIN.
            let _ = tcsetattr(&self.file, OptionalActions::Flush, &self.before);
        }
        if self.is_open && self.place.holds() {
            let _ = self.file.write_all(b"\nhardkey: the question was answered elsewhere or withdrawn\n");
        }
    }
}

/// Rewrites the number that the present line begins with whenever it changes, and leaves what is being typed behind it alone; ends when the
/// terminal is gone.
async fn keep_count(place: &Foreground, mut news: News, mut shown: String) {
    loop {
        let changed = news.wait_for(|showing| waiting(showing) != shown).await.map(|showing| waiting(&showing));
        match changed {
            Ok(count) => shown = count,
            // The agent has ended, which is told elsewhere.
            Err(_) => std::future::pending().await,
        }
        // The terminal alone knows where its cursor is: it remembers and finds the place by itself, as since the VT100.
        let written = open(place).and_then(|mut file| {
            file.write_all(format!("\x1b7\r{shown}\x1b8").as_bytes()).map_err(|error| gone(place, error))
        });
        if written.is_err() {
            return;
        }
    }
}

/// How many questions wait, always as wide.
fn waiting(showing: &Showing) -> String {
    format!("{:>3}", showing.more + usize::from(showing.question.is_some()))
}

fn left(place: &Foreground) -> Broken {
    Broken(format!("{}: its foreground is another job now", place.path.display()))
}

fn open(place: &Foreground) -> Result<File, Broken> {
    if !place.holds() {
        return Err(Broken(format!("{}: its foreground is another job", place.path.display())));
    }
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(&place.path);
    file.map_err(|error| gone(place, error))
}

fn gone(place: &Foreground, error: std::io::Error) -> Broken {
    Broken::of(place.path.display(), error)
}
