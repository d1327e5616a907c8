//! Which other programs are connected to `pcscd`, so that whoever is told that a card is in use is told by whom.
//!
//! `pcscd` does not say. The kernel tells everybody which sockets are connected to which (sock_diag(7)), and the owner of a process which
//! of its descriptors they are (proc(5)). Processes of other users, and those that hide, stay unnamed; the text says so.

use std::collections::HashSet;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// The programs that may have the card.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Holders {
    /// Name and process id of each that can be told.
    named: Vec<(String, u32)>,
    /// There are more, which the kernel does not tell this user about.
    more: bool,
}

impl fmt::Display for Holders {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<String> = self.named.iter().map(|(name, pid)| format!("{name} (pid {pid})")).collect();
        if self.more || names.is_empty() {
            names.push("a program that hides, or another user's".to_owned());
        }
        match &names[..] {
            [one] => out.write_str(one),
            several => write!(out, "one of: {}", several.join(", ")),
        }
    }
}

impl Holders {
    /// Looks for the programs that are connected to the service at this socket, without this one and the processes it started. Looks
    /// through `/proc`, so not for the thread that serves.
    pub(super) fn of(service: &Path) -> Self {
        let own = own_children();
        let Some(mut sockets) = clients(service) else { return Self { named: scdaemons(), more: true } };
        let (mut named, mut own_found) = (Vec::new(), 0);
        for pid in processes() {
            let held: Vec<u64> = descriptors(pid).filter(|socket| sockets.contains(socket)).collect();
            if held.is_empty() {
                continue;
            }
            sockets.retain(|socket| !held.contains(socket));
            match pid == std::process::id() || own.contains(&pid) {
                true => own_found += 1,
                false => named.push((name_of(pid), pid)),
            }
        }
        // A connection that has ended meanwhile is nobody's.
        if let (false, Some(still)) = (sockets.is_empty(), clients(service)) {
            sockets.retain(|socket| still.contains(socket));
        }
        // Workers hide, too: what nobody is found for may be theirs.
        let more = named.is_empty() || sockets.len() > own.len() - own_found.min(own.len());
        if named.is_empty() {
            named = scdaemons();
        }
        Self { named, more }
    }
}

/// The sockets, by number, at the other ends of those that the service has accepted.
fn clients(service: &Path) -> Option<HashSet<u64>> {
    let bound = std::fs::metadata(service).ok()?.ino();
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    );
    let socket = socket.ok()?;
    rustix::net::send(&socket, &diagnosis::request(), SendFlags::empty()).ok()?;
    let mut found = HashSet::new();
    let mut buffer = vec![0; 1 << 16];
    while let Some(length) = receive(&socket, &mut buffer) {
        match diagnosis::read(&buffer[..length], bound, &mut found) {
            diagnosis::Rest::Follows => {}
            diagnosis::Rest::None => return Some(found),
            diagnosis::Rest::Refused => return None,
        }
    }
    None
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Option<usize> {
    let (length, _) = rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()).ok()?;
    (length > 0).then_some(length)
}

/// What is asked of the kernel about Unix sockets, and what it answers (linux/unix_diag.h).
mod diagnosis {
    use std::collections::HashSet;

    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    /// `NLM_F_REQUEST | NLM_F_DUMP`
    const REQUEST_ALL: u16 = 0x301;
    const NLMSG_ERROR: u16 = 2;
    const NLMSG_DONE: u16 = 3;
    const AF_UNIX: u8 = 1;
    /// `UDIAG_SHOW_VFS | UDIAG_SHOW_PEER`: the file it is bound to, and the socket at the other end.
    const SHOW: u32 = 2 | 4;
    const UNIX_DIAG_VFS: u16 = 1;
    const UNIX_DIAG_PEER: u16 = 2;
    const HEADER: usize = 16;
    const MESSAGE: usize = 16;

    pub(super) enum Rest {
        Follows,
        None,
        Refused,
    }

