//! Starting and ending agents.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;
use crate::client::{AgentClient, identities};
use crate::fixture::{Fixture, MODULE, run};
use crate::keys::{Key, Kind, ed25519_file};
use crate::load::Client;

/// How long an agent may take for anything outside a turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent that runs until it is dropped.
pub(crate) struct Agent {
    process: Child,
    socket: PathBuf,
    diagnostics: PathBuf,
    /// OpenSSH's agent has to be given the token.
    is_stock: bool,
}

impl Agent {
    /// Starts `program`, without waiting for it. `name` makes its files differ from those of other agents.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(crate) fn start(program: &Path, name: &str, fixture: &Fixture) -> Result<Self> {
        Self::start_with(program, name, fixture, &fixture.hardkey_configuration()?, &[])
    }

    /// Starts `program` with hardkey's configuration in that file, and these variables in its environment.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(crate) fn start_with(
        program: &Path,
        name: &str,
        fixture: &Fixture,
        configuration: &Path,
        environment: &[(&str, OsString)],
    ) -> Result<Self> {
        let is_stock = program.file_name().is_some_and(|name| name == "ssh-agent");
        let (socket, diagnostics) = (fixture.path(&format!("{name}.sock")), fixture.path(&format!("{name}.log")));
        let mut command = Command::new(program);
        if !is_stock {
            command.arg("agent");
        }
        // Any module: the slow one is where it was built.
        command.args(["-D", "-P", "*", "-a"]).arg(&socket);
        if !is_stock {
            command.arg("--config").arg(configuration).arg("--pin-file").arg(fixture.pin_file());
        }
        let process = command
            .current_dir(fixture.directory())
            .env("HOME", fixture.directory())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("HARDKEY_CONFIG")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&diagnostics)?)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(Self { process, socket, diagnostics, is_stock })
    }

    /// Makes the token's keys known to an agent that has not read of them in its configuration.
    ///
    /// # Errors
    ///
    /// `ssh-add` failed.
    pub(crate) fn add_token(&self, fixture: &Fixture) -> Result<()> {
        if self.is_stock { self.add_module(Path::new(MODULE), fixture) } else { Ok(()) }
    }

    /// Adds the tokens of a module.
    ///
    /// # Errors
    ///
    /// `ssh-add` failed.
    pub(crate) fn add_module(&self, module: &Path, fixture: &Fixture) -> Result<()> {
        let mut command = self.ssh_add();
        command.env("SSH_ASKPASS", fixture.askpass()).env("SSH_ASKPASS_REQUIRE", "force");
        run(command.arg("-s").arg(module))
    }

    /// Adds the software key of that kind, to be used after confirmation only.
    ///
    /// # Errors
    ///
    /// `ssh-add` failed.
    pub(crate) fn add_confirmed_key(&self, kind: Kind, fixture: &Fixture) -> Result<()> {
        run(self.ssh_add().arg("-qc").arg(fixture.key_file(kind)))
    }

    /// Adds an Ed25519 key from each seed and returns them in the same order.
    ///
    /// # Errors
    ///
    /// `ssh-add` failed.
    pub(crate) fn add_ed25519(&self, seeds: impl Iterator<Item = [u8; 32]>, fixture: &Fixture) -> Result<Vec<Key>> {
        let directory = tempfile::tempdir_in(fixture.directory())?;
        let mut keys = Vec::new();
        let mut command = self.ssh_add();
        command.arg("-q");
        for (number, seed) in seeds.enumerate() {
            let file = directory.path().join(number.to_string());
            let (text, blob) = ed25519_file(seed);
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?.write_all(text.as_bytes())?;
            command.arg(file);
            keys.push(Key { kind: Kind::Ed25519, in_token: false, blob });
        }
        run(&mut command)?;
        Ok(keys)
    }

    /// Adds the software keys.
    ///
    /// # Errors
    ///
    /// `ssh-add` failed.
    pub(crate) fn add_software_keys(&self, fixture: &Fixture) -> Result<()> {
        run(self.ssh_add().arg("-q").args(Kind::USUAL.map(|kind| fixture.key_file(kind))))
    }

    /// Waits until the agent answers and returns what it lists.
    ///
    /// # Errors
    ///
    /// It ends or does not answer; the text has what it said.
    pub(crate) fn wait(&mut self) -> Result<Vec<(Vec<u8>, String)>> {
        self.wait_for(|_| true)
    }

    /// Waits until the agent lists what `wanted` wants.
    ///
    /// # Errors
    ///
    /// It ends or never does; the text has what it said.
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&[(Vec<u8>, String)]) -> bool) -> Result<Vec<(Vec<u8>, String)>> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Ok(list) = self.keys()
                && wanted(&list)
            {
                return Ok(list);
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("the agent ended with {status}: {}", self.said()).into());
            }
            // There is no event for "listens now": the socket's file appears before that. This bounds the error of
            // the start-up times.
            thread::sleep(Duration::from_micros(100));
        }
        Err(format!("the agent did not answer as expected in {PATIENCE:?}: {}", self.said()).into())
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The keys it lists.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub(crate) fn keys(&self) -> Result<Vec<(Vec<u8>, String)>> {
        let mut reply = Vec::new();
        AgentClient::listing(&self.socket)?.ask(0, &mut reply)?;
        identities(&reply)
    }

    fn ssh_add(&self) -> Command {
        let mut command = Command::new("ssh-add");
        command.env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null());
        command
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.diagnostics).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(id) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(id, Signal::TERM);
        }
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.socket);
    }
}
