//! An agent that signs everything with one key and records where it believes each request to come from.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use hardkey::origin::binds::BindClaim;
use hardkey::origin::classify::{Judgement, Origin};
use hardkey::origin::connection::{Assessor, Connection, Listener};
use hardkey::origin::evidence::{Kind, PayloadFact, Request};
use hardkey::origin::facts::Facts;
use hardkey::origin::ledger::{Ledger, Socket};
use hardkey::origin::trust::Trust;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const EXTENSION_FAILURE: u8 = 28;

/// A running agent.
pub(crate) struct Recorder {
    pub(crate) agent: PathBuf,
    pub(crate) forward: PathBuf,
    key: Arc<Ed25519KeyPair>,
    records: Arc<Mutex<Vec<Record>>>,
}

/// A request and what it was taken for.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) request: Request,
    pub(crate) judgement: Arc<Judgement>,
    pub(crate) facts: Facts,
    /// The keys that the client's configuration names.
    pub(crate) named: Vec<Vec<u8>>,
}

impl Recorder {
    /// Starts an agent with two sockets in `directory`.
    pub(crate) fn start(directory: &Path) -> Self {
        let recorder = Self {
            agent: directory.join("agent.sock"),
            forward: directory.join("forward.sock"),
            key: Arc::new(Ed25519KeyPair::generate().expect("key")),
            records: Arc::default(),
        };
        let tools = ["/usr/bin/ssh-keygen", "/usr/bin/ssh-add"].map(PathBuf::from);
        let (trust, problems) = Trust::open(&["/usr/bin/ssh".into()], &tools);
        assert!(problems.is_empty(), "{problems:?}");
        let sockets = vec![recorder.agent.clone(), recorder.forward.clone()];
        let assessor = Arc::new(Assessor::new(trust, Ledger::new(None), sockets.clone()));
        let listeners = sockets.map_kinds().map(|(path, kind)| {
            let socket = std::os::unix::net::UnixListener::bind(&path).expect("bind");
            socket.set_nonblocking(true).expect("nonblocking");
            (socket, Arc::new(Listener { kind, path: Some(path), label: None }))
        });
        let (key, records) = (Arc::clone(&recorder.key), Arc::clone(&recorder.records));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async move {
                let [one, two] = listeners.map(|(socket, listener)| {
                    let socket = UnixListener::from_std(socket).expect("listener");
                    accept(socket, listener, Arc::clone(&assessor), Arc::clone(&key), Arc::clone(&records))
                });
                tokio::join!(one, two);
            });
        });
        recorder
    }

    /// The key, as a line for `authorized_keys`.
    pub(crate) fn public_key(&self) -> String {
        use base64ct::{Base64, Encoding as _};
        format!("ssh-ed25519 {} recorder\n", Base64::encode_string(&public_blob(&self.key)))
    }

    /// What was asked since the last time, in order.
    pub(crate) fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.records.lock().expect("records"))
    }
}

impl Record {
    /// The request in a word and the class, as tests compare them.
    pub(crate) fn short(&self) -> (&'static str, Origin) {
        let word = match &self.request {
            Request::List => "list",
            Request::Manage => "manage",
            Request::Sign(PayloadFact::BoundLogin { .. }) => "bound-login",
            Request::Sign(PayloadFact::Login { .. }) => "login",
            Request::Sign(PayloadFact::SshSig) => "sshsig",
            Request::Sign(_) => "raw",
        };
        (word, self.judgement.origin)
    }
}

trait MapKinds {
    fn map_kinds(self) -> [(PathBuf, Kind); 2];
}

impl MapKinds for Vec<PathBuf> {
    fn map_kinds(self) -> [(PathBuf, Kind); 2] {
        let [agent, forward] = <[PathBuf; 2]>::try_from(self).expect("two sockets");
        [(agent, Kind::Agent), (forward, Kind::Forward)]
    }
}

async fn accept(
    socket: UnixListener,
    listener: Arc<Listener>,
    assessor: Arc<Assessor>,
    key: Arc<Ed25519KeyPair>,
    records: Arc<Mutex<Vec<Record>>>,
) {
    loop {
        let (stream, _) = socket.accept().await.expect("accept");
        let held: Socket = Arc::new(stream.as_fd().try_clone_to_owned().expect("a descriptor"));
        let connection = assessor.accept(&held, &listener);
        let (key, records) = (Arc::clone(&key), Arc::clone(&records));
        tokio::spawn(async move {
            let _open_as_long = held;
            // A client that goes in the middle of a message is no concern of the test's.
            _ = serve(stream, connection, &key, &records).await;
        });
    }
}

