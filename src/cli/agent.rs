//! `hardkey agent`, and ssh-agent's own command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgAction, Args, CommandFactory as _, Parser};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::Failure;
use super::getopt::mark_operands;
use crate::agent::command::{DEFAULT_ALLOWED, Options, Place, run as run_agent};
use crate::agent::socket::clean_home;
use crate::agent::{Settings, activation};
use crate::backend::pin::{MAX_PIN, PinSource, first_line};
use crate::config::{Config, Seconds};
use crate::crypto::fingerprint::FingerprintHash;
use crate::pattern::PatternList;
use crate::policy::websafe::Websafe;
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
    #[arg(short = 'E', value_name = "HASH")]
    hash: Option<String>,
    /// Modules that `ssh-add -s` may name, as a list of patterns [default: /usr/lib*/*,/usr/local/lib*/*]
    #[arg(short = 'P', value_name = "PATTERNS", action = ArgAction::Append)]
    allowed: Vec<String>,
    /// Lifetime of keys that are added without one, such as 3600 or 1h30m
    #[arg(short = 't', value_name = "LIFE", value_parser = lifetime)]
    lifetime: Option<Seconds>,
    /// Option: config=FILE, allow-remote-pkcs11, websafe-allow=PATTERNS, no-restrict-websafe
    #[arg(short = 'O', value_name = "OPTION", action = ArgAction::Append)]
    options: Vec<String>,
    /// Listen below $TMPDIR instead of ~/.ssh/agent
    #[arg(short = 'T')]
    old_style: bool,
    /// Leave stale sockets in ~/.ssh/agent alone
    #[arg(short = 'U')]
    no_clean: bool,
    /// Remove stale sockets in ~/.ssh/agent and exit; twice: those of other hosts too
    #[arg(short = 'u', action = ArgAction::Count)]
    clean: u8,
    /// Print the version and exit
    #[arg(short = 'V')]
    version: bool,
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
    #[arg(value_name = "COMMAND")]
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
pub(super) fn as_ssh_agent(mut arguments: Vec<OsString>) -> ExitCode {
    mark_operands(&SshAgent::command(), &mut arguments, 1);
    match SshAgent::try_parse_from(arguments) {
        Ok(parsed) => super::report("ssh-agent", run(parsed.arguments, Mode::SshAgent)),
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            eprint!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "ssh-agent prints its version there")]
pub(super) fn run(arguments: Arguments, mode: Mode) -> Result<ExitCode, Failure> {
    if arguments.version {
        eprintln!("hardkey {}", env!("CARGO_PKG_VERSION"));
        return Ok(ExitCode::SUCCESS);
    }
    let shell = match (arguments.c_shell, arguments.bourne) {
        (true, _) => Shell::C,
        (_, true) => Shell::Bourne,
        _ => Shell::of_user(),
    };
    let foreground = arguments.foreground || arguments.debug;
    let alone = arguments.c_shell || arguments.bourne || arguments.kill || foreground || arguments.clean > 0;
    if alone && !arguments.command.is_empty() {
        return Err("a command cannot be combined with -c, -s, -k, -d, -D or -u".to_owned().into());
    }
    if arguments.kill {
        return kill(shell).map_err(Failure::from);
    }
    if arguments.clean > 0 {
        clean_home(arguments.clean > 1).map_err(|error| error.to_string())?;
        return Ok(super::print("Deleted stale agent sockets in ~/.ssh/agent\n")?);
    }
    let extras = Extras::read(&arguments.options)?;
    let hash = match &arguments.hash {
        Some(name) => FingerprintHash::parse(name).ok_or_else(|| {
            Failure::fatal(format!("Invalid hash algorithm {name:?}; choose md5, sha256, sha384 or sha512"))
        })?,
        None => FingerprintHash::default(),
    };
    let allowed = match &arguments.allowed[..] {
        [] => DEFAULT_ALLOWED,
        [allowed] => allowed,
        _ => return Err(Failure::fatal("-P option already specified".to_owned())),
    };
    let config = arguments.config.as_deref().or(extras.config.as_deref());
    let file = Config::path(config).or_else(Config::usual_path);
    let config_file =
        file.map(std::path::absolute).transpose().map_err(|error| format!("the configuration's path: {error}"))?;
    let config = Config::find(config).map_err(|error| error.to_string())?;
    let place = match arguments.socket {
        Some(path) => Place::At(path),
        None if foreground && arguments.command.is_empty() && activation::is_announced() => Place::Activated,
        None if arguments.old_style => Place::OldStyle,
        None if mode == Mode::SshAgent => Place::InHome { clean: !arguments.no_clean },
        None if !arguments.command.is_empty() => Place::Private,
        None => Place::WellKnown,
    };
    let options = Options {
        place,
        shell,
        foreground,
        debug: arguments.debug,
        allowed: PatternList::new(allowed),
        settings: Settings {
            default_lifetime: arguments.lifetime.map(|lifetime| lifetime.0).filter(|seconds| *seconds > 0),
            fingerprint_hash: hash,
            allow_remote_providers: extras.allow_remote_providers,
            websafe: extras.websafe,
        },
        config,
        config_file,
        reloads: mode == Mode::Hardkey,
        pin: pin_source(arguments.pin_file, arguments.pin_fd)?,
        discover: mode == Mode::Hardkey,
        command: arguments.command,
    };
    let activated = options.place == Place::Activated;
    run_agent(options).map_err(|text| if activated { Failure::fatal(text) } else { text.into() })
}

