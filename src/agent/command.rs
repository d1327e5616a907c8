//! What `hardkey agent` does once its command line is understood.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use super::process::{self, Companion, End, Side, Signals, SocketFile};
use super::socket::AgentSocket;
use super::{Agent, Providers, Settings, log};
use crate::backend::pin::PinSource;
use crate::backend::pkcs11::{Claimants, ModuleSpec, discover};
use crate::config::Config;
use crate::consent::{Consent, DIALOG_TIMEOUT, Surroundings};
use crate::keyring::Keyring;
use crate::pattern::PatternList;
use crate::shell::Shell;

/// The modules that `ssh-add -s` may name when `-P` says nothing, as with stock.
pub const DEFAULT_ALLOWED: &str = "/usr/lib*/*,/usr/local/lib*/*";

/// Everything the command line says.
pub struct Options {
    /// `-a`
    pub socket: Option<PathBuf>,
    /// The syntax of the printed lines.
    pub shell: Shell,
    /// `-D` or `-d`
    pub foreground: bool,
    /// `-d`
    pub debug: bool,
    /// `-P`
    pub allowed: PatternList,
    /// `-t` and `-E`
    pub settings: Settings,
    /// The configuration.
    pub config: Config,
    /// `--pin-file`, `--pin-fd`
    pub pin: PinSource,
    /// Whether modules are looked for when the configuration does not say.
    pub discover: bool,
    /// A socket of its own even without a command, as ssh-agent does.
    pub private_socket: bool,
    /// The command to run with the agent, if any.
    pub command: Vec<OsString>,
}

/// Runs the agent in the way that was asked for.
///
/// # Errors
/// A text for the user: what failed and what to do.
pub fn run(options: Options) -> Result<ExitCode, String> {
    let surroundings = Surroundings::read();
    let socket = match &options.socket {
        Some(path) => AgentSocket::at(path),
        None if options.private_socket || !options.command.is_empty() => AgentSocket::private(),
        None => AgentSocket::well_known(),
    }
    .map_err(|error| error.to_string())?;
    let path = std::path::absolute(&socket.path).unwrap_or_else(|_| socket.path.clone());
    let shell = options.shell;
    if options.foreground {
        let file = SocketFile::new(path.clone());
        log::to_stderr(options.debug);
        let announce = move || {
            print(&(shell.set("SSH_AUTH_SOCK", &path) + &shell.echo_pid(std::process::id())))
                .map(|()| None)
                .map_err(io::Error::other)
        };
        return Ok(live(options, &surroundings, socket, announce, file));
    }
    match process::split_off(&socket.listener).map_err(|error| format!("cannot start: {error}"))? {
        Side::Agent(origin) => {
            let file = SocketFile::new(path);
            log::to_file();
            let has_command = !options.command.is_empty();
            let announce = move || Ok(Some(origin.ready()).filter(|_| has_command));
            Ok(live(options, &surroundings, socket, announce, file))
        }
        Side::Caller { agent } if options.command.is_empty() => {
            let pid = agent.to_string();
            let lines =
                [shell.set("SSH_AUTH_SOCK", &path), shell.set("SSH_AGENT_PID", pid.as_ref()), shell.echo_pid(agent)];
            print(&lines.concat())?;
            Ok(ExitCode::SUCCESS)
        }
        Side::Caller { agent } => Err(become_command(&options.command, &path, agent)),
    }
}

/// Replaces this process by the command, so that its process id, parent, signals and exit status are its own.
fn become_command(command: &[OsString], socket: &std::path::Path, agent: u32) -> String {
    use std::os::unix::process::CommandExt as _;
    let Some((program, arguments)) = command.split_first() else { return "no command".to_owned() };
    let error = std::process::Command::new(program)
        .args(arguments)
        .env("SSH_AUTH_SOCK", socket)
        .env("SSH_AGENT_PID", agent.to_string())
        .exec();
    format!("{}: {error}", program.display())
}

fn live(
    options: Options,
    surroundings: &Surroundings,
    socket: AgentSocket,
    announce: impl FnOnce() -> io::Result<Option<Companion>>,
    file: SocketFile,
) -> ExitCode {
    let result = process::harden().and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let end = runtime.block_on(serve(options, surroundings, socket, announce));
        // A module that hangs must not keep the agent.
        runtime.shutdown_background();
        end
    });
    drop(file);
    match result {
        Ok(End::Signal(number)) => {
            tracing::info!("exiting on signal {number}");
            ExitCode::from(2)
        }
        Ok(End::Companion) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the agent cannot go on: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    options: Options,
    surroundings: &Surroundings,
    socket: AgentSocket,
    announce: impl FnOnce() -> io::Result<Option<Companion>>,
) -> io::Result<End> {
    let mut signals = Signals::register()?;
    let companion = announce()?;
    let prompt = &options.config.prompt;
    let timeout = prompt.timeout.map_or(DIALOG_TIMEOUT, |timeout| std::time::Duration::from_secs(timeout.0.into()));
    let consent = Arc::new(Consent::new(surroundings, prompt.pinentry.clone(), timeout));
    let keyring = Arc::new(Mutex::new(Keyring::default()));
    let modules = modules(&options);
    let (providers, mut changes) =
        Providers::new(Arc::clone(&keyring), Arc::clone(&consent) as _, options.allowed.clone(), modules);
    let agent = Agent::new(options.settings, consent, keyring, providers);
    let follow = async {
        agent.providers.start().await;
        while let Some(module) = changes.recv().await {
            agent.providers.changed(&module);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        end = signals.end(companion, options.foreground) => end,
        result = agent.serve(socket.listener) => result.map(|()| End::Companion),
        () = agent.expire_keys() => Ok(End::Companion),
        () = follow => Ok(End::Companion),
    }
}

/// The modules of the configuration, then those found that it does not name.
pub(crate) fn modules(options: &Options) -> Vec<ModuleSpec> {
    specs(&options.config, &options.pin, options.discover)
}

/// The modules that a configuration asks for. All of them share one given PIN, and with it the question whose it is.
pub fn specs(config: &Config, pin: &PinSource, discover_by_default: bool) -> Vec<ModuleSpec> {
    let given = Claimants::default();
    let mut specs: Vec<ModuleSpec> = config
        .modules
        .iter()
        .map(|module| {
            let claimants = if module.pin.is_none() { given.clone() } else { Claimants::default() };
            ModuleSpec { claimants, ..module.spec(pin) }
        })
        .collect();
    if config.discover.unwrap_or(discover_by_default) {
        let named: Vec<PathBuf> = specs.iter().filter_map(|spec| std::fs::canonicalize(&spec.path).ok()).collect();
        let user = crate::paths::config_home().map(|home| home.join("pkcs11/modules"));
        let found = discover::modules(user.as_deref()).into_iter().filter(|path| !named.contains(path));
        specs.extend(found.map(|path| ModuleSpec {
            path,
            pin: pin.clone(),
            claimants: given.clone(),
            ..ModuleSpec::default()
        }));
    }
    specs
}

fn print(lines: &str) -> Result<(), String> {
    let mut out = io::stdout();
    out.write_all(lines.as_bytes()).and_then(|()| out.flush()).map_err(|error| format!("cannot print: {error}"))
}
