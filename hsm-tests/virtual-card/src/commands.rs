//! From the octets of a command to the application and back: chained commands put together, long answers taken apart (ISO 7816-4).

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use heapless::{Vec as Bounded, VecView};
use iso7816::Status;
use iso7816::command::{Command, CommandView};

/// The longest command put together, and the longest answer.
const LONGEST: usize = 7609;
/// What fits into an answer of the short form.
const SHORT: usize = 256;
const GET_RESPONSE: u8 = 0xc0;
/// GENERAL AUTHENTICATE of PIV and PERFORM SECURITY OPERATION and INTERNAL AUTHENTICATE of OpenPGP: what uses a private key.
const PRIVATE: [u8; 3] = [0x87, 0x2a, 0x88];

/// An application on the card.
pub(crate) trait Application {
    /// Its name (AID).
    fn name(&self) -> &'static [u8];

    /// Serves one command.
    fn serve(&mut self, command: CommandView<'_>, answer: &mut VecView<u8>) -> Result<(), Status>;
}

/// The state between commands.
pub(crate) struct Commands {
    folder: PathBuf,
    begun: Option<Command<LONGEST>>,
    answer: Bounded<u8, LONGEST>,
    told: usize,
}

impl Commands {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), begun: None, answer: Bounded::new(), told: 0 }
    }

    /// Serves the octets of one command.
    pub(crate) fn serve(&mut self, octets: &[u8], application: &mut dyn Application) -> Vec<u8> {
        let outcome = self.execute(octets, application);
        let (data, status) = match outcome {
            Ok(expected) => self.next_part(expected),
            Err(status) => (Vec::new(), status),
        };
        let status: [u8; 2] = status.into();
        self.log(octets, status);
        [&data[..], &status].concat()
    }

    /// Does what a command says; how much of the answer is wanted.
    fn execute(&mut self, octets: &[u8], application: &mut dyn Application) -> Result<usize, Status> {
        let selected = select_in_full(octets, application.name());
        let octets = selected.as_deref().unwrap_or(octets);
        let command = Command::<LONGEST>::try_from(octets).map_err(|_| Status::WrongLength)?;
        if octets.get(1) == Some(&GET_RESPONSE) {
            return Ok(command.expected());
        }
        self.answer.clear();
        self.told = 0;
        let whole = match self.begun.take() {
            Some(mut begun) => {
                begun.extend_from_command(&command).map_err(|_| Status::WrongLength)?;
                begun
            }
            None => command.clone(),
        };
        if !command.class().chain().last_or_only() {
            self.begun = Some(whole);
            return Ok(0);
        }
        if octets.get(1).is_some_and(|instruction| PRIVATE.contains(instruction)) {
            self.wait_for_touch();
        }
        application.serve(whole.as_view(), &mut self.answer)?;
        Ok(command.expected())
    }

    fn next_part(&mut self, expected: usize) -> (Vec<u8>, Status) {
        // Whoever does not say how much he wants gets as much as fits.
        let expected = if expected == 0 { SHORT } else { expected };
        let rest = &self.answer[self.told..];
        let part = rest[..expected.min(rest.len())].to_vec();
        self.told += part.len();
        let left = self.answer.len() - self.told;
        match left {
            0 => (part, Status::Success),
            _ => (part, Status::MoreAvailable(u8::try_from(left).unwrap_or(u8::MAX))),
        }
    }

    fn wait_for_touch(&self) {
        let hold = self.folder.join("hold");
        if hold.exists() {
            self.write("touch\n");
        }
        while hold.exists() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self, octets: &[u8], status: [u8; 2]) {
        let byte = |at: usize| octets.get(at).copied().unwrap_or_default();
        let (length, [high, low]) = (byte(4), status);
        self.write(&format!("{:02x} {:02x} {:02x} {length:02x} {high:02x}{low:02x}\n", byte(1), byte(2), byte(3)));
    }

    fn write(&self, line: &str) {
        let file = OpenOptions::new().create(true).append(true).open(self.folder.join("log"));
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("virtual-card: cannot write the log: {error}");
        }
    }
}

/// A card's system selects an application by the beginning of its name; the application itself knows its whole name only.
fn select_in_full(octets: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let [class, 0xa4, 4, second, length, rest @ ..] = octets else { return None };
    let given = rest.get(..usize::from(*length))?;
    let short = u8::try_from(name.len()).ok()?;
    (!given.is_empty() && name.starts_with(given))
        .then(|| [&[*class, 0xa4, 4, *second, short], name, &rest[given.len()..]].concat())
}
