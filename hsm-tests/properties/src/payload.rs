//! What is to be signed: whatever is recognised is recognised to the last octet, so that the way back gives the same octets.

use hardkey::protocol::payload::{Certificate, Login, Payload, Sudo};

use crate::octets::{split_string, split_strings, string, strings};

/// Input: the octets to be signed.
pub fn check(input: &[u8]) {
    match Payload::of(input) {
        Payload::Login(login) => {
            assert_eq!(encode_login(&login, "publickey"), input);
            assert!(!login.session_id.is_empty());
        }
        Payload::BoundLogin { login, host_key } => {
            let octets = [encode_login(&login, "publickey-hostbound-v00@openssh.com"), string(host_key)].concat();
            assert_eq!(octets, input);
            assert!(!login.session_id.is_empty());
        }
        Payload::SshSig { namespace } => {
            let body = input.strip_prefix(b"SSHSIG").expect("the magic of a message signature");
            let (fields, rest) = split_strings::<4>(body).expect("the fields of a message signature");
            assert_eq!((fields[0], rest), (namespace, &[][..]));
        }
        Payload::Certificate(certificate) => certificate_is(&certificate, input),
        Payload::Sudo(sudo) => {
            let words = sudo.command.iter().flat_map(|word| string(word));
            let count = u32::try_from(sudo.command.len()).expect("few words").to_be_bytes();
            let command: Vec<u8> = count.into_iter().chain(words).collect();
            let has_no_words = sudo.command.is_empty() && encode_sudo(&sudo, b"", input) == input;
            assert!(has_no_words || encode_sudo(&sudo, &command, input) == input);
        }
        Payload::HostKex { .. } => panic!("a hash cannot be told from other octets"),
        Payload::Raw => assert!(!looks_like_a_login(input), "a login was not recognised"),
    }
}

fn encode_login(login: &Login<'_>, method: &str) -> Vec<u8> {
    let fields = [login.user, b"ssh-connection", method.as_bytes()].map(string).concat();
    let key = [login.algorithm, login.key].map(string).concat();
    [&string(login.session_id)[..], &[50], &fields, &[1], &key].concat()
}

/// What is not kept of the request stands in `input` at the place where it has to be: random octets, algorithm and key.
fn encode_sudo(sudo: &Sudo<'_>, command: &[u8], input: &[u8]) -> Vec<u8> {
    let (_, record) = input.split_at(8);
    let (random, _) = split_string(record).expect("random octets");
    let fields = [random, sudo.user, sudo.caller, sudo.service, sudo.directory, command, sudo.hostname].map(string);
    let record = [&[0, 0, 0, 101][..], &fields.concat(), &sudo.time.to_be_bytes()].concat();
    let request = [sudo.caller, b"pam_ssh_agent_auth", b"publickey"].map(string).concat();
    let begin = [&string(&record)[..], &[54], &request, &[1]].concat();
    let ([algorithm, key], _) = split_strings::<2>(&input[begin.len()..]).expect("algorithm and key");
    [begin, [algorithm, key].map(string).concat()].concat()
}

/// Whether these are the octets of a login by `publickey` (RFC 4252 section 7), read backwards from a guess at its session
/// identifier, user and key.
fn looks_like_a_login(input: &[u8]) -> bool {
    let parts = || {
        let (session_id, rest) = split_string(input)?;
        let (kind, rest) = rest.split_first()?;
        let ([user, service, method], rest) = split_strings::<3>(rest)?;
        let (signed, rest) = rest.split_first()?;
        let ([algorithm, key], rest) = split_strings::<2>(rest)?;
        let named = (*kind, service, method, *signed) == (50, b"ssh-connection", b"publickey", 1);
        let login = Login { session_id, user, algorithm, key };
        (named && !session_id.is_empty() && rest.is_empty()).then_some(login)
    };
    parts().is_some_and(|login| encode_login(&login, "publickey") == input)
}

/// OpenSSH PROTOCOL.certkeys: type, nonce, the key's own fields, and then what is checked here, up to the authority's key.
fn certificate_is(certificate: &Certificate<'_>, input: &[u8]) {
    let (kind, rest) = split_string(input).expect("a type");
    let key_fields = match kind {
        b"ssh-ed25519-cert-v01@openssh.com" => 1,
        b"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com" => 3,
        _ => 2,
    };
    let rest = (0..=key_fields).fold(rest, |rest, _| split_string(rest).expect("nonce and key").1);
    let (_serial, rest) = rest.split_first_chunk::<8>().expect("a serial number");
    let (role, rest) = rest.split_first_chunk::<4>().expect("a role");
    let ([key_id, principals], rest) = split_strings::<2>(rest).expect("identity and principals");
    let (_valid_after, rest) = rest.split_first_chunk::<8>().expect("begin of validity");
    let (valid_before, rest) = rest.split_first_chunk::<8>().expect("end of validity");
    let (_, rest) = split_strings::<4>(rest).expect("options, extensions, reserved and authority");
    assert!(rest.is_empty());
    assert_eq!(*role, if certificate.is_host { [0, 0, 0, 2] } else { [0, 0, 0, 1] });
    assert_eq!((certificate.key_id, certificate.valid_before), (key_id, u64::from_be_bytes(*valid_before)));
    assert!(strings(principals).eq(certificate.principals.iter().copied()));
}
