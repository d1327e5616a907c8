//! A program that has a module loaded and calls it, one order at a time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::binary::build_directory;
use crate::home::Home;
use crate::module::Module;

/// `pkcs11-host` of the crate `faulty-module`, which has the orders. It ends with this value.
pub struct ModuleHost {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl ModuleHost {
    /// Loads and initialises a module.
    ///
    /// # Panics
    /// When the program is not built, or the module does not initialise.
    #[must_use]
    pub fn start(home: &Home, module: &Module) -> Self {
        let program = build_directory().join("pkcs11-host");
        let mut process = Command::new(&program)
            .arg(module.path())
            .env_clear()
            .envs(home.environment())
            .envs(module.environment().iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}; run cargo build first", program.display()));
        let orders = process.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut host = Self { process, orders, answers };
        host.ask("initialize").expect("a module that initialises");
        host
    }

    /// Gives an order and waits for the answer, or for the name of the error.
    ///
    /// # Errors
    /// The name of the return value, as the crate `cryptoki` spells it.
    ///
    /// # Panics
    /// When the module ends the program.
    pub fn ask(&mut self, order: &str) -> Result<String, String> {
        writeln!(self.orders, "{order}").expect("a program that runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        let (outcome, rest) = line.trim_end_matches('\n').split_once(' ').expect("an answer");
        if outcome == "ok" { Ok(rest.to_owned()) } else { Err(rest.to_owned()) }
    }
}

impl Drop for ModuleHost {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
