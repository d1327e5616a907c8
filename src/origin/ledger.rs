//! What each client process has done so far.
//!
//! An `ssh` uses exactly one connection for its own login, opened before any channel can exist; every later one serves somebody
//! behind it. So the number of a connection, counted per process, says more about where it comes from than anything it says
//! itself. A living process is never forgotten: forgetting would make its next connection a first one.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::binds::BindFault;
use super::peer::ProcessId;

/// More living processes than this are not followed, and then not trusted.
const MOST_PROCESSES: usize = 4096;
/// Below this many processes nobody looks which have gone.
const FEWEST_TO_SWEEP: usize = 64;
/// Logins that are remembered so that what is forwarded through them is recognised.
const MOST_LOGINS: usize = 1024;

/// What is known of the processes that connected.
pub struct Ledger {
    processes: HashMap<ProcessId, Entry>,
    sweep_at: usize,
    logins: VecDeque<Vec<u8>>,
    trusted_since: Option<u64>,
}

/// A connection's socket. Whoever serves the connection holds it; here it is only looked at as long as that lasts.
pub type Socket = Arc<dyn AsFd + Send + Sync>;

#[derive(Default)]
struct Entry {
    connections: u32,
    /// The first connection, as long as it is open.
    first: Option<Weak<dyn AsFd + Send + Sync>>,
    first_session: Option<Vec<u8>>,
    first_is_local: bool,
    taint: Option<BindFault>,
}

/// A connection's place among those of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The process.
    pub process: ProcessId,
    /// The number of the connection, from 1; none when the process is one too many to be followed.
    pub ordinal: Option<u32>,
    /// Whether, when this connection was made, the process was still busy with a login that had been judged local.
    pub authenticating: bool,
}

/// What a connection's process has to show for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The number of the connection among those of its process, from 1; none when it is not known.
    pub ordinal: Option<u32>,
    /// See [`Place::authenticating`].
    pub authenticating: bool,
    /// The session that the process's first connection was bound to.
    pub first_session: Option<Vec<u8>>,
    /// A fault of a bind on any of its connections.
    pub taint: Option<BindFault>,
    /// Whether the process is older than an agent that is not the first of the login session.
    pub predates_agent: bool,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Ledger({} processes)", self.processes.len())
    }
}

impl Ledger {
    /// An empty ledger. Processes that started before `trusted_since`, in clock ticks since boot, may have done anything; see
    /// [`leave_marker`](super::restart::leave_marker).
    #[must_use]
    pub fn new(trusted_since: Option<u64>) -> Self {
        Self { processes: HashMap::new(), sweep_at: FEWEST_TO_SWEEP, logins: VecDeque::new(), trusted_since }
    }

    /// Enters a connection. To be called in the order of acceptance, for every connection, also those that say nothing.
    pub fn connected(&mut self, process: ProcessId, socket: &Socket) -> Place {
        self.sweep();
        let unknown = Place { process, ordinal: None, authenticating: false };
        if self.processes.len() >= MOST_PROCESSES && !self.processes.contains_key(&process) {
            return unknown;
        }
        let entry = self.processes.entry(process).or_default();
        // Whether the first connection is still open is for the kernel to say: it has seen the client close it before it saw the
        // client connect again, while our own reading of its end may come late.
        let authenticating = entry.first_is_local && entry.first.as_ref().is_some_and(is_open);
        if entry.connections == 0 {
            entry.first = Some(Arc::downgrade(socket));
        }
        entry.connections = entry.connections.saturating_add(1);
        Place { ordinal: Some(entry.connections), authenticating, ..unknown }
    }

    /// Notes the session that a connection has been bound to.
    pub fn bound(&mut self, place: &Place, session_id: &[u8]) {
        if let Some(entry) = self.first(place) {
            entry.first_session.get_or_insert_with(|| session_id.to_vec());
        }
    }

    /// Notes that a bind on one of the process's connections was at fault.
    pub fn tainted(&mut self, place: &Place, fault: BindFault) {
        if let Some(entry) = self.processes.get_mut(&place.process) {
            entry.taint.get_or_insert(fault);
        }
    }

