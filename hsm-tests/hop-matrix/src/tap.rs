//! A relay of the agent's protocol in this program: something between a client and the agent that passes on what it hears, or most of it.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hsm_tests::Client;

const SESSION_BIND: &[u8] = b"session-bind@openssh.com";

/// What is done with session binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binds {
    /// They are passed on.
    Pass,
    /// They are answered with success and go no further, as if the client had never heard of them.
    Swallow,
}

/// A listening relay.
pub(crate) struct Tap {
    socket: PathBuf,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    /// Listens at `socket` until this program ends.
    pub(crate) fn new(socket: PathBuf, agent: &Path, binds: Binds) -> Self {
        let listener =
            UnixListener::bind(&socket).unwrap_or_else(|error| panic!("listen at {}: {error}", socket.display()));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (agent, all) = (agent.to_owned(), Arc::clone(&heard));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (agent, all) = (agent.clone(), Arc::clone(&all));
                // How a client's connection ends is no news here.
                thread::spawn(move || relay(client, &agent, binds, &all));
            }
        });
        Self { socket, heard }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The session binds that came by, the messages as they were.
    pub(crate) fn binds(&self) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|message| is_bind(message)).cloned().collect()
    }
}

fn relay(mut client: UnixStream, agent: &Path, binds: Binds, heard: &Mutex<Vec<Vec<u8>>>) -> io::Result<()> {
    let mut agent = UnixStream::connect(agent)?;
    loop {
        let message = receive(&mut client)?;
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(message.clone());
        if is_bind(&message) && binds == Binds::Swallow {
            send(&mut client, &[Client::SUCCESS])?;
            continue;
        }
        send(&mut agent, &message)?;
        let answer = receive(&mut agent)?;
        send(&mut client, &answer)?;
    }
}

fn is_bind(message: &[u8]) -> bool {
    let name = message.strip_prefix(&[Client::EXTENSION]).and_then(|rest| rest.get(4..));
    name.is_some_and(|name| name.starts_with(SESSION_BIND))
}

fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut message = vec![0; length];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn send(stream: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(message)
}
