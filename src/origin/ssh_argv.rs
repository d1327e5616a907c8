//! The argument vector of an `ssh`, read as `ssh` reads it: ssh(1).
//!
//! Not to know what the options mean, which `ssh -G` does best, but to know that this is a login, where to, and to hand `ssh -G` the
//! very same words without those that would make it do something else. What `ssh` would refuse is refused; nothing is guessed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::trust::Version;

/// Options without an argument that change the configuration.
const FLAGS: &[u8] = b"246ACKMNTXYafgknqstx";
/// Options without an argument that only add messages; left out of the question.
const NOISE: &[u8] = b"vy";
/// Options with an argument that change the configuration.
const VALUES: &[u8] = b"BDFIJLRSWbceilmopw";
/// Options that make `ssh` do something other than log in: print its configuration or version, list algorithms, show host keys,
/// speak to a multiplexing master.
const OTHER_MODES: &[u8] = b"GVZQO";
/// From this version `-P` takes an argument, the tag for `Match tagged`; before, it was ignored.
const TAG_SINCE: Version = Version { major: 9, minor: 4 };

/// An `ssh` that logs in somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshCommand {
    /// Options, destination, options, remote command; each option's letter and argument are words of their own.
    words: Vec<OsString>,
    /// Which of the words is `-F`'s argument.
    config_file: Option<usize>,
    /// The host as it was typed, without user and port.
    host: String,
}

/// Why an argument vector is not that of a login.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgvError {
    /// There are no arguments at all, not even a name.
    #[error("the process shows no arguments")]
    Empty,
    /// It is a multiplexing master in the background, which has overwritten its arguments.
    #[error("it is a multiplexing master in the background")]
    Master,
    /// An option this version of `ssh` does not know.
    #[error("it has the option {0:?}, which its version of ssh does not know")]
    UnknownOption(char),
    /// An option's argument is missing.
    #[error("its option -{0} lacks an argument")]
    MissingArgument(char),
    /// The option makes `ssh` do something other than log in.
    #[error("its option -{0} makes ssh do something other than log in")]
    OtherMode(char),
    /// There is no destination.
    #[error("it has no destination")]
    NoDestination,
    /// The destination is not one.
    #[error("its destination is not a host name")]
    BadDestination,
    /// `-F` names a file relative to a directory we cannot know.
    #[error("its configuration file is given relative to a directory that cannot be seen")]
    RelativeConfig,
}

impl SshCommand {
    /// Reads an argument vector, program name first, of an `ssh` of this version.
    ///
    /// # Errors
    /// It is not a login, or `ssh` itself would refuse it.
    pub fn parse(argv: &[OsString], version: Version) -> Result<Self, ArgvError> {
        let (name, arguments) = argv.split_first().ok_or(ArgvError::Empty)?;
        if name.as_bytes().starts_with(b"ssh: ") || name.as_bytes().ends_with(b"[mux]") {
            return Err(ArgvError::Master);
        }
        let mut reading = Reading { words: Vec::new(), config_file: None, version };
        let used = reading.options(arguments)?;
        let rest = arguments.get(used..).unwrap_or_default();
        let (destination, mut rest) = rest.split_first().ok_or(ArgvError::NoDestination)?;
        let host = host_of(destination).ok_or(ArgvError::BadDestination)?;
        // As in ssh, which looks at the last word before the destination, whatever that word was read as.
        let terminated = arguments.get(..used).and_then(<[_]>::last).is_some_and(|word| word == "--");
        reading.words.push(destination.clone());
        if !terminated {
            let used = reading.options(rest)?;
            rest = rest.get(used..).unwrap_or_default();
        }
        let Reading { mut words, config_file, .. } = reading;
        if !rest.is_empty() {
            words.push("--".into());
            words.extend_from_slice(rest);
        }
        Ok(Self { words, config_file, host })
    }

