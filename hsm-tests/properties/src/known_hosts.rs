//! `known_hosts`: an answer has its line, revocation outweighs it, and names that a key is known by are names it is found by.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64ct::{Base64, Encoding as _};
use hardkey::origin::known_hosts::{Answer, HostKey, HostName, Place, find_in, names_in};
use hardkey::pattern;

use crate::octets::split_string;

/// Input: a line with host, port and key in base64, with blanks between them; then the file.
pub fn check(input: &[u8]) {
    let end = input.iter().position(|octet| *octet == b'\n').unwrap_or(input.len());
    let (line, content) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let mut words = line.split(|octet| *octet == b' ');
    let mut word = || words.next().and_then(|word| std::str::from_utf8(word).ok());
    let (Some(host), Some(port), Some(encoded)) = (word(), word(), word()) else { return };
    globs(host, content);
    let (Ok(port), Ok(blob)) = (port.parse(), Base64::decode_vec(encoded)) else { return };
    let Ok(key) = HostKey::from_wire(&blob) else { return };
    let host = HostName::new(host, port, None);
    let hosts = Hosts::new(content);
    an_answer_has_its_line(&host, &key, &blob, &hosts);
    names_are_found(&key, &hosts);
}

fn an_answer_has_its_line(host: &HostName, key: &HostKey, blob: &[u8], hosts: &Hosts<'_>) {
    let answer = hosts.ask(host, key);
    match &answer {
        Answer::Known(place) => assert!(!hosts.line(place).starts_with(b"@revoked ")),
        Answer::Revoked(place) => assert!(hosts.line(place).trim_ascii_start().starts_with(b"@revoked")),
        Answer::Unknown => {}
    }

    let moved = Hosts::new(&[b"# a comment\n\n", hosts.content].concat()).ask(host, key);
    let place = |answer: &Answer| match answer {
        Answer::Known(place) => Some((true, place.line)),
        Answer::Revoked(place) => Some((false, place.line)),
        Answer::Unknown => None,
    };
    assert_eq!(place(&moved), place(&answer).map(|(known, line)| (known, line + 2)), "two more lines above");

    let kind = split_string(blob).map_or("", |(kind, _)| std::str::from_utf8(kind).unwrap_or_default());
    if !kind.is_empty() && !kind.contains(char::is_whitespace) {
        let revocation = format!("\n@revoked * {kind} {}\n", Base64::encode_string(blob));
        let answer = Hosts::new(&[hosts.content, revocation.as_bytes()].concat()).ask(host, key);
        assert!(matches!(answer, Answer::Revoked(_)), "{answer:?} after a revocation");
    }
}

fn names_are_found(key: &HostKey, hosts: &Hosts<'_>) {
    let mut names = Vec::new();
    let candidates = ["localhost".into(), "[host]:2222".into()];
    names_in(hosts.content, FILE.as_ref(), key, &candidates, now(), &mut names).expect("octets in memory");
    assert!(names.len() <= 16);
    for known in &names {
        let bracketed = known.name.strip_prefix('[').and_then(|name| name.split_once("]:"));
        let host = match bracketed.map(|(name, port)| (name, port, port.parse::<u16>())) {
            // A number written in another way, or the usual one, is none that `ssh` looks for.
            Some((name, port, Ok(number))) if number != 22 && number.to_string() == port => {
                HostName::new(name, number, None)
            }
            Some(_) => continue,
            None => HostName::new(&known.name, 22, None),
        };
        assert_ne!(hosts.ask(&host, key), Answer::Unknown, "known as {:?}", known.name);
    }
}

/// The matcher of patterns, and the obvious one.
fn globs(text: &str, pattern: &[u8]) {
    let pattern = &pattern[..pattern.len().min(64)];
    let text = &text.as_bytes()[..text.len().min(64)];
    let expected = matches_obviously(text, pattern);
    assert_eq!(pattern::matches(pattern, text), expected);
}

fn matches_obviously(text: &[u8], pattern: &[u8]) -> bool {
    // `reached[n]`: the pattern so far matches the first n octets of the text.
    let mut reached: Vec<bool> = (0..=text.len()).map(|length| length == 0).collect();
    for wanted in pattern {
        reached = (0..=text.len())
            .map(|length| match wanted {
                b'*' => reached[..=length].contains(&true),
                _ => length > 0 && reached[length - 1] && (*wanted == b'?' || *wanted == text[length - 1]),
            })
            .collect();
    }
    reached[text.len()]
}

/// A file with this content.
struct Hosts<'a> {
    content: &'a [u8],
}

const FILE: &str = "known_hosts";

impl<'a> Hosts<'a> {
    const fn new(content: &'a [u8]) -> Self {
        Self { content }
    }

    fn ask(&self, host: &HostName, key: &HostKey) -> Answer {
        find_in(self.content, Path::new(FILE), host, key, now()).expect("octets in memory")
    }

    fn line(&self, place: &Place) -> &'a [u8] {
        self.content.split(|octet| *octet == b'\n').nth(place.line - 1).expect("a line of the file")
    }
}

/// A moment at which the certificates among the seeds are valid.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}
