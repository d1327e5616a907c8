//! Software security keys that are plugged into this machine, as far as the programs started through [`UsbPorts`] can tell.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use crate::background::Background;
use crate::binary::build_directory;
use crate::home::Home;
use crate::keyfile::KeyFile;
use crate::run::Task;
use crate::wait::{SOON, until, until_some};

/// Four USB ports, with nothing plugged in.
///
/// `umockdev` shows what is plugged in as `/dev/hidraw0` and so on, and below `/sys`, to every program that has [`environment`](Self::environment); the programs are as they always are.
/// It reaches what goes through the C library's functions for paths and `ioctl`. One program at a time may read from a key.
///
/// With `FIDO_KEY_PLACE=uhid` in the test's environment the kernel makes the nodes, as it does in the machine of `hsm-tests/guest/run.sh`.
#[derive(Clone)]
pub struct UsbPorts {
    home: Home,
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    environment: Vec<(String, String)>,
    _process: Background,
}

/// A security key with the firmware of real ones; it has a button, a plug, and faults on demand.
///
/// The words of the orders are those of `hsm-tests/fido-key/README.md`.
pub struct FidoKey {
    ports: UsbPorts,
    name: String,
}

impl UsbPorts {
    /// Installs the ports.
    ///
    /// # Panics
    /// When the software key is not built or umockdev is missing.
    #[must_use]
    pub fn new(home: &Home) -> Self {
        Self::at(home, &env::var_os("FIDO_KEY_PLACE").unwrap_or_else(|| "umockdev".into()))
    }

    /// Ports for this process alone: a key is plugged in at a socket, a connection to which is an open node.
    #[must_use]
    pub fn of_sockets(home: &Home) -> Self {
        Self::at(home, "packets".as_ref())
    }

    fn at(home: &Home, place: &OsStr) -> Self {
        let directory = home.directory("run/fido");
        let mut process = home.command(program()).arg(place).arg(&directory).start("fido-key");
        let control = directory.join("control");
        let mut ended = false;
        let answers = until(SOON, || {
            ended = process.has_ended();
            ended || UnixStream::connect(&control).is_ok()
        });
        assert!(answers && !ended, "the software security key does not start\n{}", home.logs());
        let environment = order(&control, "environment").expect("the environment of the ports");
        let environment = environment
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { home: home.clone(), inner: Arc::new(Inner { directory, environment, _process: process }) }
    }

    /// What a program needs in its environment to see the ports; for [`AgentBuilder::envs`](crate::AgentBuilder::envs).
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        self.inner.environment.clone()
    }

    /// A program that sees the ports.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Task {
        self.home.command(program).envs(self.environment())
    }

    /// A new key without a PIN, plugged in.
    #[must_use]
    pub fn key(&self, name: &str) -> FidoKey {
        let key = self.kind_of_key(name, "");
        key.plug();
        key
    }

    /// A new key of a special kind, not yet plugged in: `u2f-only`, `no-u2f`, `old` (CTAP 2.0), `residents 2`, `opensk`, `fingerprint`, `fingerprint always-verifies`.
    #[must_use]
    pub fn kind_of_key(&self, name: &str, kind: &str) -> FidoKey {
        let key = FidoKey { ports: self.clone(), name: name.into() };
        key.expect(&format!("new {name} {kind}"));
        key
    }

    /// A key with all that another one has on it now, which no real key can be; not yet plugged in. The other one is an `opensk` or `fingerprint`.
    #[must_use]
    pub fn copy_of_key(&self, name: &str, of: &FidoKey) -> FidoKey {
        self.kind_of_key(name, &format!("copy-of {}", of.name))
    }

    /// A private key file made by `ssh-keygen` on the key that is plugged in, with further arguments, such as `-t ed25519-sk -O verify-required`. The PIN is given where it is asked for.
    ///
    /// # Panics
    /// When `ssh-keygen` fails.
    #[must_use]
    pub fn keygen(&self, name: &str, arguments: &[&str], pin: &str) -> KeyFile {
        let path = self.home.path("home").join(name);
        self.command("ssh-keygen")
            .args(["-q", "-C", name, "-N", "", "-f"])
            .arg(&path)
            .args(arguments)
            .envs(self.pin_in_dialogs(pin))
            .run()
            .succeeds();
        KeyFile::at(&self.home, path)
    }

    /// The environment in which OpenSSH's tools get the PIN for every question.
    #[must_use]
    pub fn pin_in_dialogs(&self, pin: &str) -> Vec<(&'static str, PathBuf)> {
        let askpass = self.home.program(format!("bin/says-{pin}"), format!("#!/bin/sh\necho '{pin}'\n"));
        vec![("SSH_ASKPASS", askpass), ("SSH_ASKPASS_REQUIRE", "force".into())]
    }

    fn control(&self) -> PathBuf {
        self.inner.directory.join("control")
    }
}

