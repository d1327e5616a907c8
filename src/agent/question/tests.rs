//! What a dialog keeps to, whatever is written into it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::*;
use crate::origin::facts::{Asker, Name};
use crate::origin::peer::{Ancestor, Terminal};
use crate::protocol::payload::{Certificate, Login};
use crate::protocol::public_key::KeyMaterial;

/// One injected string a line, with Rust's escapes.
const INJECTIONS: &str = include_str!("injections.txt");

fn injections() -> Vec<Vec<u8>> {
    let lines = INJECTIONS.lines().filter(|line| !line.starts_with("# "));
    lines.map(unescape).collect()
}

/// Undoes `\n`, `\xff`, `\u{202e}`, `\\`, and `\*80` at the beginning, which repeats the rest.
fn unescape(line: &str) -> Vec<u8> {
    if let Some((count, rest)) = line.strip_prefix("\\*").and_then(|rest| rest.split_once(' ')) {
        return unescape(rest).repeat(count.parse().expect("a number"));
    }
    let mut octets = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\\') {
        octets.extend_from_slice(before.as_bytes());
        rest = match after.as_bytes()[0] {
            b'n' => {
                octets.push(b'\n');
                &after[1..]
            }
            b'x' => {
                octets.push(u8::from_str_radix(&after[1..3], 16).expect("two digits"));
                &after[3..]
            }
            b'u' => {
                let (number, after) = after[2..].split_once('}').expect("a closing brace");
                let character = u32::from_str_radix(number, 16).ok().and_then(char::from_u32).expect("a character");
                octets.extend_from_slice(character.to_string().as_bytes());
                after
            }
            _ => {
                octets.push(b'\\');
                &after[1..]
            }
        };
    }
    octets.extend_from_slice(rest.as_bytes());
    octets
}

const ORIGINS: [Origin; 6] = [
    Origin::LocalDirect,
    Origin::LocalTool,
    Origin::ForwardedVerified,
    Origin::ForwardedKnownHop,
    Origin::ForwardedUnverified,
    Origin::Unknown,
];

/// The dialog for each origin and payload in which every text is this one, without what is left out for want of room.
fn dialogs(text: &[u8]) -> Vec<String> {
    let name = String::from_utf8_lossy(text).into_owned();
    let os = || OsString::from_vec(text.to_vec());
    let names = vec![Name { name: name.clone(), place: None }];
    let host = Host { names, key: Vec::new(), fingerprint: "SHA256:h".into() };
    let hop = |certainty| Hop { host: host.clone(), certainty, session_id: None };
    let login = || Login { session_id: b"s", user: text, algorithm: b"ssh-ed25519", key: b"k" };
    let (user, caller, service, directory, hostname) = (text, text, text, text, text);
    let payloads = [
        Payload::BoundLogin { login: login(), host_key: b"h" },
        Payload::Login(login()),
        Payload::SshSig { namespace: text },
        Payload::Certificate(Certificate {
            key_id: text,
            is_host: false,
            principals: vec![text, text],
            valid_before: 0,
        }),
        Payload::Sudo(Sudo { user, caller, service, directory, command: vec![text, text], hostname, time: 0 }),
        Payload::Raw,
    ];
    let facts = Facts {
        label: Some(name.clone().into()),
        asker: Ok(Asker {
            pid: 1,
            executable: Some(os().into()),
            arguments: vec![os(), os()],
            ancestors: vec![Ancestor { pid: 2, executable: None, name: Some(os()) }],
            terminal: Some(Terminal { name: name.clone(), foreground: true }),
            surroundings: Vec::new(),
        }),
        hops: vec![hop(Certainty::Proved), hop(Certainty::Claimed)],
        target: Some(hop(Certainty::Proved)),
    };
    let public = PublicKey::from_material(KeyMaterial::Ed25519 { key: [0; 32] });
    let dialog = |origin, payload: &Payload<'_>| {
        let reason = text::excerpt(text);
        let judgement = Judgement { origin, reason: reason.into(), findings: Vec::new(), first_hop_proved: true };
        let state = "needs PIN".into();
        let place = Place { token: name.clone(), serial: Some(name.clone()), state, ..Place::default() };
        let file = SignedFile { name: text.to_vec(), title: text.to_vec() };
        let file = matches!(origin, Origin::LocalTool).then_some(file);
        let demands = Demands { touch: true, pin: true };
        let key = KeyLine { public: &public, comment: text, fingerprint: "SHA256:f", place, demands };
        Case { judgement: &judgement, facts: &facts, payload, file, key, longer: None }.text()
    };
    ORIGINS.iter().flat_map(|origin| payloads.iter().map(|payload| dialog(*origin, payload))).collect()
}

