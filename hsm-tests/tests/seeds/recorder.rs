//! A relay in front of an agent that keeps what clients say, connection by connection.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

/// What was said on one connection.
#[derive(Clone, Default)]
pub(crate) struct Conversation {
    /// The client's messages, without their lengths.
    pub(crate) requests: Vec<Vec<u8>>,
}

/// A relay that listens until the process ends.
pub(crate) struct Recorder {
    socket: PathBuf,
    conversations: Arc<Mutex<Vec<Conversation>>>,
}

impl Recorder {
    /// Listens at `socket` and passes everything on to the agent at `agent`.
    pub(crate) fn start(socket: &Path, agent: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("bind the recorder's socket");
        let conversations: Arc<Mutex<Vec<Conversation>>> = Arc::default();
        let (kept, agent) = (Arc::clone(&conversations), agent.to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("accept a client");
                let agent = UnixStream::connect(&agent).expect("connect to the agent");
                let number = {
                    let mut kept = kept.lock().expect("the list of conversations");
                    kept.push(Conversation::default());
                    kept.len() - 1
                };
                let kept = Arc::clone(&kept);
                // A client that goes in the middle of a message has said what it had to say.
                thread::spawn(move || relay(client, agent, |request| keep(&kept, number, request)));
            }
        });
        Self { socket: socket.to_owned(), conversations }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What was said since the last time.
    pub(crate) fn take(&self) -> Vec<Conversation> {
        // Places are kept, because connections may still be open that write to theirs.
        self.conversations.lock().expect("the list of conversations").iter_mut().map(std::mem::take).collect()
    }
}

fn keep(kept: &Mutex<Vec<Conversation>>, number: usize, request: Vec<u8>) {
    kept.lock().expect("the list of conversations")[number].requests.push(request);
}

fn relay(mut client: UnixStream, mut agent: UnixStream, keep: impl Fn(Vec<u8>)) -> Option<()> {
    loop {
        let request = receive(&mut client)?;
        // Before the answer, so that a client that has its answer has been recorded.
        keep(request.clone());
        send(&mut agent, &request)?;
        let answer = receive(&mut agent)?;
        send(&mut client, &answer)?;
    }
}

fn receive(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

fn send(stream: &mut UnixStream, message: &[u8]) -> Option<()> {
    let length = u32::try_from(message.len()).ok()?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).ok()
}
