use std::process::Command;
use std::time::Duration;

use super::*;
use crate::origin::testing::{Scratch, ssh_keygen};

#[test]
fn a_plain_line_makes_a_key_known_for_its_host_and_no_other() {
    let keys = Keys::new();
    let file = keys.known_hosts(&format!("# comment\n\nhost.example,192.0.2.7 {}\n", keys.public("a")));
    assert_eq!(keys.find(&file, &host("host.example"), "a"), known(&file, 3));
    assert_eq!(keys.find(&file, &host("HOST.example"), "a"), known(&file, 3));
    assert_eq!(keys.find(&file, &host("192.0.2.7"), "a"), known(&file, 3));
    assert_eq!(keys.find(&file, &host("other.example"), "a"), Answer::Unknown);
    assert_eq!(keys.find(&file, &host("host.example"), "b"), Answer::Unknown);
}

#[test]
fn ssh_keygen_s_hashed_names_are_found() {
    let keys = Keys::new();
    let lines = format!("host.example {}\n[host.example]:2222 {}\n", keys.public("a"), keys.public("b"));
    let file = keys.known_hosts(&lines);
    ssh_keygen(&["-q", "-H", "-f", &file.to_string_lossy()]);
    assert!(std::fs::read_to_string(&file).expect("hashed").lines().all(|line| line.starts_with("|1|")));
    assert_eq!(keys.find(&file, &host("host.example"), "a"), known(&file, 1));
    assert_eq!(keys.find(&file, &HostName::new("host.example", 2222, None), "b"), known(&file, 2));
    assert_eq!(keys.find(&file, &host("host.example"), "b"), Answer::Unknown);
}

#[test]
fn a_port_other_than_22_is_looked_for_with_and_without_the_port() {
    let keys = Keys::new();
    let file = keys.known_hosts(&format!("[h]:2222 {}\nh {}\n", keys.public("a"), keys.public("b")));
    let odd_port = HostName::new("h", 2222, None);
    assert_eq!(keys.find(&file, &odd_port, "a"), known(&file, 1));
    assert_eq!(keys.find(&file, &odd_port, "b"), known(&file, 2));
    assert_eq!(keys.find(&file, &host("h"), "a"), Answer::Unknown);
}

#[test]
fn an_alias_replaces_name_and_port() {
    let keys = Keys::new();
    let file = keys.known_hosts(&format!("alias {}\nh {}\n", keys.public("a"), keys.public("b")));
    let aliased = HostName::new("h", 2222, Some("alias"));
    assert_eq!(keys.find(&file, &aliased, "a"), known(&file, 1));
    assert_eq!(keys.find(&file, &aliased, "b"), Answer::Unknown);
}

#[test]
fn a_revoked_key_is_revoked_wherever_the_line_stands() {
    let keys = Keys::new();
    let first = keys.known_hosts(&format!("h {}\n", keys.public("a")));
    let second = keys.scratch.write("second", format!("@revoked * {}\n", keys.public("a")));
    let files = [first.clone(), second.clone()];
    let answer = find(&files, &host("h"), &keys.key("a"), SystemTime::now());
    assert_eq!(answer, Answer::Revoked(Place { file: second, line: 1 }));
    let elsewhere = keys.known_hosts(&format!("h {0}\n@revoked other {0}\n", keys.public("a")));
    assert_eq!(keys.find(&elsewhere, &host("h"), "a"), known(&elsewhere, 1));
}

#[test]
fn several_files_are_read_and_missing_or_odd_ones_say_nothing() {
    let keys = Keys::new();
    let last = keys.known_hosts(&format!("h {}\n", keys.public("a")));
    let fifo = keys.scratch.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let files = [keys.scratch.path("missing"), "/dev/null".into(), fifo, keys.scratch.path(""), last.clone()];
    assert_eq!(find(&files, &host("h"), &keys.key("a"), SystemTime::now()), known(&last, 1));
}

