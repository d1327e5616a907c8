//! The readers as `pcscd` shows them, without taking hold of a card: which have one, and whether another program has it for itself.
//!
//! This is how a module that was released is watched: a worker would connect to the card, and a program that wants it for itself could not
//! have it. What is spoken is a few messages of pcsc-lite's protocol, version 4 (winscard_msg.h), in the machine's own byte order.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// The client library's own names for where the service listens.
const VARIABLE: &str = "PCSCLITE_CSOCK_NAME";
const USUAL: &str = "/run/pcscd/pcscd.comm";
/// `pcscd` answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);
const VERSION: u32 = 0x11;
const GET_READERS_STATE: u32 = 0x12;
/// The protocol that is spoken here. Minor versions add messages; an older service wants to hear its own, a newer one knows this.
const MAJOR: u32 = 4;
const MINOR: u32 = 4;
/// `PCSCLITE_MAX_READERS_CONTEXTS`
const READERS: usize = 16;
/// `sizeof(READER_STATE)`: a name of 128 octets, events, state and sharing of 4 each, an ATR of 33, padding, its length and the protocol.
const READER: usize = 184;
const NAME: usize = 128;
const ESTABLISH_CONTEXT: u32 = 0x01;
const CONNECT: u32 = 0x04;
const DISCONNECT: u32 = 0x06;
/// `SCARD_SCOPE_SYSTEM`
const SCOPE: u32 = 2;
/// `SCARD_SHARE_SHARED`
const SHARED: u32 = 2;
/// `SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1`
const PROTOCOLS: u32 = 3;
/// `SCARD_RESET_CARD`
const RESET: u32 = 1;
/// How often it is asked whether a card is free again.
const PAUSE: Duration = Duration::from_millis(100);
/// `pcscd` looks at a reader every 400 ms (`PCSCLITE_STATUS_POLL_RATE`), unless that tells by itself.
const NOTICED: Duration = Duration::from_millis(600);
/// `SCARD_PRESENT`
const PRESENT: u32 = 0x0004;
/// `PCSCLITE_SHARING_EXCLUSIVE_CONTEXT`
const EXCLUSIVE: i32 = -1;

/// Where the `pcscd` listens that a process with these variables speaks to, beside those of the agent; as its client library finds it.
pub(super) fn service(env: &[(String, String)]) -> PathBuf {
    let own = || std::env::var_os(VARIABLE);
    let said = env.iter().rev().find(|(name, _)| name == VARIABLE).map(|(_, value)| value.into());
    let named: Option<OsString> = said.or_else(own).filter(|path: &OsString| !path.is_empty());
    named.map_or_else(|| PathBuf::from(USUAL), PathBuf::from)
}

/// A reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reader {
    pub(super) name: String,
    /// Counts cards put in and pulled.
    events: u32,
    pub(super) has_card: bool,
    /// One program has the card for itself.
    pub(super) is_exclusive: bool,
    /// Some program is connected to the card.
    is_connected: bool,
}

impl Reader {
    /// Whether this is its name, or how that begins.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name.starts_with(&crate::text::escape(name.as_bytes()))
    }

    /// Whether it has a card, and is found to have that one still.
    pub(super) fn still_has_card(&self, now: &[Self]) -> bool {
        self.has_card && now.iter().any(|now| now.card() == self.card())
    }

    /// What stays as it is as long as nobody puts a card in or pulls one.
    fn card(&self) -> (&str, u32, bool) {
        (&self.name, self.events, self.has_card)
    }
}

/// The readers of the `pcscd` that listens at this socket.
///
/// # Errors
/// Nobody listens there, or speaks this protocol.
pub(super) async fn all(socket: &Path) -> io::Result<Vec<Reader>> {
    match tokio::time::timeout(PATIENCE, ask(socket)).await {
        Ok(readers) => readers,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")),
    }
}

