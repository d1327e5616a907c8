//! A SoftHSM token, the faulty module before it and programs that use it.

#![allow(clippy::unwrap_used, dead_code, reason = "what every test needs some of; a failing step ends the test")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use faulty_module::{BACKEND, CallLog, LOG, RULES, Rules, library};
use tempfile::TempDir;

/// Long enough for anything that will happen at all.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The token's PIN.
pub(crate) const PIN: &str = "123456";
/// The token's label.
pub(crate) const LABEL: &str = "real";

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A token with a P-256 key pair, with the faulty module before it.
pub(crate) struct Token {
    pub(crate) rules: Rules,
    pub(crate) log: CallLog,
    directory: TempDir,
}

impl Token {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let tokens = directory.path().join("tokens");
        std::fs::create_dir(&tokens).unwrap();
        std::fs::write(
            directory.path().join("softhsm2.conf"),
            format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()),
        )
        .unwrap();
        let token = Self {
            rules: Rules::at(directory.path().join("rules")),
            log: CallLog::at(directory.path().join("calls")),
            directory,
        };
        token.run("softhsm2-util", &["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "87654321"]);
        token.generate_key("01");
        token
    }

    /// Makes a P-256 key pair in the token.
    pub(crate) fn generate_key(&self, id: &str) {
        let login = ["--module", SOFTHSM, "--login", "--pin", PIN];
        let generate = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "ssh", "--id", id];
        self.run("pkcs11-tool", &[&login[..], &generate].concat());
    }

    /// A program that has loaded the faulty module and initialised it.
    pub(crate) fn host(&self) -> Host {
        let mut host = self.uninitialized_host();
        assert_eq!(host.ask("initialize"), "ok ");
        host
    }

    /// A program that has only loaded the faulty module.
    pub(crate) fn uninitialized_host(&self) -> Host {
        let mut command = self.command(env!("CARGO_BIN_EXE_pkcs11-host"));
        let mut process = command.arg(library().unwrap()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Host { process, orders, answers }
    }

    /// Runs OpenSC's tool with the faulty module; what it prints, and how it ends.
    pub(crate) fn pkcs11_tool(&self, arguments: &[&str]) -> (String, ExitStatus) {
        let output =
            self.command("pkcs11-tool").arg("--module").arg(library().unwrap()).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), output.status)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .env(BACKEND, SOFTHSM)
            .env(RULES, self.rules.path())
            .env(LOG, self.log.path());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A process that obeys one order at a time; see `pkcs11-host`.
pub(crate) struct Host {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Host {
    /// Gives an order and waits for the answer; nothing if the process ended instead.
    pub(crate) fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.answer()
    }

    /// Gives an order without waiting.
    pub(crate) fn tell(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    /// Opens a session and logs in.
    pub(crate) fn logged_in(mut self) -> Self {
        assert_eq!(self.ask("open"), "ok ");
        assert_eq!(self.ask(&format!("login {PIN}")), "ok ");
        self
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the process, which is expected to end by itself.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