#[test]
fn garbage_is_skipped_and_lines_keep_their_numbers() {
    let keys = Keys::new();
    let a = keys.public("a");
    let (kind, base64) = a.split_once(' ').expect("two words");
    let mut text = b"\xff\xfe\0\n@nonsense h x y\nh\nh ssh-ed25519\n".to_vec();
    text.extend_from_slice(format!("h ssh-rsa {base64}\nh {kind} {}\n", &base64[1..]).as_bytes());
    text.extend(vec![b'x'; 200 * 1024]);
    text.extend_from_slice(format!("\nh\t{kind}\t{base64} a comment").as_bytes());
    let file = keys.scratch.write("garbage", text);
    assert_eq!(keys.find(&file, &host("h"), "a"), known(&file, 8));
}

#[test]
fn a_certificate_is_known_by_its_authority_for_the_names_it_carries() {
    let keys = Keys::new();
    let certificate = keys.certify("a", "ca", &["-n", "h.example,*.wild.example"]);
    let file = keys.known_hosts(&format!("@cert-authority *.example {}\n", keys.public("ca")));
    let find = |name: &HostName| find(std::slice::from_ref(&file), name, &certificate, SystemTime::now());
    assert_eq!(find(&host("h.example")), known(&file, 1));
    assert_eq!(find(&HostName::new("h.example", 2222, None)), known(&file, 1));
    assert_eq!(find(&host("x.wild.example")), known(&file, 1));
    assert_eq!(find(&host("other.example")), Answer::Unknown);
    assert_eq!(find(&host("h.elsewhere")), Answer::Unknown);
    // The authority's own key is not a host's.
    assert_eq!(keys.find(&file, &host("h.example"), "ca"), Answer::Unknown);
}

#[test]
fn a_certificate_that_is_expired_or_not_a_host_s_or_of_another_authority_is_unknown() {
    let keys = Keys::new();
    let file = keys.known_hosts(&format!("@cert-authority * {}\n", keys.public("ca")));
    let files = std::slice::from_ref(&file);
    let expired = keys.certify("a", "ca", &["-n", "h", "-V", "20200101:20210101"]);
    assert_eq!(find(files, &host("h"), &expired, SystemTime::now()), Answer::Unknown);
    let then = UNIX_EPOCH + Duration::from_secs(1_590_000_000);
    assert_eq!(find(files, &host("h"), &expired, then), known(&file, 1));
    let foreign = keys.certify("a", "b", &["-n", "h"]);
    assert_eq!(find(files, &host("h"), &foreign, SystemTime::now()), Answer::Unknown);
    let nameless = keys.certify("a", "ca", &[]);
    assert_eq!(find(files, &host("h"), &nameless, SystemTime::now()), Answer::Unknown);
    let user = keys.certificate_blob("a", "ca", &["-n", "h"], false);
    assert!(HostKey::from_wire(&user).is_err());
}

#[test]
fn a_certificate_falls_back_to_its_plain_key_and_is_revoked_with_key_or_authority() {
    let keys = Keys::new();
    let certificate = keys.certify("a", "ca", &["-n", "h"]);
    let plain = keys.known_hosts(&format!("h {}\n", keys.public("a")));
    assert_eq!(find(std::slice::from_ref(&plain), &host("h"), &certificate, SystemTime::now()), known(&plain, 1));
    for revoked in ["a", "ca"] {
        let text = format!("@cert-authority * {}\n@revoked * {}\n", keys.public("ca"), keys.public(revoked));
        let file = keys.scratch.write("revoking", text);
        let place = Place { file: file.clone(), line: 2 };
        assert_eq!(find(&[file], &host("h"), &certificate, SystemTime::now()), Answer::Revoked(place));
    }
}

#[test]
fn truncated_and_empty_blobs_are_no_host_keys() {
    assert!(HostKey::from_wire(b"").is_err());
    assert!(HostKey::from_wire(b"\0\0\0\x20ssh").is_err());
    assert!(HostKey::from_wire(b"\0\0\0\x20ssh-ed25519-cert-v01@openssh.com").is_err());
}