/// Whether there is no card in the reader with this name, or whose name begins so, now or in a moment: it takes `pcscd` one to notice.
pub(super) async fn is_pulled(socket: &Path, name: &str) -> bool {
    let noticed = async {
        while let Ok(readers) = ask(socket).await {
            if !readers.iter().any(|reader| reader.is_named(name) && reader.has_card) {
                return true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        false
    };
    tokio::time::timeout(NOTICED, noticed).await.unwrap_or(false)
}

/// Resets the card in the reader with this name, or whose name begins so; with `if_free` only once no program is connected to it.
///
/// # Errors
/// There is no such reader or card, or other programs are connected to it for longer than anybody waits here.
pub(super) async fn reset(socket: &Path, name: &str, if_free: bool) -> io::Result<()> {
    let free = async {
        loop {
            let readers = ask(socket).await?;
            let reader = readers.into_iter().find(|reader| reader.is_named(name)).filter(|reader| reader.has_card);
            let reader = reader.ok_or_else(|| io::Error::other("there is no card in it"))?;
            if !if_free && !reader.is_exclusive || !reader.is_connected {
                return reset_now(socket, name).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let in_use = || io::Error::other("other programs use it");
    tokio::time::timeout(PATIENCE, free).await.unwrap_or_else(|_| Err(in_use()))
}

async fn reset_now(socket: &Path, name: &str) -> io::Result<()> {
    let mut service = connect(socket).await?;
    let context = exchange(&mut service, ESTABLISH_CONTEXT, &[SCOPE, 0, 0].map(u32::to_ne_bytes).concat()).await?;
    let mut reader = name.as_bytes().to_vec();
    reader.resize(NAME, 0);
    let connection = [SHARED, PROTOCOLS, 0, 0, 0].map(u32::to_ne_bytes).concat();
    let connection = [&context[4..8], &reader, &connection].concat();
    let connected = exchange(&mut service, CONNECT, &connection).await?;
    let card = &connected[4 + NAME + 8..][..4];
    exchange(&mut service, DISCONNECT, &[card, &RESET.to_ne_bytes(), &[0; 4]].concat()).await.map(drop)
}

/// Sends a message and reads its answer, which has the same form and ends with a return code.
async fn exchange(service: &mut UnixStream, command: u32, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    service.write_all(&[&message(command, length)[..], body].concat()).await?;
    let mut answer = vec![0; body.len()];
    service.read_exact(&mut answer).await?;
    match number(&answer, answer.len() - 4) {
        0 => Ok(answer),
        code => Err(io::Error::other(format!("pcscd answered {code:#010x}"))),
    }
}

async fn ask(socket: &Path) -> io::Result<Vec<Reader>> {
    let mut service = connect(socket).await?;
    service.write_all(&message(GET_READERS_STATE, 0)).await?;
    let mut states = vec![0; READERS * READER];
    service.read_exact(&mut states).await?;
    Ok(states.chunks_exact(READER).filter_map(reader).collect())
}

/// Whether nobody has put a card in or pulled one since.
pub(super) fn same_cards(before: &[Reader], now: &[Reader]) -> bool {
    before.iter().map(Reader::card).eq(now.iter().map(Reader::card))
}

/// Whether somebody had a card for itself then, and has it no longer.
pub(super) fn let_go(before: &[Reader], now: &[Reader]) -> bool {
    let held = |readers: &[Reader]| readers.iter().filter(|reader| reader.is_exclusive).count();
    held(now) < held(before)
}

async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let minor = match greet(socket, MINOR).await? {
        Greeted::Agreed(service) => return Ok(service),
        Greeted::Speaks(minor) => minor,
    };
    match greet(socket, minor).await? {
        Greeted::Agreed(service) => Ok(service),
        Greeted::Speaks(_) => Err(io::Error::other("it speaks another version of the protocol")),
    }
}

enum Greeted {
    Agreed(UnixStream),
    /// It wants to hear this minor version.
    Speaks(u32),
}

async fn greet(socket: &Path, minor: u32) -> io::Result<Greeted> {
    let mut service = UnixStream::connect(socket).await?;
    let hello = [MAJOR.to_ne_bytes(), minor.to_ne_bytes(), [0; 4]].concat();
    service.write_all(&[&message(VERSION, 12)[..], &hello].concat()).await?;
    let mut answer = [0; 12];
    service.read_exact(&mut answer).await?;
    match (number(&answer, 0), number(&answer, 8)) {
        (MAJOR, 0) => Ok(Greeted::Agreed(service)),
        (MAJOR, _) => Ok(Greeted::Speaks(number(&answer, 4))),
        _ => Err(io::Error::other("it speaks another version of the protocol")),
    }
}

fn message(command: u32, length: u32) -> [u8; 8] {
    let mut header = [0; 8];
    header[..4].copy_from_slice(&length.to_ne_bytes());
    header[4..].copy_from_slice(&command.to_ne_bytes());
    header
}

/// `None` for a place that no reader has.
fn reader(state: &[u8]) -> Option<Reader> {
    let name = state[..NAME].split(|octet| *octet == 0).next().filter(|name| !name.is_empty())?;
    Some(Reader {
        name: crate::text::escape(name),
        events: number(state, NAME),
        has_card: number(state, NAME + 4) & PRESENT != 0,
        is_exclusive: number(state, NAME + 8).cast_signed() == EXCLUSIVE,
        is_connected: number(state, NAME + 8) != 0,
    })
}

fn number(octets: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&octets[at..at + 4]);
    u32::from_ne_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_read_and_an_empty_place_is_none() {
        let mut state = [0; READER];
        assert_eq!(reader(&state), None);
        state[..6].copy_from_slice(b"Yubi\n2");
        state[NAME..NAME + 12]
            .copy_from_slice(&[7_u32.to_ne_bytes(), (PRESENT | 0x20).to_ne_bytes(), EXCLUSIVE.to_ne_bytes()].concat());
        let read = reader(&state).expect("a reader");
        assert_eq!((read.events, read.has_card, read.is_exclusive), (7, true, true));
        assert!(!read.name.contains('\n'));
        state[NAME + 8..NAME + 12].copy_from_slice(&2_i32.to_ne_bytes());
        assert!(!reader(&state).expect("a reader").is_exclusive);
    }
}
