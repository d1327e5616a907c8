//! What is asked of the agent, each kind by a thread of its own.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use hsm_tests::{Agent, Body, Client, Dice, FaultyToken, Home, Key, KeyFile, PublicKey, Sshd, Token, login};

/// The same faults each time.
const SEED: u64 = 0x5eed_50a4_0b5e_55ed;
/// Between two requests of one client: the machine is to be busy, not choked.
const PAUSE: Duration = Duration::from_millis(20);

/// What there is to work with.
pub(crate) struct Place<'a> {
    pub(crate) home: &'a Home,
    pub(crate) agent: &'a Agent,
    pub(crate) sshd: &'a Sshd,
    /// A software key that `sshd` accepts.
    pub(crate) login: &'a KeyFile,
    /// A software key that is asked about.
    pub(crate) confirmed: &'a KeyFile,
    pub(crate) sound: &'a Token,
    pub(crate) failing: &'a FaultyToken,
}

/// Counters, the first failure, and the end.
#[derive(Default)]
pub(crate) struct Load {
    ends: AtomicBool,
    failure: Mutex<Option<String>>,
    done: [AtomicU64; KINDS.len()],
    /// Refusals that a fault of the module explains.
    explained: AtomicU64,
}

type Work = fn(&Load, &Place<'_>, &AtomicU64) -> Result<(), String>;

const KINDS: [(&str, Work); 10] = [
    ("logins", logs_in),
    ("software", signs_with_software),
    ("token", signs_with_the_sound_token),
    ("failing", signs_with_the_failing_token),
    ("lists", lists),
    ("keys", adds_and_removes),
    ("dialogs", answers_dialogs),
    ("left", leaves_dialogs),
    ("nonsense", talks_nonsense),
    ("reloads", changes_the_configuration),
];

impl Load {
    /// The heads of the columns that [`Display`](fmt::Display) fills.
    pub(crate) fn head() -> String {
        let names: String = KINDS.iter().map(|(name, _)| format!("{name:>10}")).collect();
        format!("{names}{:>10}", "by fault")
    }

    /// Begins all of it.
    pub(crate) fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        place: &'scope Place<'_>,
    ) -> Vec<ScopedJoinHandle<'scope, ()>> {
        let work = KINDS.iter().zip(&self.done).map(|((name, work), done)| {
            scope.spawn(move || {
                if let Err(error) = work(self, place, done) {
                    self.fail(format!("{name}: {error}"));
                }
            })
        });
        work.collect()
    }

    pub(crate) fn stop(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    /// # Errors
    ///
    /// The first failure.
    pub(crate) fn outcome(&self) -> Result<(), String> {
        self.failure().clone().map_or(Ok(()), Err)
    }

    fn fail(&self, error: String) {
        self.stop();
        self.failure().get_or_insert(error);
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> bool {
        thread::sleep(PAUSE);
        !self.ends.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for done in &self.done {
            write!(formatter, "{:>10}", done.load(Ordering::Relaxed))?;
        }
        write!(formatter, "{:>10}", self.explained.load(Ordering::Relaxed))
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn logs_in(load: &Load, place: &Place<'_>, done: &AtomicU64) -> Result<(), String> {
    while load.goes_on() {
        let outcome = place.agent.ssh(place.sshd).args(["box", "true"]).run();
        if !outcome.status.success() {
            return Err(outcome.report());
        }
        count(done);
    }
    Ok(())
}

/// Octets of a login, which is what a program nobody knows may ask for.
fn sign(client: &mut Client, key: &PublicKey) -> bool {
    client.sign(&key.blob(), &login(b"a session of thirty-two octets...", "user", key, None), 0).is_some()
}

fn signs_with_software(load: &Load, place: &Place<'_>, done: &AtomicU64) -> Result<(), String> {
    signs(load, place, place.login.public(), done)
}

fn signs_with_the_sound_token(load: &Load, place: &Place<'_>, done: &AtomicU64) -> Result<(), String> {
    signs(load, place, place.sound.public(Key::Ed25519), done)
}

fn signs(load: &Load, place: &Place<'_>, key: &PublicKey, done: &AtomicU64) -> Result<(), String> {
    let mut client = place.agent.client();
    while load.goes_on() {
        if !sign(&mut client, key) {
            return Err("a signature is refused".into());
        }
        count(done);
    }
    Ok(())
}

/// Between two faults a signature must succeed; during one it may not.
fn signs_with_the_failing_token(load: &Load, place: &Place<'_>, done: &AtomicU64) -> Result<(), String> {
    let key = place.failing.public(Key::P256);
    let (mut client, mut dice) = (place.agent.client(), Dice::new(SEED));
    while load.goes_on() {
        let fault = dice.fault();
        place.failing.set(&fault);
        if sign(&mut client, key) {
            count(done);
        } else {
            count(&load.explained);
        }
        place.failing.clear();
        place.failing.forget_calls();
        if !sign(&mut client, key) {
            return Err(format!("a signature is refused after {fault:?} has passed"));
        }
        count(done);
    }
    Ok(())
}

fn lists(load: &Load, place: &Place<'_>, done: &AtomicU64) -> Result<(), String> {
    while load.goes_on() {
        if place.agent.client().list().is_none() {
            return Err("a list is refused".into());
        }
        count(done);
    }
    Ok(())
}

fn adds_and_removes(load: &Load, place: &Place<'_>, done: &AtomicU64) -> Result<(), String> {
    let keys = [0, 1, 2, 3].map(|number| KeyFile::new(place.home, &format!("passing-{number}")));
    for key in keys.iter().cycle() {
        if !load.goes_on() {
            break;
        }
        let (add, remove) = (["-q".as_ref(), key.path().as_os_str()], ["-qd".as_ref(), key.path().as_os_str()]);
        for step in [place.agent.ssh_add(add), place.agent.signs(key.public()), place.agent.ssh_add(remove)] {
            let outcome = step.run();
            if !outcome.status.success() {
                return Err(outcome.report());
            }
        }
        count(done);
    }
    Ok(())
}

fn answers_dialogs(load: &Load, place: &Place<'_>, done: &AtomicU64) -> Result<(), String> {
    while load.goes_on() {
        let mut client = place.agent.client();
        client.patience(Duration::from_secs(60));
        if !sign(&mut client, place.confirmed.public()) {
            return Err("a signature that was agreed to is refused".into());
        }
        count(done);
    }
    Ok(())
}

/// Asks for what takes a dialog and does not wait for it.
fn leaves_dialogs(load: &Load, place: &Place<'_>, done: &AtomicU64) -> Result<(), String> {
    let key = place.confirmed.public();
    let request = Body::new(Client::SIGN)
        .string(key.blob())
        .string(login(b"a session of thirty-two octets...", "user", key, None))
        .u32(0)
        .bytes();
    while load.goes_on() {
        let mut client = place.agent.client();
        client.send(&request);
        for _ in 0..20 {
            if !load.goes_on() {
                break;
            }
        }
        count(done);
    }
    Ok(())
}

fn talks_nonsense(load: &Load, place: &Place<'_>, done: &AtomicU64) -> Result<(), String> {
    let mut dice = Dice::new(SEED);
    while load.goes_on() {
        let mut connection = UnixStream::connect(place.agent.socket()).map_err(|error| error.to_string())?;
        let octets: Vec<u8> = (0..200).map(|_| u8::try_from(dice.below(256)).unwrap_or_default()).collect();
        // The agent may hang up in the middle of it.
        let _ = connection.write_all(&octets);
        count(done);
    }
    Ok(())
}

/// The configuration changes all the time, in a way that matters to nobody who is at work here.
fn changes_the_configuration(load: &Load, place: &Place<'_>, done: &AtomicU64) -> Result<(), String> {
    let path = place.home.path("agent.toml");
    let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    for number in 0_u64.. {
        // Some seconds of calm between two changes.
        for _ in 0..100 {
            if !load.goes_on() {
                return Ok(());
            }
        }
        place.home.file("agent.toml.new", format!("{text}\n[[rule]]\nhost = \"host{number}\"\naction = \"deny\"\n"));
        fs::rename(place.home.path("agent.toml.new"), &path).map_err(|error| error.to_string())?;
        count(done);
    }
    Ok(())
}
