//! The connections there are now, and what the latest judgements were, for explanations.
//!
//! Looking leaves no trace: a connection that is explained is looked at through a copy of what is known of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Unknown;
use super::binds::Binds;
use super::classify::Judgement;
use super::connection::Listener;
use super::evidence::Request;
use super::facts::command_line;
use super::ledger::Place;
use super::peer::Peer;
use crate::clock;

/// The judgements that are kept: an `ssh` has gone by the time somebody asks why.
const MOST_JUDGED: usize = 64;

/// What is kept of all connections.
#[derive(Debug, Default)]
pub struct Live(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    connections: BTreeMap<u64, View>,
    judged: VecDeque<Judged>,
    accepted: u64,
}

/// A connection as it is known from outside.
#[derive(Debug, Clone)]
pub struct View {
    pub(super) listener: Arc<Listener>,
    pub(super) peer: Arc<Peer>,
    pub(super) place: Result<Place, Unknown>,
    pub(super) binds: Binds,
    /// When it was accepted, on [`crate::clock`].
    pub since: Duration,
    /// What [`Self::command`] has found.
    command: Option<Arc<str>>,
}

/// A judgement that was made, and what followed.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The connection, by its number since the agent's start.
    pub connection: u64,
    /// The process at the other end, where it is known.
    pub pid: Option<i32>,
    /// Its command line, safe to show; empty when it is not known.
    pub command: Arc<str>,
    /// What the user calls the socket at which it arrived; none for the agent's own.
    pub label: Option<Arc<str>>,
    /// When, on [`crate::clock`].
    pub at: Duration,
    /// What was asked.
    pub request: Request,
    /// What was found.
    pub judgement: Arc<Judgement>,
    /// What followed, in words fit to be shown; none as long as it is open, or when nothing is said of it.
    pub consequence: Option<String>,
}

impl View {
    /// The command line of the process at the other end, safe to show; empty when it is not known.
    fn command(&mut self) -> Arc<str> {
        let peer = &self.peer;
        let find = || {
            let arguments = peer.process.as_ref().ok().and_then(|process| process.arguments.as_ref().ok());
            arguments.map(|arguments| command_line(arguments)).unwrap_or_default().into()
        };
        Arc::clone(self.command.get_or_insert_with(find))
    }
}

impl Live {
    /// The connections there are, oldest first, by their numbers.
    #[must_use]
    pub fn connections(&self) -> Vec<(u64, View)> {
        self.lock().connections.iter().map(|(number, view)| (*number, view.clone())).collect()
    }

    /// The latest judgements, latest first.
    #[must_use]
    pub fn judged(&self) -> Vec<Judged> {
        self.lock().judged.iter().rev().cloned().collect()
    }

    pub(super) fn accepted(&self, listener: &Arc<Listener>, peer: &Arc<Peer>, place: &Result<Place, Unknown>) -> u64 {
        let mut state = self.lock();
        state.accepted += 1;
        let (listener, peer, place) = (Arc::clone(listener), Arc::clone(peer), place.clone());
        let view = View { listener, peer, place, binds: Binds::default(), since: clock::now(), command: None };
        let number = state.accepted;
        state.connections.insert(number, view);
        number
    }

    pub(super) fn bound(&self, connection: u64, binds: &Binds) {
        if let Some(view) = self.lock().connections.get_mut(&connection) {
            view.binds = binds.clone();
        }
    }

    pub(super) fn found(&self, connection: u64, request: &Request, judgement: &Arc<Judgement>) {
        let mut state = self.lock();
        let Some(view) = state.connections.get_mut(&connection) else { return };
        let judged = Judged {
            connection,
            pid: view.peer.process.as_ref().ok().map(|process| process.id.pid),
            command: view.command(),
            label: view.listener.label.clone(),
            at: clock::now(),
            request: request.clone(),
            judgement: Arc::clone(judgement),
            consequence: None,
        };
        if state.judged.len() >= MOST_JUDGED {
            state.judged.pop_front();
        }
        state.judged.push_back(judged);
    }

    pub(super) fn followed(&self, connection: u64, consequence: &str) {
        let mut state = self.lock();
        let latest = state.judged.iter_mut().rev().find(|judged| judged.connection == connection);
        if let Some(judged) = latest {
            judged.consequence = Some(match judged.consequence.take() {
                Some(before) => format!("{before}; {consequence}"),
                None => consequence.to_owned(),
            });
        }
    }

    pub(super) fn ended(&self, connection: u64) {
        self.lock().connections.remove(&connection);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
