//! Ports for servers that cannot be told to choose one themselves.

use std::net::TcpListener;

use crate::wait::{SOON, until_some};

/// Two ports in a row that nobody uses, as far as can be told.
pub(crate) fn two_in_a_row() -> u16 {
    let taken = |port: u16| TcpListener::bind(("127.0.0.1", port));
    let pair = || {
        let first = taken(0).ok()?;
        let port = first.local_addr().ok()?.port();
        taken(port.checked_add(1)?).ok().map(|_| port)
    };
    until_some(SOON, pair).expect("two free ports")
}
