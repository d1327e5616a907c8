//! A request that nobody has made: the evidence it would come with, and the judgement.
//!
//! What is described is taken as said; what is not is looked up where a real request would have it looked up, in `ssh`'s own
//! configuration and in `known_hosts`, and for the rest an ordinary, well-behaved program on its first connection is supposed. So
//! the answer is the best case: a program that behaves otherwise is trusted less, never more.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::stat;

use super::Unknown;
use super::binds::{BindClaim, BindFault, Binds};
use super::classify::{Judgement, classify};
use super::destination::query;
use super::effective_config::{AgentSocket, EffectiveConfig};
use super::environment::Environment;
use super::evidence::{Evidence, Kind, PayloadFact, Phase, Program, Request, Setup};
use super::known_hosts::{Answer, line_of};
use super::ledger::Standing;
use super::peer::Process;
use super::proc::{Executable, FileId};
use super::setup::{Asked, Sockets};
use super::ssh_argv::SshCommand;
use super::trust::{Role, Trust, TrustedFile};

/// What is described.
#[derive(Debug, Clone, Default)]
pub struct Supposed {
    /// The program that connects: a path.
    pub program: PathBuf,
    /// A process that does, in the place of a program.
    pub process: Option<i32>,
    /// The hosts that the request is forwarded through, the nearest first.
    pub via: Vec<String>,
    /// The host that is logged in to.
    pub host: Option<String>,
    /// The user that is logged in as.
    pub user: Option<String>,
    /// The agent's socket.
    pub socket: Option<PathBuf>,
    /// The sockets at which everything is forwarded.
    pub forward_sockets: Vec<PathBuf>,
}

/// What would be asked, and the judgement.
#[derive(Debug, Clone)]
pub struct Supposition {
    /// What would be asked.
    pub request: Request,
    /// What the connection would be bound to; the keys are made up.
    pub binds: Binds,
    /// The judgement.
    pub judgement: Judgement,
    /// What was supposed and may be otherwise: sentences fit to be shown.
    pub notes: Vec<String>,
}

/// What could be found out about the program.
struct Look {
    executable: Result<Executable, Unknown>,
    arguments: Option<Vec<OsString>>,
    environment: Environment,
    directory: Option<PathBuf>,
    phase: Result<Phase, Unknown>,
}

/// Judges what is described.
///
/// # Errors
/// There is no such process, or a host is missing in the description.
pub async fn suppose(supposed: &Supposed, trust: &Trust) -> Result<Supposition, Unknown> {
    let look = Look::at(supposed)?;
    let recognised = look.executable.as_ref().map_err(Clone::clone).and_then(|executable| trust.recognise(executable));
    let role = recognised.as_ref().ok().map(|file| file.role());
    let mut notes = Vec::new();
    let config = match (&recognised, role) {
        (Ok(file), Some(Role::Ssh)) => Some(look.ask(supposed, file).await?),
        _ => None,
    };
    let program = match &recognised {
        Ok(file) if role == Some(Role::Ssh) => {
            file.version().await.map(|version| Program { role: Role::Ssh, version: Some(version) })
        }
        Ok(file) => Ok(Program { role: file.role(), version: None }),
        Err(unknown) => Err(unknown.clone()),
    };
    let user = supposed.user.clone();
    let user =
        user.or_else(|| config.as_ref().and_then(|config| config.as_ref().ok()).map(|asked| asked.config.user.clone()));
    let request = request(supposed, role, user.unwrap_or_else(|| "you".to_owned()));
    let line_of = |config: &EffectiveConfig| line_of(&config.known_hosts, &config.host_name());
    let first = config.as_ref().and_then(|config| config.as_ref().ok()).and_then(|asked| line_of(&asked.config));
    let announces = role == Some(Role::Ssh);
    if !announces && !supposed.via.is_empty() {
        notes.push("this program does not tell the agent what it forwards, so the agent sees none of the hosts".into());
    }
    let binds = if announces { binds(supposed) } else { Binds::default() };
    let asked = config.as_ref().map(|config| config.as_ref().map_err(Clone::clone));
    let setup = asked.clone().map(|asked| {
        let all: Vec<PathBuf> = supposed.socket.iter().chain(&supposed.forward_sockets).cloned().collect();
        asked.map(|asked| Setup::new(asked, Sockets { this: supposed.socket.as_deref(), all: &all }))
    });
    let mut listener = Kind::Agent;
    if let (Some(Ok(asked)), Some(hop)) = (asked, supposed.via.first()) {
        match &asked.config.forward_agent {
            AgentSocket::None => {
                notes.push(format!("ssh does not forward an agent to {hop:?} unless it is told to (-A, ForwardAgent)"));
            }
            AgentSocket::Path(path) if supposed.forward_sockets.contains(path) => {
                listener = Kind::Forward;
                notes.push("ssh_config forwards the socket for forwarded requests".into());
            }
            _ => {}
        }
    }
    let pin = match first {
        Some(place) => Ok(Answer::Known(place)),
        None => Ok(Answer::Unknown),
    };
    let evidence = Evidence {
        listener,
        label: None,
        binds: &binds,
        request: &request,
        program,
        standing: Ok(standing(supposed, &binds)),
        first_hop_is_local_login: false,
        phase: Some(look.phase.clone()),
        setup,
        pin: config.is_some().then_some(pin),
    };
    let judgement = classify(&evidence);
    if supposed.process.is_none() {
        notes.push(
            "supposed: the process has just been started, and this is its first connection but for what it forwards"
                .into(),
        );
    }
    Ok(Supposition { request, judgement, binds, notes })
}

