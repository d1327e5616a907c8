//! The client's side of Assuan, as far as pinentry needs it: one command a line, answered by data lines and `OK` or `ERR`.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zeroize::{Zeroize as _, Zeroizing};

use super::group::Group;

/// Nobody has to think about these answers: a program that takes longer for one is broken.
const PROMPTLY: Duration = Duration::from_secs(5);
/// A line of the protocol, with its end (Assuan manual, "Client responses").
const LONGEST_LINE: usize = 1002;
/// More lines than this are not an answer.
const MOST_LINES: usize = 32;

/// A running server on the other end of two pipes, in a process group of its own that ends with this value.
pub(super) struct Assuan {
    input: ChildStdin,
    output: ChildStdout,
    /// What was read and not used yet; may hold a secret.
    pending: Zeroizing<Vec<u8>>,
    _group: Group,
    _child: Child,
}

/// What a command was answered.
pub(super) enum Response {
    /// Done; with what the data lines said.
    Ok(Zeroizing<Vec<u8>>),
    /// Refused; the code without its source (`GPG_ERR_*`), and the text.
    Err(u16, String),
}

/// What went wrong with the server itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("it cannot be started: {0}")]
    Start(io::Error),
    #[error("it ended without an answer")]
    Ended,
    #[error("it did not answer within {} s", PROMPTLY.as_secs())]
    Slow,
    #[error("it answers something that is not Assuan")]
    Nonsense,
}

impl Assuan {
    /// Starts a server and waits for its greeting.
    pub(super) async fn start(command: &mut Command) -> Result<Self, Fault> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(Fault::Start)?;
        let group = Group::of(&child);
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return Err(Fault::Ended) };
        let pending = Zeroizing::new(Vec::with_capacity(2 * LONGEST_LINE));
        let mut server = Self { input, output, pending, _group: group, _child: child };
        match server.promptly(None).await? {
            Response::Ok(_) => Ok(server),
            Response::Err(..) => Err(Fault::Nonsense),
        }
    }

    /// A command that is answered at once.
    pub(super) async fn set(&mut self, line: &str) -> Result<Response, Fault> {
        self.promptly(Some(line)).await
    }

    /// A command that a person answers.
    pub(super) async fn ask(&mut self, line: &str) -> Result<Response, Fault> {
        self.say(line).await?;
        self.response().await
    }

    async fn promptly(&mut self, line: Option<&str>) -> Result<Response, Fault> {
        let exchange = async {
            if let Some(line) = line {
                self.say(line).await?;
            }
            self.response().await
        };
        tokio::time::timeout(PROMPTLY, exchange).await.unwrap_or(Err(Fault::Slow))
    }

    async fn say(&mut self, line: &str) -> Result<(), Fault> {
        self.input.write_all(format!("{line}\n").as_bytes()).await.map_err(|_| Fault::Ended)
    }

    async fn response(&mut self) -> Result<Response, Fault> {
        let mut data = Zeroizing::new(Vec::with_capacity(LONGEST_LINE));
        for _ in 0..MOST_LINES {
            let line = self.line().await?;
            let (word, rest) = match line.iter().position(|octet| *octet == b' ') {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (&line[..], &[][..]),
            };
            match word {
                b"OK" => return Ok(Response::Ok(data)),
                b"ERR" => {
                    let text = crate::text::escape(rest);
                    let code =
                        text.split(' ').next().and_then(|code| code.parse::<u32>().ok()).ok_or(Fault::Nonsense)?;
                    // libgpg-error: the code is in the lower 16 bits, its source above them.
                    return Ok(Response::Err((code & 0xffff) as u16, text));
                }
                b"D" if data.len() + rest.len() <= LONGEST_LINE => unescape(rest, &mut data),
                b"S" | b"#" => {}
                _ => return Err(Fault::Nonsense),
            }
        }
        Err(Fault::Nonsense)
    }

    async fn line(&mut self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        loop {
            if let Some(end) = self.pending.iter().position(|octet| *octet == b'\n') {
                let line = Zeroizing::new(self.pending[..end].to_vec());
                let rest = Zeroizing::new(self.pending[end + 1..].to_vec());
                self.pending.zeroize();
                self.pending.extend_from_slice(&rest);
                return Ok(line);
            }
            if self.pending.len() >= LONGEST_LINE {
                return Err(Fault::Nonsense);
            }
            // Into a buffer of its own, because one that grows leaves copies behind.
            let mut chunk = Zeroizing::new([0; 512]);
            match self.output.read(&mut chunk[..]).await {
                Ok(0) | Err(_) => return Err(Fault::Ended),
                Ok(count) => self.pending.extend_from_slice(&chunk[..count]),
            }
        }
    }
}

/// Makes a text the argument of a command: on one line, and no longer than fits.
pub(super) fn escape(text: &str) -> String {
    const ROOM: usize = 900;
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let before = escaped.len();
        match character {
            '%' => escaped.push_str("%25"),
            '\n' => escaped.push_str("%0A"),
            '\r' => escaped.push_str("%0D"),
            other => escaped.push(other),
        }
        if escaped.len() > ROOM {
            escaped.truncate(before);
            escaped.push('…');
            break;
        }
    }
    escaped
}

fn unescape(octets: &[u8], into: &mut Vec<u8>) {
    let mut rest = octets;
    while let [first, tail @ ..] = rest {
        let hex = |octet: &u8| char::from(*octet).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                into.push((hex(high).unwrap_or(0) * 16 + hex(low).unwrap_or(0)) as u8);
                rest = after;
            }
            _ => {
                into.push(*first);
                rest = tail;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_kind_fits_one_line() {
        for character in ['a', '%', '\n', '鍵', '🔑'] {
            let escaped = escape(&character.to_string().repeat(2000));
            assert!((890..910).contains(&escaped.len()) && !escaped.contains('\n'), "{character:?}: {}", escaped.len());
        }
        assert_eq!(escape("100 %\nshort"), "100 %25%0Ashort");
    }

    #[test]
    fn data_come_back_as_they_were() {
        let mut octets = Vec::new();
        unescape(b"12%2534%0a%zz%", &mut octets);
        assert_eq!(octets, b"12%34\n%zz%");
    }

    async fn greeting(script: &str) -> Result<Assuan, Fault> {
        Assuan::start(Command::new("sh").args(["-c", script])).await
    }

    #[tokio::test]
    async fn a_server_that_is_broken_is_told_apart_from_an_answer() {
        assert!(matches!(greeting("exit 1").await, Err(Fault::Ended)));
        assert!(matches!(greeting("echo hello").await, Err(Fault::Nonsense)));
        assert!(matches!(greeting("yes | tr -d '\\n'").await, Err(Fault::Nonsense)));
        assert!(matches!(greeting("yes '# comment'").await, Err(Fault::Nonsense)));
        assert!(matches!(Assuan::start(&mut Command::new("/nonexistent")).await, Err(Fault::Start(_))));
        let mut server = greeting("echo OK; read line; echo D 12%2534; echo OK").await.expect("a greeting");
        assert!(matches!(server.ask("GETPIN").await, Ok(Response::Ok(data)) if data[..] == *b"12%34"));
        let mut server = greeting("echo OK; read line; echo ERR 83886179 cancelled; cat").await.expect("a greeting");
        assert!(matches!(server.ask("CONFIRM").await, Ok(Response::Err(99, _))));
    }
}
