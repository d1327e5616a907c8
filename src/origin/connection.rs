//! One connection, from acceptance to its end, and the gathering of evidence for what is asked on it.
//!
//! Evidence is gathered only as far as the judgement hangs on it. What is forwarded by its own saying costs nothing; only a
//! connection that is local as far as can be seen makes us ask `ssh -G` and read `known_hosts`, once.

pub(super) mod gather;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Unknown;
use super::binds::{BindClaim, BindFault, Binds};
use super::classify::{Judgement, Origin};
use super::effective_config::EffectiveConfig;
use super::evidence::{Kind, Program, Request};
use super::hosts::Hosts;
use super::ledger::{Ledger, Place, Socket};
use super::live::{Live, View};
use super::own::Own;
use super::peer::{Lifeline, Peer, Process};
use super::proc::FileId;
use super::server;
use super::setup::{Asked, Configs};
use super::trust::{Role, Trust, TrustedFile};

/// What all connections of an agent share.
#[derive(Debug)]
pub struct Assessor {
    trust: Trust,
    hosts: Arc<Hosts>,
    live: Live,
    configs: Configs,
    ledger: Mutex<Ledger>,
    sockets: Vec<PathBuf>,
    user: u32,
    own: Result<Own, Unknown>,
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
    peer: Arc<Peer>,
    place: Result<Place, Unknown>,
    binds: Binds,
    /// Its number among all; none for a look at a connection from outside, which leaves no trace.
    number: Option<u64>,
    /// What follows from the latest judgement is still to be noted.
    has_open_judgement: bool,
    program: Option<Result<(Program, Arc<TrustedFile>), Unknown>>,
    config: Option<Result<Arc<Asked>, Unknown>>,
    /// Whether the peer's program is the one at its path; found out when a request first hangs on it.
    here: OnceLock<Result<Lifeline, Unknown>>,
}

impl Assessor {
    /// For an agent that trusts these programs, keeps this ledger and listens at `sockets`.
    #[must_use]
    pub fn new(trust: Trust, ledger: Ledger, sockets: Vec<PathBuf>) -> Self {
        Self {
            trust,
            hosts: Arc::default(),
            live: Live::default(),
            configs: Configs::default(),
            ledger: Mutex::new(ledger),
            sockets,
            user: rustix::process::getuid().as_raw(),
            own: Own::look(),
        }
    }

    /// Tells which names hosts may have, since those that `known_hosts` has hashed can only be guessed: the ones that the user's rules name.
    pub fn expect_hosts(&self, names: Vec<String>) {
        self.hosts.expect(names);
    }

    /// Takes in a connection just accepted. To be called for every connection in the order of acceptance, also for those that
    /// never say anything: an `ssh` looks whether there is an agent by connecting once.
    ///
    /// Nothing here holds a descriptor: the connection is over when its server lets go of the socket.
    #[must_use]
    pub fn accept(self: &Arc<Self>, socket: &Socket, listener: &Arc<Listener>) -> Connection {
        let peer = Arc::new(Peer::of(socket));
        let place = match &peer.process {
            Ok(process) => Ok(self.ledger().connected(process.id, socket)),
            Err(unknown) => Err(unknown.clone()),
        };
        let number = Some(self.live.accepted(listener, &peer, &place));
        self.connection(Arc::clone(listener), peer, place, Binds::default(), number)
    }

    /// The connections there are, and the latest judgements.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// A look at a connection from outside: to be explained, not to be served.
    #[must_use]
    pub fn look(self: &Arc<Self>, view: View) -> Connection {
        let View { listener, peer, place, binds, .. } = view;
        self.connection(listener, peer, place, binds, None)
    }