async fn serve(
    mut stream: UnixStream,
    mut connection: Connection,
    key: &Ed25519KeyPair,
    records: &Mutex<Vec<Record>>,
) -> std::io::Result<()> {
    loop {
        let length = stream.read_u32().await?;
        let mut message = vec![0; length as usize];
        stream.read_exact(&mut message).await?;
        let reply = answer(&message, &mut connection, key, records).await;
        stream.write_u32(u32::try_from(reply.len()).expect("short")).await?;
        stream.write_all(&reply).await?;
    }
}

async fn answer(
    message: &[u8],
    connection: &mut Connection,
    key: &Ed25519KeyPair,
    records: &Mutex<Vec<Record>>,
) -> Vec<u8> {
    let (kind, body) = message.split_first().expect("a type");
    let (request, reply) = match kind {
        11 => (Request::List, [&[12, 0, 0, 0, 1], &string(&public_blob(key))[..], &string(b"recorder")].concat()),
        13 => {
            let data = Fields(body).skip().string().expect("data");
            let signature = [string(b"ssh-ed25519"), string(key.sign(data).as_ref())].concat();
            (Request::Sign(payload(data)), [&[14], &string(&signature)[..]].concat())
        }
        27 => return vec![extension(body, connection)],
        17..=26 => (Request::Manage, vec![SUCCESS]),
        _ => return vec![FAILURE],
    };
    let judgement = connection.judge(&request).await;
    let facts = connection.facts(&request, &judgement).await;
    let named = connection.named_keys().await;
    records.lock().expect("records").push(Record { request, judgement, facts, named });
    reply
}

fn extension(body: &[u8], connection: &mut Connection) -> u8 {
    let mut fields = Fields(body);
    if fields.string() != Some(b"session-bind@openssh.com") {
        return FAILURE;
    }
    let mut claim = || {
        Some(BindClaim {
            hostkey: fields.string()?,
            session_id: fields.string()?,
            signature: fields.string()?,
            is_forwarding: *fields.0.first()? != 0,
        })
    };
    let outcome = match claim() {
        Some(claim) => connection.bind(&claim, ed25519_signed),
        None => connection.bind_malformed(),
    };
    outcome.map_or(EXTENSION_FAILURE, |()| SUCCESS)
}

fn ed25519_signed(hostkey: &[u8], session_id: &[u8], signature: &[u8]) -> bool {
    let key = Fields(hostkey).skip().string();
    let raw = Fields(signature).skip().string();
    key.zip(raw).is_some_and(|(key, raw)| UnparsedPublicKey::new(&ED25519, key).verify(session_id, raw).is_ok())
}

/// What the octets are, as far as these tests need it.
fn payload(data: &[u8]) -> PayloadFact {
    if data.starts_with(b"SSHSIG") {
        return PayloadFact::SshSig;
    }
    login(data).unwrap_or(PayloadFact::Raw)
}

fn login(data: &[u8]) -> Option<PayloadFact> {
    let mut fields = Fields(data);
    let session_id = fields.string()?.to_vec();
    fields.0 = fields.0.strip_prefix(&[50])?;
    let user = String::from_utf8(fields.string()?.to_vec()).ok()?;
    let bound = fields.skip().string()? == b"publickey-hostbound-v00@openssh.com";
    fields.0 = fields.0.strip_prefix(&[1])?;
    let rest = fields.skip().skip();
    Some(match bound {
        true => PayloadFact::BoundLogin { user, session_id, hostkey: rest.string()?.to_vec() },
        false => PayloadFact::Login { user, session_id },
    })
}

fn public_blob(key: &Ed25519KeyPair) -> Vec<u8> {
    [string(b"ssh-ed25519"), string(key.public_key().as_ref())].concat()
}

fn string(octets: &[u8]) -> Vec<u8> {
    [&u32::try_from(octets.len()).expect("short").to_be_bytes(), octets].concat()
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn string(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (string, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        self.0 = rest;
        Some(string)
    }

    fn skip(&mut self) -> &mut Self {
        self.string();
        self
    }
}