    /// The host as it was typed, without user and port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The arguments that make `ssh` print the configuration this command runs with. A relative `-F` is made absolute with
    /// the directory the command runs in.
    ///
    /// # Errors
    /// There is a relative `-F` and the directory is not known.
    pub fn query(&self, directory: Option<&Path>) -> Result<Vec<OsString>, ArgvError> {
        let mut words = vec![OsString::from("-G")];
        words.extend_from_slice(&self.words);
        let config = self.config_file.and_then(|index| words.get_mut(index + 1));
        if let Some(config) = config.filter(|config| !config.eq_ignore_ascii_case("none")) {
            let absolute = match (Path::new(config).is_absolute(), directory) {
                (true, _) => PathBuf::from(&*config),
                (false, Some(directory)) => directory.join(&*config),
                (false, None) => return Err(ArgvError::RelativeConfig),
            };
            *config = absolute.into_os_string();
        }
        Ok(words)
    }
}

struct Reading {
    words: Vec<OsString>,
    config_file: Option<usize>,
    version: Version,
}

impl Reading {
    /// Reads options as getopt(3) does and says how many words they took, a `--` at their end included.
    fn options(&mut self, arguments: &[OsString]) -> Result<usize, ArgvError> {
        let mut at = 0;
        while let Some(word) = arguments.get(at).map(|word| word.as_bytes()) {
            if word == b"--" {
                return Ok(at + 1);
            }
            let Some(letters) = word.strip_prefix(b"-").filter(|letters| !letters.is_empty()) else {
                break;
            };
            at += 1;
            for (index, &letter) in letters.iter().enumerate() {
                if !self.takes_value(letter)? {
                    continue;
                }
                let bundled = letters.get(index + 1..).filter(|rest| !rest.is_empty());
                let value = match bundled {
                    Some(rest) => OsStr::from_bytes(rest),
                    None => {
                        let next = arguments.get(at).ok_or(ArgvError::MissingArgument(letter.into()))?;
                        at += 1;
                        next
                    }
                };
                self.value(letter, value);
                break;
            }
        }
        Ok(at)
    }

    /// Keeps a letter, and says whether an argument comes with it.
    fn takes_value(&mut self, letter: u8) -> Result<bool, ArgvError> {
        let tags = self.version >= TAG_SINCE;
        if letter == b'E' || VALUES.contains(&letter) || (letter == b'P' && tags) {
            return Ok(true);
        }
        if FLAGS.contains(&letter) {
            self.words.push(OsString::from_vec(vec![b'-', letter]));
        } else if OTHER_MODES.contains(&letter) {
            return Err(ArgvError::OtherMode(letter.into()));
        } else if letter != b'P' && !NOISE.contains(&letter) {
            return Err(ArgvError::UnknownOption(letter.into()));
        }
        Ok(false)
    }

    fn value(&mut self, letter: u8, value: &OsStr) {
        // -E names a file to write messages to, which a question must not touch.
        if letter == b'E' {
            return;
        }
        // As a word of its own it would be taken for the end of the options. A file's name is made absolute, and is none then.
        if value == "--" && letter != b'F' {
            self.words.push(OsString::from_vec(vec![b'-', letter, b'-', b'-']));
            return;
        }
        if letter == b'F' {
            // The last one counts.
            if let Some(earlier) = self.config_file.and_then(|index| self.words.get_mut(index)) {
                value.clone_into(earlier);
                return;
            }
            self.config_file = Some(self.words.len() + 1);
        }
        self.words.push(OsString::from_vec(vec![b'-', letter]));
        self.words.push(value.to_owned());
    }
}

/// The host in `[user@]host` or `ssh://[user@]host[:port]`. None in what begins with a dash, although older versions take `-user@host`
/// after `--`: in a question it would be an option.
fn host_of(destination: &OsStr) -> Option<String> {
    let text = destination.to_str().filter(|text| !text.starts_with('-'))?;
    let host = match text.strip_prefix("ssh://") {
        Some(uri) => {
            let host = uri.split_once('@').map_or(uri, |(_, host)| host);
            match host.strip_prefix('[') {
                Some(bracketed) => bracketed.split_once(']')?.0,
                None => host.split([':', '/']).next()?,
            }
        }
        None => match text.rsplit_once('@') {
            Some(("", _)) => return None,
            Some((_, host)) => host,
            None => text,
        },
    };
    (!host.is_empty() && !host.starts_with('-')).then(|| host.to_owned())
}

#[cfg(test)]
#[path = "ssh_argv_tests.rs"]
mod tests;
