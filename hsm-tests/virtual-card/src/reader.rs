//! The card's side of the conversation with vpcd: frames of two octets of length and a body.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// A card that does T=1 with extended lengths, as the firmware's own devices say of themselves.
const ATR: &[u8] = &[0x3b, 0x8f, 0x01, 0x80, 0x5d, 0x4e, 0x69, 0x74, 0x72, 0x6f, 0x6b, 0x65, 0x79, 0, 0, 0, 0, 0, 0x6a];
/// How long the reader's driver may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// The slot of the reader that the card is in.
pub(crate) struct Reader(TcpStream);

/// What the reader does to the card.
pub(crate) enum Event {
    /// Power was taken away, or the card was reset: everything volatile is gone.
    Reset,
    /// A command.
    Command(Vec<u8>),
}

/// Inserts the card.
pub(crate) fn connect(port: u16) -> io::Result<Reader> {
    let start = Instant::now();
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(Reader(stream));
            }
            Err(error) if start.elapsed() > PATIENCE => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl Reader {
    /// Waits for what happens next; `None` when the reader is gone.
    pub(crate) fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            let mut length = [0; 2];
            match self.0.read_exact(&mut length) {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
            let mut body = vec![0; usize::from(u16::from_be_bytes(length))];
            self.0.read_exact(&mut body)?;
            match body[..] {
                // Off, on, reset.
                [0..=2] => return Ok(Some(Event::Reset)),
                [4] => self.answer(ATR)?,
                _ => return Ok(Some(Event::Command(body))),
            }
        }
    }

    /// Answers a command.
    pub(crate) fn answer(&mut self, body: &[u8]) -> io::Result<()> {
        let length = u16::try_from(body.len()).map_err(io::Error::other)?;
        self.0.write_all(&[&length.to_be_bytes(), body].concat())
    }
}
