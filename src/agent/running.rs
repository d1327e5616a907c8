//! The agent at work: rooms composed, listeners served, until there is a reason to end.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::account;
use super::command::{Options, Place, specs};
use super::forwards::{self, Forward};
use super::policies::Policies;
use super::process::{self, Companion, End, Signals, SocketFile};
use super::reload::{self, Reload};
use super::socket::{self, AgentSocket};
use super::{Agent, Providers};
use crate::audit::Audit;
use crate::consent::{Consent, DIALOG_TIMEOUT, Surroundings};
use crate::keyring::Keyring;
use crate::origin::connection::{Assessor, Listener};
use crate::origin::evidence::Kind;
use crate::origin::ledger::Ledger;
use crate::origin::restart::leave_marker;
use crate::origin::trust::{Role, Trust};
use crate::policy::Preset;

/// Who waits for an agent to start has had its first answer by then.
const STARTING: Duration = Duration::from_millis(100);

/// What an agent begins with.
pub(super) struct Begun {
    /// The agent's own socket.
    pub(super) socket: AgentSocket,
    /// Sockets for forwarded requests that it was given.
    pub(super) forwards: Vec<Forward>,
    /// The command that it goes with.
    pub(super) companion: Option<Companion>,
}

/// Serves until the end. `begin` is called once signals are received, and gives what the agent begins with.
///
/// # Errors
/// The agent could not begin; a text for the user.
pub(super) fn live(
    options: Options,
    surroundings: &Surroundings,
    begin: impl FnOnce(&Options) -> Result<Begun, String>,
) -> Result<ExitCode, String> {
    let cannot = |error: io::Error| format!("cannot start: {error}");
    process::harden().map_err(cannot)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let end = runtime.block_on(async {
        let signals = Signals::register().map_err(cannot)?;
        let begun = begin(&options)?;
        begun.socket.claim();
        let owned = begun.socket.owned;
        let _file = owned.then(|| SocketFile::new(begun.socket.path.clone(), options.place == Place::OldStyle));
        let end = serve(options, surroundings, begun, signals).await.map_err(cannot)?;
        Ok::<_, String>((end, owned))
    });
    // A module that hangs must not keep the agent.
    runtime.shutdown_background();
    match end? {
        // A service manager that opened the socket ends its services by TERM, and means no failure by it.
        (End::Signal(number), false) if number == rustix::process::Signal::TERM.as_raw() => Ok(ExitCode::SUCCESS),
        (End::Signal(number), _) => {
            tracing::info!("exiting on signal {number}");
            Ok(ExitCode::from(2))
        }
        (End::Companion, _) => Ok(ExitCode::SUCCESS),
    }
}

async fn serve(options: Options, surroundings: &Surroundings, begun: Begun, mut signals: Signals) -> io::Result<End> {
    let Begun { socket, forwards, companion } = begun;
    if options.config.preset == Preset::Openssh {
        tracing::warn!("preset openssh is on: forwarded requests are signed without consent, as stock ssh-agent does");
    }
    let prompt = &options.config.prompt;
    let timeout = prompt.timeout.map_or(DIALOG_TIMEOUT, |timeout| Duration::from_secs(timeout.0.into()));
    let consent = Arc::new(Consent::new(surroundings, prompt.pinentry.clone(), timeout));
    let keyring = Arc::new(Mutex::new(Keyring::default()));
    let modules = specs(&options.config, &options.pin, options.discover);
    let certificates = options.config.certificates.folder();
    let (providers, mut changes) =
        Providers::new(Arc::clone(&keyring), Arc::clone(&consent) as _, options.allowed.clone(), modules, certificates);
    let forwards = forwards::open(&options, forwards).map_err(io::Error::other)?;
    let sockets = std::iter::once(&socket).chain(forwards.iter().map(|forward| &forward.socket));
    let paths = sockets.map(|socket| socket.path.clone()).collect();
    let assessor = assessor(&options, &socket.path, paths)?;
    let audit = Arc::new(Audit::start(&options.config.audit));
    let _recording = Recording(Arc::clone(&audit));
    providers.refused_pins().tell(account::of_refused_pins(Arc::clone(&audit)));
    let policies = Arc::new(Policies::new(reload::policy_of(&options.config)));
    let reload = Reload::new(options.config_file.clone(), Arc::clone(&policies), Arc::clone(&assessor));
    let keys: Vec<PathBuf> = options.config.fido.keys.iter().map(|key| key.0.clone()).collect();
    let agent = Agent::new(options.settings, policies, consent, assessor, keyring, providers, audit);
    agent.add_security_keys(&keys);
    let own_files = forwards.iter().map(|forward| &forward.socket).filter(|socket| socket.owned);
    let _files: Vec<SocketFile> = own_files.map(|socket| SocketFile::new(socket.path.clone(), false)).collect();
    for Forward { socket, label } in forwards {
        tracing::info!("listening at {} for forwarded requests", socket.path.display());
        let (agent, place) = (Arc::clone(&agent), Listener { kind: Kind::Forward, path: Some(socket.path), label });
        tokio::spawn(async move {
            if let Err(error) = agent.serve(socket.listener, place).await {
                tracing::error!("listener for forwarded requests ended: {error}");
            }
        });
    }
    tracing::info!("listening at {}", socket.path.display());
    let place = Listener { kind: Kind::Agent, path: Some(socket.path), label: None };
    let follow = async {
        agent.providers.start().await;
        while let Some(module) = changes.recv().await {
            agent.providers.changed(&module);
        }
        std::future::pending::<()>().await;
    };
    // Where a terminal's end would end the agent it still does, and where ssh-agent would end.
    let on_hang_up = || {
        let reloads = options.reloads && !process::has_terminal();
        if reloads {
            reload.on_demand();
            agent.providers.release();
            agent.providers.read_certificates_again();
        }
        reloads
    };
    tokio::select! {
        end = signals.end(companion, options.foreground, || agent.remove_all(), on_hang_up) => end,
        () = reload.follow() => Ok(End::Companion),
        result = agent.serve(socket.listener, place) => result.map(|()| End::Companion),
        () = agent.expire_keys() => Ok(End::Companion),
        () = agent.clean_up_after_crowds() => Ok(End::Companion),
        () = follow => Ok(End::Companion),
        () = agent.follow_session() => Ok(End::Companion),
    }
}

/// Sees to it that what was decided is written before the agent ends.
struct Recording(Arc<Audit>);

impl Drop for Recording {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What judges where requests come from. At a path where an agent may have been before, processes older than this one are not trusted to
/// be where they were then.
fn assessor(options: &Options, socket: &Path, sockets: Vec<PathBuf>) -> io::Result<Arc<Assessor>> {
    let (trust, problems) = Trust::usual(&options.config.trust.ssh());
    problems.iter().for_each(|problem| tracing::info!("{problem}"));
    // Asked for their version early, so that the first login does not wait for the answer, or miss it on a busy machine; but whoever waits
    // for the agent to start shall not wait for that.
    let programs: Vec<_> = trust.programs().filter(|program| program.role() == Role::Ssh).collect();
    tokio::spawn(async move {
        tokio::time::sleep(STARTING).await;
        for program in programs {
            if let Err(problem) = program.version().await {
                tracing::debug!("{problem}");
            }
        }
    });
    let trusted_since = match options.place.is_reused() {
        true => leave_marker(&socket::restart_marker(socket)?)?,
        false => None,
    };
    Ok(Arc::new(Assessor::new(trust, Ledger::new(trusted_since), sockets)))
}