impl FidoKey {
    /// Plugs it in and tells its node, `/dev/hidraw0` for the first.
    #[track_caller]
    pub fn plug(&self) -> PathBuf {
        self.order("plug").into()
    }

    /// Pulls it out: its node is gone, and whoever has that open gets an error. It forgets all but its keys, its PIN and the tries left.
    #[track_caller]
    pub fn unplug(&self) {
        self.order("unplug");
    }

    /// What happens at a request for a touch, from now on: `now` (touched at once, as at first), `after 300` (milliseconds), `never`, `denied`.
    #[track_caller]
    pub fn presence(&self, presence: &str) {
        self.order(&format!("presence {presence}"));
    }

    /// Whether touches are by the finger that its reader knows; at first they are.
    #[track_caller]
    pub fn finger(&self, is_known: bool) {
        self.order(if is_known { "finger known" } else { "finger unknown" });
    }

    /// How long the key waits for a touch; half a minute at first.
    #[track_caller]
    pub fn patience(&self, patience: Duration) {
        self.order(&format!("patience {}", patience.as_millis()));
    }

    /// Waits until the key asks for a touch, and touches it.
    ///
    /// # Panics
    /// When it does not ask.
    #[track_caller]
    pub fn press(&self) {
        self.order("press");
    }

    /// Whether it is asking for a touch now.
    #[must_use]
    #[track_caller]
    pub fn is_asking(&self) -> bool {
        self.order("asking") == "yes"
    }

    /// Waits until the key asks for a touch.
    ///
    /// # Panics
    /// When it does not soon.
    #[track_caller]
    pub fn asks(&self) {
        assert!(until(SOON, || self.is_asking()), "{} asks for no touch\n{}", self.name, self.ports.home.logs());
    }

    /// Stops it from saying anything, until [`thaw`](Self::thaw).
    #[track_caller]
    pub fn freeze(&self) {
        self.order("freeze");
    }

    /// Lets it speak again.
    #[track_caller]
    pub fn thaw(&self) {
        self.order("thaw");
    }

    /// Makes a command fail: `getAssertion status 27 times 1`, `getInfo cut 20`.
    #[track_caller]
    pub fn fault(&self, fault: &str) {
        self.order(&format!("fault {fault}"));
    }

    /// Ends all faults.
    #[track_caller]
    pub fn no_faults(&self) {
        self.order("no-faults");
    }

    /// Gives an order that has no function of its own here, and returns what it says.
    ///
    /// # Panics
    /// When the order fails.
    #[track_caller]
    pub fn order(&self, words: &str) -> String {
        self.expect(&format!("{} {words}", self.name))
    }

    /// Sets the first PIN, as `fido2-token` does.
    ///
    /// # Panics
    /// When the key has one already, or is not plugged in.
    #[track_caller]
    pub fn set_pin(&self, pin: &str, node: &Path) {
        let input = format!("{pin}\n{pin}\n");
        // Without a terminal it reads from standard input.
        self.ports.command("setsid").args(["--wait", "fido2-token", "-S"]).arg(node).input(input).run().succeeds();
    }

    /// What happened at the key so far; see the log's description in the README.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        let path = self.ports.inner.directory.join(format!("{}.log", self.name));
        fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// How many lines of the log are this one.
    #[must_use]
    pub fn count(&self, line: &str) -> usize {
        self.log().iter().filter(|found| *found == line).count()
    }

    /// Waits until the log has this line.
    ///
    /// # Panics
    /// When it does not soon; the text has what it has.
    #[track_caller]
    pub fn wait_for(&self, line: &str) {
        let found = until_some(SOON, || self.log().iter().any(|found| found == line).then_some(()));
        assert!(found.is_some(), "no {line:?} at {}: {:?}\n{}", self.name, self.log(), self.ports.home.logs());
    }

    #[track_caller]
    fn expect(&self, line: &str) -> String {
        order(&self.ports.control(), line).unwrap_or_else(|error| panic!("{line}: {error}\n{:?}", self.log()))
    }
}

/// Says a line to the software keys and reads what they answer.
fn order(control: &Path, line: &str) -> Result<String, String> {
    let mut connection = UnixStream::connect(control).map_err(|error| format!("{}: {error}", control.display()))?;
    connection.write_all(format!("{line}\n").as_bytes()).map_err(|error| error.to_string())?;
    let lines: Vec<String> =
        BufReader::new(connection).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let answer = lines.join("\n");
    match answer.strip_prefix("ok") {
        Some(text) => Ok(text.trim_start().to_owned()),
        None => Err(answer),
    }
}

/// The software key: `$FIDO_KEY`, or where `hsm-tests/run.sh` builds it.
fn program() -> PathBuf {
    let built = || build_directory().with_file_name("fido-key").join("debug/fido-key");
    let path = env::var_os("FIDO_KEY").map_or_else(built, PathBuf::from);
    assert!(
        path.is_file(),
        "no software security key at {}: run hsm-tests/fido-key/build.sh, or set FIDO_KEY",
        path.display()
    );
    path
}
