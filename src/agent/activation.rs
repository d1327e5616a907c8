//! Sockets that a service manager opened (sd_listen_fds(3)).

use std::env;
use std::os::fd::RawFd;
use std::os::unix::net::UnixListener;

use super::socket::AgentSocket;
use crate::sys;

const FIRST_DESCRIPTOR: RawFd = 3;

/// Whether a service manager says that it passes sockets.
pub fn is_announced() -> bool {
    env::var_os("LISTEN_PID").is_some() && env::var_os("LISTEN_FDS").is_some()
}

/// Takes the one socket that was passed.
///
/// # Errors
/// The variables are for another process, announce another number of sockets, or the descriptor is not a listening Unix socket.
pub(super) fn agent_socket() -> Result<AgentSocket, String> {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Err("LISTEN_PID is set for another process".to_owned());
    }
    if number("LISTEN_FDS") != Some(1) {
        return Err("LISTEN_FDS has to be 1: pass one socket".to_owned());
    }
    let socket =
        sys::adopt_passed(FIRST_DESCRIPTOR).map_err(|error| format!("descriptor {FIRST_DESCRIPTOR}: {error}"))?;
    let listener = UnixListener::from(socket);
    let address = listener.local_addr().map_err(|error| format!("descriptor {FIRST_DESCRIPTOR}: {error}"))?;
    let path = address.as_pathname().map(ToOwned::to_owned).unwrap_or_default();
    Ok(AgentSocket { listener, path, owned: false })
}
