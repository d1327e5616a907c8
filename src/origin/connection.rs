//! One connection, from acceptance to its end, and the gathering of evidence for what is asked on it.
//!
//! Evidence is gathered only as far as the judgement hangs on it. What is forwarded by its own saying costs nothing; only a
//! connection that is local as far as can be seen makes us ask `ssh -G` and read `known_hosts`, once.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Unknown;
use super::binds::{BindClaim, BindFault, Binds};
use super::classify::{Judgement, Origin, classify, needed};
use super::destination;
use super::effective_config::EffectiveConfig;
use super::evidence::{Evidence, Kind, Need, Phase, Program, Request, Setup};
use super::hosts::Hosts;
use super::known_hosts::{Answer, HostKey};
use super::ledger::{Ledger, Place, Standing};
use super::peer::{Peer, Process};
use super::proc::{FileId, Namespaces, ProcDir};
use super::server;
use super::setup::{Asked, Configs, Sockets};
use super::ssh_argv::SshCommand;
use super::trust::{Role, Trust, TrustedFile};

/// How long reading `known_hosts` may take.
const READING_TIME: Duration = Duration::from_secs(2);

/// What all connections of an agent share.
#[derive(Debug)]
pub struct Assessor {
    trust: Trust,
    hosts: Arc<Hosts>,
    configs: Configs,
    ledger: Mutex<Ledger>,
    sockets: Vec<PathBuf>,
    user: u32,
    namespaces: Result<Namespaces, Unknown>,
}

/// Where connections arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What arrives there.
    pub kind: Kind,
    /// The socket's path; none for a socket without one.
    pub path: Option<PathBuf>,
    /// What the user calls it; none for the agent's own socket.
    pub label: Option<Arc<str>>,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    assessor: Arc<Assessor>,
    listener: Arc<Listener>,
    peer: Peer,
    place: Result<Place, Unknown>,
    binds: Binds,
    program: Option<Result<(Program, Arc<TrustedFile>), Unknown>>,
    config: Option<Result<Arc<Asked>, Unknown>>,
}

impl Assessor {
    /// For an agent that trusts these programs, keeps this ledger and listens at `sockets`.
    #[must_use]
    pub fn new(trust: Trust, ledger: Ledger, sockets: Vec<PathBuf>) -> Self {
        Self {
            trust,
            hosts: Arc::default(),
            configs: Configs::default(),
            ledger: Mutex::new(ledger),
            sockets,
            user: rustix::process::getuid().as_raw(),
            namespaces: ProcDir::own().and_then(|own| own.namespaces()),
        }
    }

    /// Tells which names hosts may have, since those that `known_hosts` has hashed can only be guessed: the ones that the user's rules name.
    pub fn expect_hosts(&self, names: Vec<String>) {
        self.hosts.expect(names);
    }