    /// Notes that a connection, bound to this session, has been judged local: the login of a trusted `ssh` to where it was sent.
    pub fn found_local(&mut self, place: &Place, session_id: &[u8]) {
        if let Some(entry) = self.first(place) {
            entry.first_is_local = true;
        }
        if !self.is_local_login(session_id) {
            self.logins.truncate(MOST_LOGINS - 1);
            self.logins.push_front(session_id.to_vec());
        }
    }

    /// What the process of this connection has to show for itself now.
    #[must_use]
    pub fn standing(&self, place: &Place) -> Standing {
        let entry = self.processes.get(&place.process);
        Standing {
            ordinal: place.ordinal,
            authenticating: place.authenticating,
            first_session: entry.and_then(|entry| entry.first_session.clone()),
            taint: entry.and_then(|entry| entry.taint),
            // A tick is long enough for a process to start on either side of the agent's start within it.
            predates_agent: self.trusted_since.is_some_and(|since| place.process.start <= since),
        }
    }

    /// Whether this session is a login that was judged local: the first hop of what is forwarded through it is then proved, even
    /// when the `ssh` has gone on in the background as another process.
    #[must_use]
    pub fn is_local_login(&self, session_id: &[u8]) -> bool {
        self.logins.iter().any(|own| own == session_id)
    }

    fn first(&mut self, place: &Place) -> Option<&mut Entry> {
        self.processes.get_mut(&place.process).filter(|_| place.ordinal == Some(1))
    }

    /// Drops the processes that have gone, each time their number has doubled.
    fn sweep(&mut self) {
        if self.processes.len() >= self.sweep_at {
            self.processes.retain(|process, _| process.lives());
            self.processes.shrink_to_fit();
            self.sweep_at = (2 * self.processes.len()).clamp(FEWEST_TO_SWEEP, MOST_PROCESSES);
        }
    }
}

