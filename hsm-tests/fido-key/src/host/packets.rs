//! Keys at sockets, for clients in the test's own process: a connection to `NAME.packets` (Unix, sequenced packets) is an open `/dev/hidrawN`.
//!
//! A program sends reports of 64 octets and receives them; every connection gets everything that the key says. The key hangs up when it is unplugged.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io, thread};

use fido_key::packet::REPORT;
use fido_key::{Device, Handle};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, recv,
    send, shutdown, socket_with,
};

use super::Place;

/// Sockets in a folder.
pub(crate) struct Packets {
    directory: PathBuf,
    listeners: HashMap<String, Arc<OwnedFd>>,
}

impl Packets {
    /// No sockets yet.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), listeners: HashMap::new() }
    }
}

impl Place for Packets {
    fn plug(&mut self, name: &str, key: &Device) -> io::Result<PathBuf> {
        let path = self.directory.join(format!("{name}.packets"));
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        bind(&listener, &SocketAddrUnix::new(&path)?)?;
        listen(&listener, 16)?;
        let listener = Arc::new(listener);
        self.listeners.insert(name.to_owned(), listener.clone());
        let key = key.clone();
        thread::spawn(move || {
            while let (Ok(connection), Ok(handle)) = (accept(&listener), key.open()) {
                serve(connection, handle);
            }
        });
        Ok(path)
    }

    fn unplug(&mut self, name: &str) {
        if let Some(listener) = self.listeners.remove(name) {
            // The socket is there, because this place made it.
            let _ = fs::remove_file(self.directory.join(format!("{name}.packets")));
            let _ = shutdown(&listener, Shutdown::Both);
        }
    }
}

fn serve(connection: OwnedFd, handle: Handle) {
    let connection = Arc::new(connection);
    let (key, reports) = handle.split();
    let writer = connection.clone();
    thread::spawn(move || {
        while let Ok(report) = reports.recv() {
            if send(&writer, &report, SendFlags::NOSIGNAL).is_err() {
                break;
            }
        }
        let _ = shutdown(&writer, Shutdown::Both);
    });
    thread::spawn(move || {
        let mut report = [0; REPORT];
        while recv(&connection, &mut report, RecvFlags::empty()).is_ok_and(|(_, length)| length == REPORT) {
            key.send(report);
        }
        let _ = shutdown(&connection, Shutdown::Both);
    });
}