#[test]
fn a_key_s_names_are_found_hashed_ones_only_by_guessing() {
    let keys = Keys::new();
    let file = keys.known_hosts(&format!("h1,*.p,[h2]:99 {0}\nh3 {1}\nh1 {0}\n", keys.public("a"), keys.public("b")));
    let hashed = keys.scratch.write("hashed", format!("secret {}\n", keys.public("a")));
    ssh_keygen(&["-q", "-H", "-f", &hashed.to_string_lossy()]);
    let names = |candidates: &[&str]| -> Vec<String> {
        let candidates: Vec<_> = candidates.iter().map(ToString::to_string).collect();
        let found = names_of(&[file.clone(), hashed.clone()], &keys.key("a"), &candidates, SystemTime::now());
        found.into_iter().map(|name| name.name).collect()
    };
    assert_eq!(names(&[]), ["h1", "[h2]:99"]);
    assert_eq!(names(&["h3", "secret", "x.p"]), ["h1", "[h2]:99", "x.p", "secret"]);
}

#[test]
fn a_certificate_s_names_are_those_it_carries_and_the_authority_may_give() {
    let keys = Keys::new();
    let certificate = keys.certify("a", "ca", &["-n", "h.example,evil.elsewhere"]);
    let file = keys.known_hosts(&format!("@cert-authority *.example {}\n", keys.public("ca")));
    let names = names_of(&[file], &certificate, &[], SystemTime::now());
    assert_eq!(names.iter().map(|name| name.name.as_str()).collect::<Vec<_>>(), ["h.example"]);
}

#[test]
fn a_hundred_thousand_hashed_lines_are_no_obstacle() {
    let keys = Keys::new();
    let other = keys.public("b");
    let hashed = "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=";
    let mut text = format!("{hashed} {other}\n").repeat(99_999);
    text.push_str(&format!("h {}\n", keys.public("a")));
    let file = keys.known_hosts(&text);
    assert_eq!(keys.find(&file, &host("h"), "a"), known(&file, 100_000));
    // Every line's hash has to be computed when every line holds the key.
    assert_eq!(keys.find(&file, &host("h"), "b"), Answer::Unknown);
}

/// Keys made by the real `ssh-keygen`.
struct Keys {
    scratch: Scratch,
}

impl Keys {
    fn new() -> Self {
        let scratch = Scratch::new();
        for name in ["a", "b", "ca"] {
            ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", &scratch.path(name).to_string_lossy()]);
        }
        Self { scratch }
    }

    fn public(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.scratch.path(&format!("{name}.pub"))).expect("public key");
        text.trim().to_owned()
    }

    fn key(&self, name: &str) -> HostKey {
        HostKey::from_wire(&blob(&self.public(name))).expect("host key")
    }

    fn known_hosts(&self, text: &str) -> PathBuf {
        self.scratch.write("known_hosts", text)
    }

    fn find(&self, file: &Path, name: &HostName, key: &str) -> Answer {
        find(&[file.to_owned()], name, &self.key(key), SystemTime::now())
    }

    fn certify(&self, key: &str, authority: &str, options: &[&str]) -> HostKey {
        HostKey::from_wire(&self.certificate_blob(key, authority, options, true)).expect("certificate")
    }

    fn certificate_blob(&self, key: &str, authority: &str, options: &[&str], for_host: bool) -> Vec<u8> {
        let (authority, public) = (self.scratch.path(authority), self.scratch.path(&format!("{key}.pub")));
        let (authority, public) = (authority.to_string_lossy(), public.to_string_lossy());
        let kind: &[&str] = if for_host { &["-h"] } else { &[] };
        ssh_keygen(&[&["-q", "-s", &authority, "-I", "test"], kind, options, &[&public]].concat());
        let text = std::fs::read_to_string(self.scratch.path(&format!("{key}-cert.pub"))).expect("certificate");
        blob(&text)
    }
}

fn blob(line: &str) -> Vec<u8> {
    Base64::decode_vec(line.split(' ').nth(1).expect("two words").trim()).expect("base64")
}

fn host(name: &str) -> HostName {
    HostName::new(name, 22, None)
}

fn known(file: &Path, line: usize) -> Answer {
    Answer::Known(Place { file: file.to_owned(), line })
}