impl Look {
    fn at(supposed: &Supposed) -> Result<Self, Unknown> {
        let Some(pid) = supposed.process else {
            return Ok(Self {
                executable: executable(&supposed.program),
                arguments: None,
                environment: Environment::own(),
                directory: std::env::current_dir().ok(),
                phase: Ok(Phase { age: Duration::ZERO, listens: false, forked: false, detached: false }),
            });
        };
        let process = Process::of(pid)?;
        Ok(Self {
            executable: process.executable.clone(),
            arguments: process.arguments.as_ref().ok().cloned(),
            environment: process.environment().unwrap_or_default(),
            directory: process.working_directory().ok(),
            phase: process.phase(),
        })
    }

    /// The configuration of the `ssh` that would connect: the process's own, or that of one started for the first host.
    async fn ask(&self, supposed: &Supposed, file: &TrustedFile) -> Result<Result<Asked, Unknown>, Unknown> {
        let version = match file.version().await {
            Ok(version) => version,
            Err(unknown) => return Ok(Err(unknown)),
        };
        let words = match &self.arguments {
            Some(arguments) => arguments.clone(),
            None => {
                let host = supposed.via.first().or(supposed.host.as_ref());
                let host = host.ok_or_else(|| Unknown::new("ssh logs in somewhere: say where with --host or --via"))?;
                // The user of the last host; how ssh is called for a first hop is not described.
                let user = supposed.user.iter().filter(|_| supposed.via.is_empty()).flat_map(|user| ["-l", user]);
                let words = ["ssh"].into_iter().chain(user).chain(["--", host]);
                words.map(OsString::from).collect()
            }
        };
        let command = match SshCommand::parse(&words, version) {
            Ok(command) => command,
            Err(error) => {
                let reason = format!("its command line does not tell where it goes: {error}");
                return Ok(Err(Unknown::new(reason)));
            }
        };
        let config = query(file, &command, &self.environment, self.directory.as_deref()).await;
        Ok(config.map(|config| Asked::new(config, &self.environment)))
    }
}

fn executable(path: &Path) -> Result<Executable, Unknown> {
    let stat = stat(path).map_err(|error| Unknown::new(format!("its program {path:?} cannot be found: {error}")))?;
    Ok(Executable { path: path.to_owned(), file: FileId::of(&stat), owner: stat.st_uid, mode: stat.st_mode })
}

/// What a program of this kind asks for.
fn request(supposed: &Supposed, role: Option<Role>, user: String) -> Request {
    let session_id = session(supposed.via.len());
    let login = || {
        let hostkey = made_up(supposed.host.as_deref().unwrap_or_default());
        Request::Sign(PayloadFact::BoundLogin { user: user.clone(), session_id: session_id.clone(), hostkey })
    };
    match role {
        _ if supposed.host.is_some() => login(),
        Some(Role::Ssh) if !supposed.via.is_empty() => Request::Sign(PayloadFact::SshSig),
        Some(Role::Ssh) => login(),
        Some(Role::Signer) => Request::Sign(PayloadFact::SshSig),
        Some(Role::Manager) => Request::Manage,
        Some(Role::Server) => Request::Sign(PayloadFact::HostKex),
        None if supposed.program.ends_with("sudo") => Request::Sign(PayloadFact::Sudo),
        None => login(),
    }
}

/// The keys are made up: whether the first is the one that is known is answered apart from them.
fn binds(supposed: &Supposed) -> Binds {
    let mut binds = Binds::default();
    let path = supposed.via.iter().map(|host| (host, true)).chain(supposed.host.iter().map(|host| (host, false)));
    for (number, (host, is_forwarding)) in path.enumerate() {
        let (hostkey, session_id) = (made_up(host), session(number));
        let claim = BindClaim { hostkey: &hostkey, session_id: &session_id, signature: b"", is_forwarding };
        // More than can be announced is a fault like any other, and stays in the record.
        let _: Result<(), BindFault> = binds.receive(&claim, |_, _, _| true);
    }
    binds
}

fn standing(supposed: &Supposed, binds: &Binds) -> Standing {
    let first = match supposed.via.is_empty() {
        true => binds.list().first().map(|bind| bind.session_id().to_vec()),
        false => Some(b"own".to_vec()),
    };
    Standing {
        ordinal: Some(if supposed.via.is_empty() { 1 } else { 2 }),
        authenticating: false,
        first_session: first,
        taint: None,
        predates_agent: false,
    }
}

fn session(number: usize) -> Vec<u8> {
    format!("session {number}").into_bytes()
}

fn made_up(host: &str) -> Vec<u8> {
    format!("key of {host}").into_bytes()
}
