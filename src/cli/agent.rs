//! `hardkey agent`, and ssh-agent's own command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser};
use rustix::process::{Pid, Signal};

use crate::agent::Settings;
use crate::agent::command::{DEFAULT_ALLOWED, Options, run as run_agent};
use crate::backend::pin::{MAX_PIN, PinSource, first_line};
use crate::config::{Config, Seconds};
use crate::crypto::fingerprint::FingerprintHash;
use crate::pattern::PatternList;
use crate::shell::Shell;

/// Which program this is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// `hardkey agent`: looks for modules, listens at the user's fixed place.
    Hardkey,
    /// `ssh-agent`: adds only what it is told to, listens at a place of its own.
    SshAgent,
}

#[derive(Args)]
#[command(disable_version_flag = true)]
pub(super) struct Arguments {
    /// Listen at this path
    #[arg(short = 'a', value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print lines for C shells (the default when $SHELL is one)
    #[arg(short = 'c', conflicts_with = "bourne")]
    c_shell: bool,
    /// Print lines for Bourne shells
    #[arg(short = 's')]
    bourne: bool,
    /// Stay in the foreground, log to standard error
    #[arg(short = 'D', conflicts_with = "debug")]
    foreground: bool,
    /// Stay in the foreground and log in detail
    #[arg(short = 'd')]
    debug: bool,
    /// End the agent that $SSH_AGENT_PID names
    #[arg(short = 'k')]
    kill: bool,
    /// Hash of fingerprints in dialogs: md5, sha256, sha384, sha512
    #[arg(short = 'E', value_name = "HASH", value_parser = hash)]
    hash: Option<FingerprintHash>,
    /// Modules that `ssh-add -s` may name, as a list of patterns
    #[arg(short = 'P', value_name = "PATTERNS", default_value = DEFAULT_ALLOWED, hide_default_value = true)]
    allowed: String,
    /// Lifetime of keys that are added without one, such as 3600 or 1h30m
    #[arg(short = 't', value_name = "LIFE", value_parser = lifetime)]
    lifetime: Option<Seconds>,
    /// Configuration file [default: $HARDKEY_CONFIG, else ~/.config/hardkey/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take the token's PIN from the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "pin_fd")]
    pin_file: Option<PathBuf>,
    /// Take the token's PIN from this open file descriptor, once
    #[arg(long, value_name = "N")]
    pin_fd: Option<u32>,
    /// Run this command with the agent and end the agent with it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// An SSH agent for keys that live in hardware, with the command line of ssh-agent
#[derive(Parser)]
#[command(name = "ssh-agent", disable_help_subcommand = true, max_term_width = 100)]
struct SshAgent {
    #[command(flatten)]
    arguments: Arguments,
}

/// Runs as ssh-agent: wrong usage exits with 1.
#[expect(clippy::print_stderr, reason = "usage goes to the user")]
pub(super) fn as_ssh_agent(arguments: Vec<OsString>) -> ExitCode {
    match SshAgent::try_parse_from(arguments) {
        Ok(parsed) => super::report("ssh-agent", run(parsed.arguments, Mode::SshAgent)),
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            eprint!("{error}");
            ExitCode::FAILURE
        }
    }
}

pub(super) fn run(arguments: Arguments, mode: Mode) -> Result<ExitCode, String> {
    let shell = match (arguments.c_shell, arguments.bourne) {
        (true, _) => Shell::C,
        (_, true) => Shell::Bourne,
        _ => Shell::of_user(),
    };
    if arguments.kill {
        return kill(shell);
    }
    let alone = arguments.c_shell || arguments.bourne || arguments.foreground || arguments.debug;
    if alone && !arguments.command.is_empty() {
        return Err("a command cannot be combined with -c, -s, -d or -D".to_owned());
    }
    run_agent(Options {
        socket: arguments.socket,
        shell,
        foreground: arguments.foreground || arguments.debug,
        debug: arguments.debug,
        allowed: PatternList::new(&arguments.allowed),
        settings: Settings {
            default_lifetime: arguments.lifetime.map(|lifetime| lifetime.0).filter(|seconds| *seconds > 0),
            fingerprint_hash: arguments.hash.unwrap_or_default(),
        },
        config: Config::find(arguments.config.as_deref()).map_err(|error| error.to_string())?,
        pin: pin_source(arguments.pin_file, arguments.pin_fd)?,
        discover: mode == Mode::Hardkey,
        private_socket: mode == Mode::SshAgent,
        command: arguments.command,
    })
}

fn kill(shell: Shell) -> Result<ExitCode, String> {
    let variable = "SSH_AGENT_PID";
    let text = std::env::var(variable).map_err(|_| format!("{variable} not set, cannot kill agent"))?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 1);
    let pid: i32 = pid.ok_or_else(|| format!("{variable}={text:?}, which is not a good PID"))?;
    let target = Pid::from_raw(pid).ok_or_else(|| format!("{variable}={text:?}, which is not a good PID"))?;
    rustix::process::kill_process(target, Signal::TERM).map_err(|error| format!("kill: {error}"))?;
    super::print(&(shell.unset("SSH_AUTH_SOCK") + &shell.unset(variable) + &shell.echo_killed(pid)))
}

fn pin_source(file: Option<PathBuf>, descriptor: Option<u32>) -> Result<PinSource, String> {
    match (file, descriptor) {
        (Some(file), _) => {
            let file = std::path::absolute(&file).map_err(|error| format!("--pin-file {}: {error}", file.display()))?;
            // Now, while somebody reads the message; read again at each use.
            PinSource::File(file.clone()).read().map_err(|error| error.to_string())?;
            Ok(PinSource::File(file))
        }
        (None, Some(descriptor)) => {
            use std::io::Read as _;
            let fail = |error: std::io::Error| format!("--pin-fd {descriptor}: {error}");
            let file = std::fs::File::open(format!("/proc/self/fd/{descriptor}")).map_err(fail)?;
            let mut octets = zeroize::Zeroizing::new(Vec::with_capacity(MAX_PIN + 2));
            file.take(MAX_PIN as u64 + 1).read_to_end(&mut octets).map_err(fail)?;
            let pin = first_line(octets).ok_or_else(|| {
                format!("--pin-fd {descriptor}: its first line must be the PIN, 1 to {MAX_PIN} octets")
            })?;
            Ok(PinSource::Given(Arc::new(pin)))
        }
        (None, None) => Ok(PinSource::Ask),
    }
}

fn hash(name: &str) -> Result<FingerprintHash, String> {
    FingerprintHash::parse(name).ok_or_else(|| format!("hash algorithm {name:?} is not known"))
}

fn lifetime(text: &str) -> Result<Seconds, String> {
    Seconds::parse(text).ok_or_else(|| "Invalid lifetime".to_owned())
}