/// Whether the other end of a connection has not been closed.
fn is_open(socket: &Weak<dyn AsFd + Send + Sync>) -> bool {
    let Some(socket) = socket.upgrade() else { return false };
    let mut events = [PollFd::new(&socket, PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut events, Some(&at_once)) == Ok(0)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use super::*;
    use crate::origin::proc::ProcDir;

    #[test]
    fn connections_are_counted_per_process() {
        let mut ledger = Ledger::new(None);
        let (socket, _other) = pair();
        let mut ordinal = |process| ledger.connected(process, &socket).ordinal;
        let (one, two) = (ProcessId { pid: 1, start: 5 }, ProcessId { pid: 1, start: 6 });
        assert_eq!([ordinal(one), ordinal(one), ordinal(two)], [Some(1), Some(2), Some(1)]);
    }

    #[test]
    fn the_first_connection_s_session_stays_whatever_later_ones_are_bound_to() {
        let mut ledger = Ledger::new(None);
        let (socket, _other) = pair();
        let first = ledger.connected(OURSELVES, &socket);
        let second = ledger.connected(OURSELVES, &socket);
        ledger.bound(&second, b"relayed");
        assert_eq!(ledger.standing(&second).first_session, None);
        ledger.bound(&first, b"own");
        ledger.bound(&first, b"again");
        assert_eq!(ledger.standing(&second).first_session.as_deref(), Some(&b"own"[..]));
    }

    #[test]
    fn a_fault_on_one_connection_is_held_against_all_of_the_process() {
        let mut ledger = Ledger::new(None);
        let (socket, _other) = pair();
        let (first, second) = (ledger.connected(OURSELVES, &socket), ledger.connected(OURSELVES, &socket));
        ledger.tainted(&second, BindFault::BadSignature);
        assert_eq!(ledger.standing(&first).taint, Some(BindFault::BadSignature));
    }

    #[test]
    fn a_process_authenticates_until_it_has_closed_the_connection_of_its_login() {
        let mut ledger = Ledger::new(None);
        let (socket, other) = pair();
        let first = ledger.connected(OURSELVES, &socket);
        assert!(!ledger.connected(OURSELVES, &socket).authenticating, "nobody has judged the first one yet");
        ledger.found_local(&first, b"session");
        assert!(ledger.connected(OURSELVES, &socket).authenticating);
        // The client has closed it, and we have not yet read its end.
        drop(other);
        assert!(!ledger.connected(OURSELVES, &socket).authenticating);
    }

    #[test]
    fn a_process_whose_login_s_connection_was_dropped_here_does_not_authenticate() {
        let mut ledger = Ledger::new(None);
        let (first_socket, _other) = pair();
        let (socket, _another) = pair();
        let first = ledger.connected(OURSELVES, &first_socket);
        ledger.found_local(&first, b"session");
        assert!(ledger.connected(OURSELVES, &socket).authenticating);
        drop(first_socket);
        assert!(!ledger.connected(OURSELVES, &socket).authenticating);
    }

    #[test]
    fn the_ledger_keeps_no_socket_open() {
        let mut ledger = Ledger::new(None);
        let (socket, mut other) = pair();
        ledger.connected(OURSELVES, &socket);
        drop(socket);
        assert_eq!(other.read(&mut [0]).expect("end of file"), 0);
    }

    #[test]
    fn sessions_of_local_logins_are_remembered_the_latest_longest() {
        let mut ledger = Ledger::new(None);
        let (socket, _other) = pair();
        let first = ledger.connected(OURSELVES, &socket);
        for number in 0..=MOST_LOGINS {
            ledger.found_local(&first, &number.to_be_bytes());
        }
        assert!(!ledger.is_local_login(&0_usize.to_be_bytes()));
        assert!(ledger.is_local_login(&1_usize.to_be_bytes()) && ledger.is_local_login(&MOST_LOGINS.to_be_bytes()));
    }

    #[test]
    fn processes_older_than_a_restarted_agent_are_told() {
        let (socket, _other) = pair();
        let predates = |since, start| {
            let mut ledger = Ledger::new(since);
            let place = ledger.connected(ProcessId { pid: 1, start }, &socket);
            ledger.standing(&place).predates_agent
        };
        assert!(predates(Some(100), 99) && predates(Some(100), 100));
        assert!(!predates(Some(100), 101) && !predates(None, 1));
    }

    #[test]
    fn processes_that_have_gone_are_dropped_and_living_ones_never() {
        let mut ledger = Ledger::new(None);
        let (socket, _other) = pair();
        let mut child = Command::new("sleep").arg("600").spawn().expect("sleep");
        let pid = i32::try_from(child.id()).expect("pid");
        let start = ProcDir::open(pid).and_then(|directory| directory.stat()).expect("state").start;
        let living = ProcessId { pid, start };
        ledger.connected(living, &socket);
        for start in 0..10 * u64::try_from(FEWEST_TO_SWEEP).expect("small") {
            ledger.connected(ProcessId { pid, start }, &socket);
            assert!(ledger.processes.len() <= FEWEST_TO_SWEEP + 1);
        }
        assert_eq!(ledger.connected(living, &socket).ordinal, Some(2));
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    #[test]
    fn one_process_too_many_is_not_followed() {
        let mut ledger = Ledger::new(None);
        let (socket, _other) = pair();
        ledger.sweep_at = usize::MAX;
        for start in 0..u64::try_from(MOST_PROCESSES).expect("small") {
            ledger.processes.insert(ProcessId { pid: 1, start }, Entry::default());
        }
        assert_eq!(ledger.connected(OURSELVES, &socket).ordinal, None);
        assert_eq!(ledger.connected(ProcessId { pid: 1, start: 0 }, &socket).ordinal, Some(1));
    }

    fn pair() -> (Socket, UnixStream) {
        let (socket, other) = UnixStream::pair().expect("pair");
        (Arc::new(socket), other)
    }

    const OURSELVES: ProcessId = ProcessId { pid: 2, start: 3 };
}