/// The dialog without its fields: what each line begins with.
fn shape(dialog: &str) -> Vec<String> {
    dialog.lines().map(|line| line.chars().take(6).collect()).collect()
}

#[test]
fn no_text_from_elsewhere_changes_the_shape_of_a_dialog() {
    let harmless = dialogs(b"harmless");
    let all = injections();
    assert!(all.len() >= 200, "{}", all.len());
    for injected in all {
        for (dialog, expected) in dialogs(&injected).iter().zip(&harmless) {
            let (shape, expected) = (shape(dialog), shape(expected));
            // Long texts may cost lines that can be spared, and never add any.
            let mut left = expected.iter();
            assert!(shape.iter().all(|line| left.any(|known| known == line)), "{injected:?}\n{dialog}");
            assert_eq!((shape.first(), shape.last()), (expected.first(), expected.last()), "{dialog}");
            let cost: usize = dialog.chars().map(|c| if c == '\n' { 3 } else { c.len_utf8() }).sum();
            assert!(cost <= ROOM, "{cost} octets do not fit\n{dialog}");
            let odd = |c: char| (c.is_control() && c != '\n') || "<>&%".contains(c);
            assert!(!dialog.contains(odd), "{dialog:?}");
            // Nor is there anything left for viewers to escape.
            assert_eq!(text::printable(dialog), *dialog);
        }
    }
}

#[test]
fn the_key_and_what_is_asked_are_never_left_out() {
    for dialog in dialogs("🔑".repeat(100).as_bytes()) {
        assert!(dialog.contains("\nAllow use of key ") && dialog.ends_with("\nKey fingerprint SHA256:f."), "{dialog}");
        let wish = ["\nlogin ", "\nsign  ", "\nsudo  "].into_iter().filter(|word| dialog.contains(word)).count();
        assert_eq!(wish, 1, "{dialog}");
    }
}

#[test]
fn a_destination_is_named_only_if_it_is_a_fact() {
    let payload = Payload::Login(Login { session_id: b"s", user: b"root", algorithm: b"ssh-ed25519", key: b"k" });
    let host = Host { names: Vec::new(), key: Vec::new(), fingerprint: "SHA256:h".into() };
    let target = Some(Hop { host, certainty: Certainty::Claimed, session_id: None });
    let facts = Facts { label: None, asker: Err(crate::origin::Unknown::new("gone")), hops: Vec::new(), target };
    let judgement = Judgement {
        origin: Origin::ForwardedKnownHop,
        reason: "why".into(),
        findings: Vec::new(),
        first_hop_proved: true,
    };
    let public = PublicKey::from_material(KeyMaterial::Ed25519 { key: [0; 32] });
    let place = Place { token: "memory".into(), ..Place::default() };
    let demands = Demands::default();
    let key = KeyLine { public: &public, comment: b"work", fingerprint: "SHA256:f", place, demands };
    let text = Case { judgement: &judgement, facts: &facts, payload: &payload, file: None, key, longer: None }.text();
    assert!(text.starts_with("FORWARDED REQUEST - DESTINATION UNKNOWN\n"), "{text}");
    assert!(text.contains("login \"root\" at an UNKNOWN host\n      (claimed: unknown host SHA256:h)"), "{text}");
}

#[test]
fn stock_words_keep_to_their_lines_too() {
    let payload = Payload::Login(Login { session_id: b"s", user: b"root\nfine", algorithm: b"ssh-ed25519", key: b"k" });
    assert_eq!(stock(&payload, true, b"key\nfine", "SHA256:x").lines().count(), 3);
}
