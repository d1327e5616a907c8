//! Sockets that a service manager opened (sd_listen_fds(3)), told apart by their names (`FileDescriptorName=` in systemd.socket(5)).

use std::env;
use std::os::fd::RawFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use super::forwards::{FORWARD, Forward};
use super::socket::AgentSocket;
use crate::sys;

const FIRST_DESCRIPTOR: RawFd = 3;
/// More than this were never meant for us.
const MOST_SOCKETS: u32 = 64;

/// The sockets that were passed.
pub(super) struct Passed {
    /// The agent's own.
    pub(super) own: AgentSocket,
    /// Those at which everything is forwarded.
    pub(super) forwards: Vec<Forward>,
}

/// Whether a service manager says that it passes sockets.
pub fn is_announced() -> bool {
    env::var_os("LISTEN_PID").is_some() && env::var_os("LISTEN_FDS").is_some()
}

/// Takes the sockets that were passed: the one named `forward` and those named like a label of the configuration are for what is forwarded,
/// and the one that is left is the agent's own, whatever its name.
///
/// # Errors
/// The variables are for another process, it cannot be told which socket is the agent's own, or a descriptor is not a listening Unix socket.
pub(super) fn sockets(labels: &[Arc<str>]) -> Result<Passed, String> {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Err("LISTEN_PID is set for another process".to_owned());
    }
    let count = number("LISTEN_FDS").filter(|count| (1..=MOST_SOCKETS).contains(count));
    let count = count.ok_or("LISTEN_FDS has to be the number of sockets that are passed")?;
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let (mut own, mut forwards) = (None, Vec::new());
    for descriptor in (FIRST_DESCRIPTOR..).take(count as usize) {
        let name = names.next().unwrap_or_default();
        let socket = adopt(descriptor)?;
        match labels.iter().find(|label| &***label == name) {
            Some(label) => forwards.push(Forward { socket, label: Some(Arc::clone(label)) }),
            None if name == FORWARD => forwards.push(Forward { socket, label: None }),
            None if own.is_none() => own = Some(socket),
            None => {
                let reason = "of two sockets that are passed either could be the agent's own; name the other one \
                              forward, or like a label of [[listen.extra]] (FileDescriptorName= in its unit)";
                return Err(reason.to_owned());
            }
        }
    }
    let own = own.ok_or("all sockets that are passed are for forwarded requests; pass the agent's own, too")?;
    Ok(Passed { own, forwards })
}

fn adopt(descriptor: RawFd) -> Result<AgentSocket, String> {
    let failed = |error: std::io::Error| format!("descriptor {descriptor}: {error}");
    let listener = UnixListener::from(sys::adopt_passed(descriptor).map_err(failed)?);
    let address = listener.local_addr().map_err(failed)?;
    let path = address.as_pathname().map(ToOwned::to_owned).unwrap_or_default();
    Ok(AgentSocket { listener, path, owned: false })
}