    pub(super) fn request() -> Vec<u8> {
        let mut request = Vec::with_capacity(HEADER + 24);
        request.extend(40_u32.to_ne_bytes());
        request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        request.extend(REQUEST_ALL.to_ne_bytes());
        request.extend([0; 8]);
        request.extend([AF_UNIX, 0, 0, 0]);
        request.extend(u32::MAX.to_ne_bytes());
        request.extend(0_u32.to_ne_bytes());
        request.extend(SHOW.to_ne_bytes());
        request.extend([0; 8]);
        request
    }

    /// Takes the peers of those sockets out of an answer that are bound to the file with this number.
    pub(super) fn read(mut answer: &[u8], bound: u64, peers: &mut HashSet<u64>) -> Rest {
        while let (Some(length), Some(kind)) = (u32_at(answer, 0), u16_at(answer, 4)) {
            match kind {
                NLMSG_DONE => return Rest::None,
                NLMSG_ERROR => return Rest::Refused,
                _ => {}
            }
            let length = length as usize;
            let Some(message) = answer.get(HEADER + MESSAGE..length) else { return Rest::Refused };
            let (file, peer) = attributes(message);
            // The kernel tells the lower half of the file's number.
            if let (Some(file), Some(peer)) = (file, peer)
                && file == bound as u32
            {
                peers.insert(u64::from(peer));
            }
            answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Rest::Follows
    }

    fn attributes(mut message: &[u8]) -> (Option<u32>, Option<u32>) {
        let (mut file, mut peer) = (None, None);
        while let (Some(length), Some(kind)) = (u16_at(message, 0), u16_at(message, 2)) {
            match kind {
                UNIX_DIAG_VFS => file = u32_at(message, 4),
                UNIX_DIAG_PEER => peer = u32_at(message, 4),
                _ => {}
            }
            if length < 4 {
                break;
            }
            message = message.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        }
        (file, peer)
    }

    fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
        octets.get(at..at + 4).and_then(|octets| octets.try_into().ok()).map(u32::from_ne_bytes)
    }

    fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
        octets.get(at..at + 2).and_then(|octets| octets.try_into().ok()).map(u16::from_ne_bytes)
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The numbers of the sockets that a process has open, as far as this user may know.
fn descriptors(pid: u32) -> impl Iterator<Item = u64> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

fn name_of(pid: u32) -> String {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    crate::text::escape(name.trim_ascii_end())
}

fn own_children() -> HashSet<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    processes().filter(|pid| parent(*pid) == Some(std::process::id())).collect()
}

/// gnupg's program for cards, of whichever user.
fn scdaemons() -> Vec<(String, u32)> {
    processes().map(|pid| (name_of(pid), pid)).filter(|(name, _)| name == "scdaemon").collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_client_of_a_service_is_found_by_the_service_s_socket() {
        let folder = std::env::temp_dir().join(format!("hardkey-holders-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("service");
        let listener = UnixListener::bind(&path).expect("a service");
        let client = UnixStream::connect(&path).expect("a client");
        let _accepted = listener.accept().expect("accepted");
        let sockets = clients(&path);
        std::fs::remove_dir_all(&folder).expect("remove the folder");
        let inode = rustix::fs::fstat(&client).expect("a socket").st_ino;
        assert_eq!(sockets, Some(HashSet::from([inode])));
        assert!(descriptors(std::process::id()).any(|socket| socket == inode));
    }

    #[test]
    fn who_is_not_known_for_certain_is_not_said_to_be() {
        let holders = |named: &[(&str, u32)], more| {
            let named = named.iter().map(|(name, pid)| ((*name).to_owned(), *pid)).collect();
            Holders { named, more }.to_string()
        };
        assert_eq!(holders(&[("scdaemon", 12)], false), "scdaemon (pid 12)");
        assert_eq!(holders(&[("scdaemon", 12), ("x", 13)], false), "one of: scdaemon (pid 12), x (pid 13)");
        assert!(holders(&[("scdaemon", 12)], true).starts_with("one of: scdaemon (pid 12), a program"));
        assert_eq!(holders(&[], false), "a program that hides, or another user's");
    }
}
