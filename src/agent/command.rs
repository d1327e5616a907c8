//! What `hardkey agent` does once its command line is understood.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::process::{self, Side, SocketFile};
use super::running::Begun;
use super::socket::AgentSocket;
use super::{Settings, activation, log, running};
use crate::backend::pin::PinSource;
use crate::backend::pkcs11::{Claimants, ModuleSpec, discover};
use crate::config::Config;
use crate::consent::Surroundings;
use crate::pattern::PatternList;
use crate::shell::Shell;

/// The modules that `ssh-add -s` may name when `-P` says nothing, as with stock.
pub const DEFAULT_ALLOWED: &str = "/usr/lib*/*,/usr/local/lib*/*";

/// Everything the command line says.
pub struct Options {
    /// Where clients find the agent.
    pub place: Place,
    /// The syntax of the printed lines.
    pub shell: Shell,
    /// `-D` or `-d`
    pub foreground: bool,
    /// `-d`
    pub debug: bool,
    /// `-P`
    pub allowed: PatternList,
    /// `-t`, `-E`, `-O`
    pub settings: Settings,
    /// The configuration.
    pub config: Config,
    /// Where it is, or would be.
    pub config_file: Option<PathBuf>,
    /// Whether HUP reads it again; else it ends the agent, as with stock.
    pub reloads: bool,
    /// `--pin-file`, `--pin-fd`
    pub pin: PinSource,
    /// Whether modules are looked for when the configuration does not say.
    pub discover: bool,
    /// The command to run with the agent, if any.
    pub command: Vec<OsString>,
}

/// Where the agent's socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `-a`
    At(PathBuf),
    /// The user's fixed place.
    WellKnown,
    /// A name of its own in the user's folder for sockets.
    Private,
    /// ssh-agent's: a name of its own below `~/.ssh/agent`, after stale sockets there were removed if so wished.
    InHome {
        /// Remove stale sockets first.
        clean: bool,
    },
    /// ssh-agent's before 10.1 (`-T`): a folder of its own below `$TMPDIR`.
    OldStyle,
    /// The service manager opened it.
    Activated,
}

impl Place {
    fn open(&self) -> Result<AgentSocket, String> {
        let socket = match self {
            Self::At(path) => AgentSocket::at(path),
            Self::WellKnown => AgentSocket::well_known(),
            Self::Private => AgentSocket::private(),
            Self::InHome { clean } => AgentSocket::in_home(*clean),
            Self::OldStyle => AgentSocket::old_style(),
            Self::Activated => return Err("the service manager passes its sockets to the foreground only".to_owned()),
        };
        socket.map_err(|error| error.to_string())
    }

    /// Whether an earlier agent may have listened at the same path.
    pub(super) const fn is_reused(&self) -> bool {
        matches!(self, Self::At(_) | Self::WellKnown | Self::Activated)
    }
}

/// Runs the agent in the way that was asked for.
///
/// # Errors
/// A text for the user: what failed and what to do.
pub fn run(options: Options) -> Result<ExitCode, String> {
    let surroundings = Surroundings::read();
    let shell = options.shell;
    if options.foreground {
        log::to_stderr(options.debug);
        // Before the runtime opens descriptors of its own, which could get the number of one that was promised and not passed.
        let passed = match options.place {
            Place::Activated => Some(activation::sockets(&options.config.listen.labels())?),
            _ => None,
        };
        return running::live(options, &surroundings, |options| {
            let Some(passed) = passed else {
                let socket = options.place.open()?;
                print(&(shell.set("SSH_AUTH_SOCK", &socket.path) + &shell.echo_pid(std::process::id())))?;
                return Ok(Begun { socket, forwards: Vec::new(), companion: None });
            };
            Ok(Begun { socket: passed.own, forwards: passed.forwards, companion: None })
        });
    }
    if options.place == Place::WellKnown
        && let Some((path, agent)) = AgentSocket::running_at_well_known()
    {
        // Every shell may say `eval $(hardkey agent)`: the first one starts it, the others find it.
        print(&lines(shell, &path, agent))?;
        return Ok(ExitCode::SUCCESS);
    }
    let socket = options.place.open()?;
    let path = socket.path.clone();
    // In case that the agent ends before it takes care of the file itself.
    let file = SocketFile::new(path.clone(), options.place == Place::OldStyle);
    match process::split_off(&socket.listener).map_err(|error| format!("cannot start: {error}"))? {
        Side::Agent(origin) => {
            log::to_file();
            running::live(options, &surroundings, |options| {
                let companion = Some(origin.ready(!options.command.is_empty()));
                Ok(Begun { socket, forwards: Vec::new(), companion })
            })
        }
        Side::Caller { agent, line } if options.command.is_empty() => {
            file.leave();
            print(&lines(shell, &path, agent))?;
            line.wanted();
            Ok(ExitCode::SUCCESS)
        }
        Side::Caller { agent, .. } => {
            file.leave();
            Err(become_command(&options.command, &path, agent))
        }
    }
}

fn lines(shell: Shell, path: &Path, agent: u32) -> String {
    let pid = agent.to_string();
    [shell.set("SSH_AUTH_SOCK", path), shell.set("SSH_AGENT_PID", pid.as_ref()), shell.echo_pid(agent)].concat()
}

/// Replaces this process by the command, so that its process id, parent, signals and exit status are its own.
fn become_command(command: &[OsString], socket: &Path, agent: u32) -> String {
    use std::os::unix::process::CommandExt as _;
    let Some((program, arguments)) = command.split_first() else { return "no command".to_owned() };
    let error = std::process::Command::new(program)
        .args(arguments)
        .env("SSH_AUTH_SOCK", socket)
        .env("SSH_AGENT_PID", agent.to_string())
        .exec();
    format!("{}: {error}", program.display())
}

/// The modules that a configuration asks for. All of them share one given PIN, and with it the question whose it is.
pub fn specs(config: &Config, pin: &PinSource, discover_by_default: bool) -> Vec<ModuleSpec> {
    let found = match config.discover.unwrap_or(discover_by_default) {
        true => {
            let named: Vec<PathBuf> =
                config.modules.iter().filter_map(|module| std::fs::canonicalize(&module.path).ok()).collect();
            let user = crate::paths::config_home().map(|home| home.join("pkcs11/modules"));
            discover::modules(user.as_deref()).into_iter().filter(|path| !named.contains(path)).collect()
        }
        false => Vec::new(),
    };
    let sharing = config.modules.iter().filter(|module| module.pin.is_none()).count() + found.len();
    let mut given = Claimants::of_modules(sharing);
    let mut specs: Vec<ModuleSpec> = config.modules.iter().map(|module| module.spec(pin)).collect();
    for (spec, _) in specs.iter_mut().zip(&config.modules).filter(|(_, module)| module.pin.is_none()) {
        spec.claimants = given.next().unwrap_or_default();
    }
    specs.extend(found.into_iter().zip(given).map(|(path, claimants)| ModuleSpec {
        path,
        pin: pin.clone(),
        claimants,
        ..ModuleSpec::default()
    }));
    specs
}

fn print(lines: &str) -> Result<(), String> {
    let mut out = io::stdout();
    out.write_all(lines.as_bytes()).and_then(|()| out.flush()).map_err(|error| format!("cannot print: {error}"))
}