/// What `-O` says.
#[derive(Default)]
struct Extras {
    config: Option<PathBuf>,
    allow_remote_providers: bool,
    websafe: Websafe,
}

impl Extras {
    fn read(options: &[String]) -> Result<Self, Failure> {
        let mut extras = Self::default();
        for option in options {
            match option.split_once('=').map_or((option.as_str(), None), |(name, value)| (name, Some(value))) {
                ("config", Some(file)) => extras.config = Some(file.into()),
                ("allow-remote-pkcs11", None) => extras.allow_remote_providers = true,
                ("no-restrict-websafe", None) => extras.websafe = Websafe::off(),
                ("websafe-allow", Some(patterns)) => extras.websafe = Websafe::allowing(patterns),
                _ => return Err(Failure::fatal("Unknown -O option".to_owned())),
            }
        }
        Ok(extras)
    }
}

fn kill(shell: Shell) -> Result<ExitCode, String> {
    let variable = "SSH_AGENT_PID";
    let text = std::env::var(variable).map_err(|_| format!("{variable} not set, cannot kill agent"))?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 1);
    let pid: i32 = pid.ok_or_else(|| format!("{variable}={text:?}, which is not a good PID"))?;
    let target = Pid::from_raw(pid).ok_or_else(|| format!("{variable}={text:?}, which is not a good PID"))?;
    let ended = rustix::process::pidfd_open(target, PidfdFlags::empty());
    rustix::process::kill_process(target, Signal::TERM).map_err(|error| format!("kill: {error}"))?;
    if let Ok(ended) = ended {
        // So that an agent that is started next does not find this one on its way out; a process that does not end is not waited for long.
        let limit = Timespec { tv_sec: 2, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&limit));
    }
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
        (None, Some(descriptor @ 0..=2)) => {
            Err(format!("--pin-fd {descriptor}: that is a standard stream; use 3 or above"))
        }
        (None, Some(descriptor)) => {
            use std::io::Read as _;
            let fail = |error: std::io::Error| {
                format!("--pin-fd {descriptor}: descriptor {descriptor} cannot be read: {error}")
            };
            // Closed when it was read: neither the agent nor the command has any further business with it.
            let number = i32::try_from(descriptor).unwrap_or(i32::MAX);
            let file = std::fs::File::from(crate::sys::adopt_passed(number).map_err(fail)?);
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

fn lifetime(text: &str) -> Result<Seconds, String> {
    Seconds::parse(text).ok_or_else(|| "Invalid lifetime".to_owned())
}