    /// Takes in a connection just accepted. To be called for every connection in the order of acceptance, also for those that
    /// never say anything: an `ssh` looks whether there is an agent by connecting once.
    ///
    /// The connection holds one or two descriptors of its own, one of them of the socket; it is to be dropped with the socket,
    /// or the client will not see it closed.
    #[must_use]
    pub fn accept(self: &Arc<Self>, socket: impl AsFd, listener: &Arc<Listener>) -> Connection {
        let peer = Peer::of(&socket);
        let place = match &peer.process {
            Ok(process) => Ok(self.ledger().connected(process.id, &socket)),
            Err(unknown) => Err(unknown.clone()),
        };
        Connection {
            assessor: Arc::clone(self),
            listener: Arc::clone(listener),
            peer,
            place,
            binds: Binds::default(),
            program: None,
            config: None,
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a program is trusted, and runs as the same user and among the same users and processes as we do.
    async fn recognise(&self, peer: &Peer) -> Result<(Program, Arc<TrustedFile>), Unknown> {
        let process = peer.process.as_ref().map_err(Clone::clone)?;
        if peer.user != Some(self.user) {
            return Err(Unknown::new("it runs as another user"));
        }
        let file = self.trust.recognise(process.executable.as_ref().map_err(Clone::clone)?)?;
        let theirs = process.namespaces()?;
        let ours = self.namespaces.as_ref().map_err(Clone::clone)?;
        if (theirs.user, theirs.pid) != (ours.user, ours.pid) {
            return Err(Unknown::new("it runs in a container or another namespace"));
        }
        let version = match file.role() {
            Role::Ssh => Some(file.version().await?),
            Role::Server => {
                server::is_before_login(process.arguments.as_ref().map_err(Clone::clone)?).map(|()| None)?
            }
            Role::Signer | Role::Manager => None,
        };
        Ok((Program { role: file.role(), version }, file))
    }
}

impl Connection {
    /// Takes in a bind; see [`Binds::receive`].
    ///
    /// # Errors
    /// The bind is at fault.
    pub fn bind(
        &mut self,
        claim: &BindClaim<'_>,
        check: impl FnOnce(&[u8], &[u8], &[u8]) -> bool,
    ) -> Result<(), BindFault> {
        let outcome = self.binds.receive(claim, check);
        self.note(outcome)
    }

    /// Takes in a bind that could not be read; see [`Binds::receive_malformed`].
    ///
    /// # Errors
    /// Always.
    pub fn bind_malformed(&mut self) -> Result<(), BindFault> {
        let outcome = self.binds.receive_malformed();
        self.note(outcome)
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What the connection has been bound to.
    #[must_use]
    pub fn binds(&self) -> &Binds {
        &self.binds
    }

    /// Where it arrived.
    #[must_use]
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// What is known of hosts.
    pub(super) fn hosts(&self) -> &Arc<Hosts> {
        &self.assessor.hosts
    }

    /// The process that asks, if its program is the file at its path as we see it: run by the same user, and in no container, in which a path
    /// says nothing.
    ///
    /// # Errors
    /// It is not, or may not be looked at.
    pub fn process_here(&self) -> Result<&Process, Unknown> {
        if self.peer.user != Some(self.assessor.user) {
            return Err(Unknown::new("it runs as another user"));
        }
        let process = self.process()?;
        let executable = process.executable.as_ref().map_err(Clone::clone)?;
        let here = rustix::fs::stat(&executable.path).ok().map(|stat| FileId::of(&stat));
        let (theirs, ours) = (process.namespaces()?, self.assessor.namespaces.clone()?);
        // Not the mount namespace: a service may have one of its own, and sees the same files for all that.
        match (theirs.user, theirs.pid) == (ours.user, ours.pid) && here == Some(executable.file) {
            true => Ok(process),
            false => Err(Unknown::new("it runs in a container or another namespace, or its program was replaced")),
        }
    }

    /// Whether requests on this connection are forwarded by what is known without looking further: by the listener, or by a bind that says
    /// so or is at fault.
    #[must_use]
    pub fn is_forwarded(&self) -> bool {
        self.listener.kind == Kind::Forward || self.binds.claimed_forward() || self.binds.tainted()
    }

    /// Whether the peer may be a server whose host keys lie here: root's, for no other process has a server's host keys, and a
    /// connection that nothing was announced on, for servers announce nothing.
    #[must_use]
    pub fn may_be_host_key_agent(&self) -> bool {
        self.peer.user == Some(0) && self.listener.kind == Kind::Agent && self.binds.untouched()
    }

    /// The peer's own configuration, if it is an `ssh` and a judgement has needed it on this connection.
    #[must_use]
    pub fn config(&self) -> Option<&EffectiveConfig> {
        self.config.as_ref()?.as_ref().ok().map(|asked| &asked.config)
    }

    /// The peer's own configuration, if a judgement has needed it on this connection or an earlier one of the process.
    pub(super) fn config_seen(&self) -> Option<Arc<Asked>> {
        match &self.config {
            Some(asked) => asked.as_ref().ok().cloned(),
            None => self.assessor.configs.of(self.process().ok()?),
        }
    }

    /// Judges where a request comes from, looking only at what matters.
    pub async fn judge(&mut self, request: &Request) -> Judgement {
        self.judge_with(request, needed).await
    }

    /// Judges where a request comes from, looking at everything there is to look at, for explanations.
    pub async fn explain(&mut self, request: &Request) -> Judgement {
        self.judge_with(request, |evidence| match (&evidence.phase, &evidence.setup, &evidence.pin) {
            (None, _, _) => Some(Need::Phase),
            (_, None, _) => Some(Need::Setup),
            (_, _, None) => Some(Need::Pin),
            _ => None,
        })
        .await
    }

    async fn judge_with(&mut self, request: &Request, need: impl Fn(&Evidence<'_>) -> Option<Need>) -> Judgement {
        self.look_at_program().await;
        let (mut phase, mut setup, mut pin) = (None, None, None);
        loop {
            let evidence =
                Evidence { phase: phase.clone(), setup: setup.clone(), pin: pin.clone(), ..self.evidence(request) };
            match need(&evidence) {
                Some(Need::Phase) => phase = Some(self.phase()),
                Some(Need::Setup) => setup = Some(self.setup().await),
                Some(Need::Pin) => pin = Some(self.pin().await),
                None => {
                    let judgement = classify(&evidence);
                    self.remember(&judgement);
                    return judgement;
                }
            }
        }
    }

    pub(super) fn evidence<'a>(&'a self, request: &'a Request) -> Evidence<'a> {
        let first_session = self.binds.list().first().map(|bind| bind.session_id());
        let program = self
            .program
            .as_ref()
            .map(|program| program.as_ref().map(|(program, _)| program.clone()).map_err(Clone::clone));
        let (standing, first_hop_is_local_login) = self.standing(first_session);
        Evidence {
            listener: self.listener.kind,
            binds: &self.binds,
            request,
            program: program.unwrap_or_else(|| Err(Unknown::new("its program was not looked at"))),
            standing,
            first_hop_is_local_login,
            phase: None,
            setup: None,
            pin: None,
        }
    }

    fn standing(&self, first_session: Option<&[u8]>) -> (Result<Standing, Unknown>, bool) {
        let ledger = self.assessor.ledger();
        let standing = self.place.as_ref().map(|place| ledger.standing(place)).map_err(Clone::clone);
        (standing, first_session.is_some_and(|session_id| ledger.is_local_login(session_id)))
    }

    async fn look_at_program(&mut self) {
        if self.program.is_none() {
            self.program = Some(self.assessor.recognise(&self.peer).await);
        }
    }

    fn process(&self) -> Result<&Process, Unknown> {
        self.peer.process.as_ref().map_err(Clone::clone)
    }

    fn phase(&self) -> Result<Phase, Unknown> {
        let process = self.process()?;
        let stat = process.stat_now()?;
        Ok(Phase {
            age: process.age(),
            listens: process.listens()?,
            forked: stat.forked_without_exec(),
            detached: stat.session == process.id.pid && stat.terminal == 0,
        })
    }

    async fn setup(&mut self) -> Result<Setup, Unknown> {
        if self.config.is_none() {
            self.config = Some(self.ask_ssh().await);
        }
        let asked = self.config.as_ref().ok_or_else(|| Unknown::new("its configuration was not looked at"))?;
        let sockets = Sockets { this: self.listener.path.as_deref(), all: &self.assessor.sockets };
        asked.as_ref().map(|asked| Setup::new(asked, sockets)).map_err(Clone::clone)
    }

    async fn ask_ssh(&self) -> Result<Arc<Asked>, Unknown> {
        let process = self.process()?;
        if let Some(asked) = self.assessor.configs.of(process) {
            return Ok(asked);
        }
        let looked = self.program.as_ref().ok_or_else(|| Unknown::new("its program was not looked at"))?;
        let (program, file) = looked.as_ref().map_err(Clone::clone)?;
        let version = program.version.ok_or_else(|| Unknown::new("it is not an ssh"))?;
        let arguments = process.arguments.as_ref().map_err(Clone::clone)?;
        let command = SshCommand::parse(arguments, version)
            .map_err(|error| Unknown::new(format!("its command line does not tell where it goes: {error}")))?;
        let environment = process.environment()?;
        let directory = process.working_directory().ok();
        let config = destination::query(file, &command, &environment, directory.as_deref()).await?;
        Ok(self.assessor.configs.keep(process, Asked::new(config, &environment)))
    }

    async fn pin(&self) -> Result<Answer, Unknown> {
        let config = self.config().ok_or_else(|| Unknown::new("its destination is not known"))?;
        let bind = self.binds.list().first().ok_or_else(|| Unknown::new("no session has been announced"))?;
        let key = HostKey::from_wire(bind.hostkey())?;
        let (files, name) = (config.known_hosts.clone(), config.host_name());
        let hosts = Arc::clone(&self.assessor.hosts);
        read_within_time(move || hosts.find(&files, &name, &key)).await
    }

    fn note(&self, outcome: Result<(), BindFault>) -> Result<(), BindFault> {
        if let Ok(place) = &self.place {
            let mut ledger = self.assessor.ledger();
            match (outcome, self.binds.list()) {
                (Err(fault), _) => ledger.tainted(place, fault),
                // Only a login's own bind says which session the process is about.
                (Ok(()), [login]) if !self.binds.claimed_forward() => {
                    ledger.bound(place, login.session_id());
                }
                (Ok(()), _) => {}
            }
        }
        outcome
    }

    fn remember(&self, judgement: &Judgement) {
        if let (Origin::LocalDirect, Ok(place), [login]) = (judgement.origin, &self.place, self.binds.list()) {
            self.assessor.ledger().found_local(place, login.session_id());
            if let Some(config) = self.config() {
                self.assessor.hosts.meet(login.hostkey(), config.names());
            }
        }
        tracing::debug!(origin = %judgement.origin, reason = %judgement.reason, "judged");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Ok(place) = &self.place {
            self.assessor.ledger().disconnected(place);
        }
    }
}

/// Reads `known_hosts` on another thread, so that nobody waits for a slow disk but who asked.
pub(super) async fn read_within_time<A: Send + 'static>(
    read: impl FnOnce() -> A + Send + 'static,
) -> Result<A, Unknown> {
    match tokio::time::timeout(READING_TIME, tokio::task::spawn_blocking(read)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Unknown::new("known_hosts could not be read")),
        Err(_) => Err(Unknown::new(format!("known_hosts could not be read within {READING_TIME:?}"))),
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
