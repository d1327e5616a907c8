//! The way of one call: rules read, faults met, the real module asked, the log written.

use std::fmt::Display;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_GENERAL_ERROR};
use rustix::process::{Signal, getpid, kill_process};

use crate::ledger::Ledger;
use crate::log::{self, Entry, Outcome};
use crate::rules::{Fault, FunctionRule, RuleSet, Spoil};
use crate::watch::Watch;
use crate::{backend, mischief, names, token_state};

/// What a function needs, and so what it answers when that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Nothing but the library.
    Library,
    /// A token in the slot.
    Slot,
    /// A session.
    Session,
}

/// One call of one function, from its arrival to its answer.
pub(crate) struct Call {
    pub(crate) rules: RuleSet,
    function: &'static str,
    arguments: String,
    sequence: u64,
    began: Instant,
    spoils: Vec<Spoil>,
    /// The answer that the rules give without the real module.
    decided: Option<CK_RV>,
}

/// The rules file as one call has read it.
struct Reading {
    rules: RuleSet,
    version: String,
}

impl Call {
    /// Lets the call meet its faults; comes back, if ever, when it may be passed on or its answer is decided.
    pub(crate) fn begin(function: &'static str, scope: Scope, arguments: impl Display) -> Self {
        static SEQUENCE: AtomicU64 = AtomicU64::new(0);
        let mut call = Self {
            rules: RuleSet::default(),
            function,
            arguments: arguments.to_string(),
            sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed),
            began: Instant::now(),
            spoils: Vec::new(),
            decided: None,
        };
        if let Err(error) = call.meet_faults(scope) {
            eprintln!("faulty-module: {function}: {error}");
            call.decided = Some(CKR_GENERAL_ERROR);
        }
        call
    }

    /// Answers: with what the rules decided, else with what `work` has from the real module.
    pub(crate) fn run(self, work: impl FnOnce(&Self, &CK_FUNCTION_LIST) -> CK_RV) -> CK_RV {
        self.run_to_the_end(|call, backend, decided| decided.unwrap_or_else(|| work(call, backend)))
    }

    /// As [`run`](Self::run), for functions that must do their work in the real module even when the answer is
    /// decided: `work` gets that answer.
    pub(crate) fn run_to_the_end(self, work: impl FnOnce(&Self, &CK_FUNCTION_LIST, Option<CK_RV>) -> CK_RV) -> CK_RV {
        let answer = match backend::functions() {
            Ok(backend) => work(&self, backend, self.decided),
            Err(error) => self.decided.unwrap_or(error),
        };
        self.write(Outcome::Returned(names::of_return_value(answer)));
        answer
    }

    /// The faults that what the call hands out shall have.
    pub(crate) fn spoils(&self) -> impl Iterator<Item = Spoil> {
        self.spoils.iter().copied()
    }

    fn meet_faults(&mut self, scope: Scope) -> io::Result<()> {
        let Some(path) = rules_path() else {
            return Ok(());
        };
        let mut reading = read(&path)?;
        if reading.rules.leak > 0 {
            // Ones, not zeros: untouched pages would not count as used.
            Box::leak(vec![1_u8; reading.rules.leak].into_boxed_slice());
        }
        let mut waited = false;
        for rule in reading.rules.functions.iter().filter(|rule| rule.covers(self.function)) {
            if met(rule, &path, &reading.version)? {
                match &rule.fault {
                    Fault::Delay(time) => {
                        self.write_fault("delay");
                        thread::sleep(*time);
                        waited = true;
                    }
                    Fault::Hold => {
                        self.write_fault("hold");
                        wait_for_withdrawal(rule, &path)?;
                        waited = true;
                    }
                    Fault::Hang => {
                        self.write_fault("hang");
                        hang();
                    }
                    Fault::Crash => {
                        self.write_fault("crash");
                        crash();
                    }
                    Fault::Abort => {
                        self.write_fault("abort");
                        std::process::abort();
                    }
                    Fault::Exit(code) => {
                        self.write_fault("exit");
                        std::process::exit(*code);
                    }
                    Fault::Return(value) => {
                        self.decided = Some(*value);
                        break;
                    }
                    Fault::Tell { socket, octets, from } => {
                        let answer = mischief::tell(socket, octets, *from)?;
                        self.write_fault(&format!("told:{}", log::hexadecimal(&answer)));
                    }
                    Fault::Run(command) => {
                        let said = mischief::run(command)?;
                        self.write_fault(&format!("ran:{}", log::hexadecimal(&said)));
                    }
                    Fault::LeaveChild => {
                        let child = mischief::leave_child()?;
                        self.write_fault(&format!("left:{child}"));
                    }
                    Fault::Set { name, value } => mischief::set(name, value),
                    Fault::BreakOut { port, victim } => {
                        self.write_fault(&format!("broke-out:{}", mischief::break_out(*port, *victim)));
                    }
                    Fault::Spoil(spoil) => self.spoils.push(*spoil),
                }
            }
        }
        if waited {
            // Meanwhile the card may have been pulled.
            reading = read(&path)?;
        }
        if self.decided.is_none() {
            self.decided = token_state::check(&reading.rules.token, &reading.version, self.function, scope);
        }
        self.rules = reading.rules;
        Ok(())
    }

    fn write_fault(&self, fault: &str) {
        self.write(Outcome::Fault(fault.to_owned()));
    }

    fn write(&self, outcome: Outcome) {
        let Some(path) = std::env::var_os(crate::LOG).map(PathBuf::from) else {
            return;
        };
        let entry = Entry {
            process: std::process::id(),
            sequence: self.sequence,
            function: self.function.to_owned(),
            arguments: self.arguments.clone(),
            outcome,
            elapsed: self.began.elapsed(),
        };
        if let Err(error) = entry.append(&path) {
            eprintln!("faulty-module: cannot write {}: {error}", path.display());
        }
    }
}

/// The rules file that the environment names.
pub(crate) fn rules_path() -> Option<PathBuf> {
    std::env::var_os(crate::RULES).map(PathBuf::from)
}

fn read(path: &PathBuf) -> io::Result<Reading> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Reading { rules: RuleSet::default(), version: String::new() });
        }
        file => file?,
    };
    let metadata = file.metadata()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let rules = RuleSet::parse(&text).map_err(io::Error::other)?;
    let version = format!("{}-{}.{:09}", metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
    Ok(Reading { rules, version })
}

fn met(rule: &FunctionRule, path: &std::path::Path, version: &str) -> io::Result<bool> {
    let dice = || rule.probability >= 1.0 || random() < rule.probability;
    match rule.counts() {
        true => Ledger::beside(path).update(|counts| counts.meets(version, rule, dice)),
        false => Ok(dice()),
    }
}

/// Evenly distributed in 0..1; each hasher state of the standard library has random keys.
fn random() -> f64 {
    const STEPS: u64 = 1 << 32;
    (RandomState::new().hash_one(0) % STEPS) as f64 / STEPS as f64
}

fn wait_for_withdrawal(rule: &FunctionRule, path: &PathBuf) -> io::Result<()> {
    let watch = Watch::around(path)?;
    while read(path)?.rules.functions.iter().any(|other| other.text == rule.text) {
        watch.wait(None)?;
    }
    Ok(())
}

fn hang() -> ! {
    loop {
        thread::park();
    }
}

/// Dies of SIGSEGV. The first signal may be spent on the host's handler for stack overflows, which then gives way.
fn crash() -> ! {
    loop {
        let _ = kill_process(getpid(), Signal::SEGV);
    }
}
