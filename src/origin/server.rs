//! OpenSSH's server as a client: with `HostKeyAgent` (sshd_config(5)) it has its host keys here, and asks for the signature over
//! the exchange hash of each key exchange.
//!
//! A server relays as well: a session of root's may forward this agent's socket to wherever root logged in from (`ssh -L`), by
//! the very process that did the key exchange. But the connection for host keys is made before anybody has logged in, and a
//! forwarded channel after, and in between the server changes the title that stands in the place of its arguments. Measured
//! with 9.2: `/usr/sbin/sshd …` at the start, `sshd: [accepted]` for a new client, `sshd: root` or `sshd: root@pts/0` after.
//!
//! Only an agent of root's can look at a server at all; for any other a server is a program that it cannot see.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use super::Unknown;

/// Where distributions have the server: the listener, and since 9.8 the program for each client.
pub const PROGRAMS: [&str; 3] =
    ["/usr/sbin/sshd", "/usr/lib/openssh/sshd-session", "/usr/libexec/openssh/sshd-session"];

/// Succeeds when a server with these arguments serves nobody who has logged in.
///
/// # Errors
/// It may, and relay for them.
pub fn is_before_login(arguments: &[OsString]) -> Result<(), Unknown> {
    let title = arguments.first().map(|title| title.as_bytes()).unwrap_or_default();
    match title.starts_with(b"/") || title.ends_with(b": [accepted]") {
        true => Ok(()),
        false => Err(Unknown::new("an ssh server in a session of somebody who has logged in may relay for them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_believed_until_somebody_has_logged_in() {
        let before = |title: &str| is_before_login(&[title.into(), String::new().into()]).is_ok();
        assert!(before("/usr/sbin/sshd") && before("sshd: [accepted]") && before("sshd-session: [accepted]"));
        for title in ["sshd: root", "sshd: root@notty", "sshd: root@pts/0", "sshd: root [priv]", "sshd", ""] {
            assert!(!before(title), "{title:?}");
        }
        assert!(is_before_login(&[]).is_err());
    }
}