    fn connection(
        self: &Arc<Self>,
        listener: Arc<Listener>,
        peer: Arc<Peer>,
        place: Result<Place, Unknown>,
        binds: Binds,
        number: Option<u64>,
    ) -> Connection {
        Connection {
            assessor: Arc::clone(self),
            listener,
            peer,
            place,
            binds,
            number,
            has_open_judgement: false,
            program: None,
            config: None,
            here: OnceLock::new(),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the peer runs this very program, as the same user and where we run: then it asks for the user who started it.
    fn is_ourselves(&self, peer: &Peer) -> bool {
        let (Ok(process), Ok(own)) = (&peer.process, &self.own) else { return false };
        peer.user == Some(self.user) && own.is_run_by_the_user(process)
    }

    /// The process at the other end, if it runs as the same user and among the same users and processes as we do, and no module started it.
    fn process_here<'a>(&self, peer: &'a Peer) -> Result<&'a Process, Unknown> {
        if peer.user != Some(self.user) {
            return Err(Unknown::new("it runs as another user"));
        }
        let process = peer.process.as_ref().map_err(Clone::clone)?;
        let (theirs, own) = (process.namespaces()?, self.own.as_ref().map_err(Clone::clone)?);
        // Not the mount namespace: a service may have one of its own, and sees the same files for all that.
        if (theirs.user, theirs.pid) != (own.namespaces().user, own.namespaces().pid) {
            return Err(Unknown::new("it runs in a container or another namespace"));
        }
        match own.is_module_s(process) {
            true => Err(Unknown::new("the module of a token started it")),
            false => Ok(process),
        }
    }

    /// Whether a program is trusted, and runs as the same user and among the same users and processes as we do.
    async fn recognise(&self, peer: &Peer) -> Result<(Program, Arc<TrustedFile>), Unknown> {
        let executable = peer.process.as_ref().and_then(|process| process.executable.as_ref()).map_err(Clone::clone)?;
        let file = self.trust.recognise(executable)?;
        let process = self.process_here(peer)?;
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

    /// Notes a step that followed from the latest judgement of a signature or a change, in words fit to be shown, for explanations. Says
    /// nothing of a request that came to its end without a judgement.
    pub fn followed(&self, step: &str) {
        if let Some(number) = self.number.filter(|_| self.has_open_judgement) {
            self.assessor.live.followed(number, step);
        }
    }

    /// Notes what the request came to, and that it is over.
    pub fn concluded(&mut self, end: &str) {
        self.followed(end);
        self.has_open_judgement = false;
    }

    /// Its number among all connections; none for a look from outside.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.number
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
    /// says nothing; and if no module started it, for which no rule about programs is meant.
    ///
    /// # Errors
    /// It is not, or may not be looked at.
    pub fn process_here(&self) -> Result<&Process, Unknown> {
        let process = self.peer.process.as_ref().map_err(Clone::clone)?;
        let lifeline = self.here.get_or_init(|| self.look_here()).as_ref().map_err(Clone::clone)?;
        match lifeline.has_ended() {
            false => Ok(process),
            true => Err(Unknown::new("the process that connected has ended")),
        }
    }

    fn look_here(&self) -> Result<Lifeline, Unknown> {
        let process = self.assessor.process_here(&self.peer)?;
        let executable = process.executable.as_ref().map_err(Clone::clone)?;
        let here = rustix::fs::stat(&executable.path).ok().map(|stat| FileId::of(&stat));
        match here == Some(executable.file) {
            true => process.lifeline(),
            false => Err(Unknown::new("its program was replaced, or lies in another namespace")),
        }
    }

    /// Whether requests on this connection are forwarded by what is known without looking further: by the listener, or by a bind that says
    /// so or is at fault.
    #[must_use]
    pub fn is_forwarded(&self) -> bool {
        self.listener.kind == Kind::Forward || self.binds.claimed_forward() || self.binds.tainted()
    }

    /// Whether this very program is at the other end, asking for the user who started it, and nobody relays to it or through it.
    #[must_use]
    pub fn is_own_program(&self) -> bool {
        self.listener.kind == Kind::Agent && self.binds.untouched() && self.assessor.is_ourselves(&self.peer)
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
            None => self.assessor.configs.of(self.peer.process.as_ref().ok()?),
        }
    }

    fn note(&self, outcome: Result<(), BindFault>) -> Result<(), BindFault> {
        if let Some(number) = self.number {
            self.assessor.live.bound(number, &self.binds);
        }
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

    fn remember(&mut self, request: &Request, judgement: &Arc<Judgement>) {
        let Some(number) = self.number else { return };
        self.has_open_judgement = *request != Request::List;
        self.assessor.live.found(number, request, judgement);
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
        if let Some(number) = self.number {
            self.assessor.live.ended(number);
        }
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
