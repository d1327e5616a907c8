//! One token and one set of key files for all targets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Result;
use crate::keys::Kind;

/// Debian's SoftHSM.
pub(crate) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// The token's PIN, which protects nothing.
pub(crate) const PIN: &str = "123456";

/// hardkey's rules, beside which stock has none.
const RULES: &str = include_str!("../../../bench.toml");

/// The token's label.
const LABEL: &str = "bench";

/// A directory with the token, key files and what programs need to be given the PIN.
pub(crate) struct Fixture {
    directory: TempDir,
}

impl Fixture {
    /// Makes everything and points this process, and so all that it starts, to the token.
    ///
    /// # Errors
    ///
    /// A program that makes keys is missing or failed; the text names it.
    pub(crate) fn new(kinds: &[Kind]) -> Result<Self> {
        let fixture = Self { directory: TempDir::new()? };
        fs::create_dir(fixture.path("tokens"))?;
        let configuration = fixture.path("softhsm2.conf");
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", fixture.path("tokens").display());
        fs::write(&configuration, text)?;
        // SAFETY: no other thread runs yet; this is the first thing the program does.
        unsafe { std::env::set_var("SOFTHSM2_CONF", &configuration) };

        let (label, pin) = (["--label", LABEL], ["--pin", PIN]);
        run(Command::new("softhsm2-util").args(["--init-token", "--free", "--so-pin", PIN]).args(label).args(pin))?;
        for (id, &kind) in kinds.iter().enumerate() {
            run(Command::new("pkcs11-tool")
                .args(["--module", MODULE, "--login", "--keypairgen", "--key-type", kind.for_pkcs11_tool()])
                .args(["--label", kind.name(), "--id", &format!("{:02x}", id + 1)])
                .args(pin))?;
        }
        for kind in Kind::USUAL {
            run(Command::new("ssh-keygen")
                .args(kind.for_ssh_keygen())
                .args(["-q", "-N", "", "-C", kind.name(), "-f"])
                .arg(fixture.key_file(kind)))?;
        }
        fs::write(fixture.pin_file(), PIN)?;
        fs::set_permissions(fixture.pin_file(), fs::Permissions::from_mode(0o600))?;
        fs::write(fixture.askpass(), format!("#!/bin/sh\necho {PIN}\n"))?;
        fs::set_permissions(fixture.askpass(), fs::Permissions::from_mode(0o700))?;
        Ok(fixture)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The software key of that kind; its comment is the kind's name.
    pub(crate) fn key_file(&self, kind: Kind) -> PathBuf {
        self.path(kind.name())
    }

    pub(crate) fn pin_file(&self) -> PathBuf {
        self.path("pin")
    }

    pub(crate) fn askpass(&self) -> PathBuf {
        self.path("askpass")
    }

    /// hardkey's configuration.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn hardkey_configuration(&self) -> Result<PathBuf> {
        self.configuration("config.toml", &self.module(""))
    }

    /// The same for a token that one worker serves.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn configuration_of_one_worker(&self) -> Result<PathBuf> {
        self.configuration("worker.toml", &self.module("workers = 1\n"))
    }

    /// The same without the token.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn configuration_without_token(&self) -> Result<PathBuf> {
        self.configuration("no-token.toml", "")
    }

    fn module(&self, settings: &str) -> String {
        let token = self.path("softhsm2.conf");
        format!("[[module]]\npath = \"{MODULE}\"\nenv = {{ SOFTHSM2_CONF = \"{}\" }}\n{settings}", token.display())
    }

    fn configuration(&self, name: &str, module: &str) -> Result<PathBuf> {
        let path = self.path(name);
        let program = std::env::current_exe()?;
        let rules = RULES.replace("@PROGRAM@", program.to_str().ok_or("the benchmark's own path is no text")?);
        fs::write(&path, format!("discover = false\n{rules}\n{module}"))?;
        Ok(path)
    }

    /// A configuration that leaves all rules as they are.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn usual_configuration(&self) -> Result<PathBuf> {
        let path = self.path("usual.toml");
        fs::write(&path, "discover = false\n")?;
        Ok(path)
    }

    /// Where everything is.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// Runs a program to its end.
///
/// # Errors
///
/// It is missing or failed; the text has what it said.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
