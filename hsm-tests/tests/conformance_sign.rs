//! Signatures: flags, algorithms, and what may be signed (RFC 9987 section 5.6).

use base64ct::{Base64, Encoding};
use hsm_tests::{Agent, Body, Client, Fields, Home, KeyFile, PublicKey, login, stock_cannot};
use sha2::{Digest, Sha256, Sha512};

const SHA2_256: u32 = 2;
const SHA2_512: u32 = 4;

/// An agent that has the key and a certificate of it.
fn with_key(home: &Home, kind: &[&str]) -> (Agent, KeyFile, PublicKey) {
    let agent = Agent::with(home).as_stock().start();
    let authority = KeyFile::new(home, "authority");
    let key = KeyFile::with(home, "key", kind, "");
    let certificate = key.certified_by(home, &authority, &["-n", "ada"]);
    let mut client = agent.client();
    for added in [key.as_added(), key.as_added_with(&certificate)] {
        assert!(client.succeeds(&Body::new(Client::ADD).raw(&added).bytes()));
    }
    (agent, key, certificate)
}

fn algorithm(signature: &[u8]) -> String {
    String::from_utf8(Fields::of(signature).string()).expect("the name of an algorithm")
}

/// The blob of OpenSSH PROTOCOL.sshsig that is signed for a message.
fn sshsig(hash: &str, message: &[u8]) -> Vec<u8> {
    let digest = if hash == "sha256" { Sha256::digest(message).to_vec() } else { Sha512::digest(message).to_vec() };
    [&b"SSHSIG"[..], &strings(&[b"test", b"", hash.as_bytes(), &digest])].concat()
}

fn strings(fields: &[&[u8]]) -> Vec<u8> {
    fields.iter().fold(Body::nothing(), |body, field| body.string(field)).bytes()
}

/// Has ssh-keygen verify a signature over a message, and tell by its own judgement whether it is one.
fn verifies(home: &Home, key: &PublicKey, hash: &str, message: &str, signature: &[u8]) -> bool {
    let body = [&b"SSHSIG\0\0\0\x01"[..], &strings(&[&key.blob(), b"test", b"", hash.as_bytes(), signature])].concat();
    let text =
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", Base64::encode_string(&body));
    let file = home.file("signature", text);
    let check = ["-Y", "check-novalidate", "-n", "test", "-s"];
    home.command("ssh-keygen").args(check).arg(file).input(message).run().code() == Some(0)
}

//= RFC 9987 section 5.6: On success, the agent MUST reply with: byte SSH_AGENT_SIGN_RESPONSE string signature
#[test]
fn every_algorithm_s_signature_is_good_for_openssh_by_key_and_by_certificate() {
    for (kind, expected) in [
        (&["-t", "ed25519"][..], "ssh-ed25519"),
        (&["-t", "ecdsa", "-b", "256"], "ecdsa-sha2-nistp256"),
        (&["-t", "ecdsa", "-b", "384"], "ecdsa-sha2-nistp384"),
        (&["-t", "ecdsa", "-b", "521"], "ecdsa-sha2-nistp521"),
        (&["-t", "rsa", "-b", "2048"], "rsa-sha2-512"),
        (&["-t", "rsa", "-b", "3072"], "rsa-sha2-512"),
    ] {
        let home = Home::new();
        let (agent, key, certificate) = with_key(&home, kind);
        let mut client = agent.client();
        // Many, because a number that happens to begin with a zero byte is written in another length.
        for index in 0..20 {
            let message = format!("message {index}");
            let blob = if index % 2 == 0 { key.public().blob() } else { certificate.blob() };
            let signature = client.sign(&blob, &sshsig("sha512", message.as_bytes()), SHA2_512).expect("a signature");
            assert_eq!(algorithm(&signature), expected, "a certificate signs under its key's name");
            assert!(verifies(&home, key.public(), "sha512", &message, &signature), "{kind:?}: {signature:02x?}");
            assert!(!verifies(&home, key.public(), "sha512", "another message", &signature));
        }
    }
}

//= RFC 9987 section 5.6.1: request that the agent return a signature using the "rsa-sha2-256" or "rsa-sha2-512"
//= signature methods, respectively
#[test]
fn the_flags_choose_the_hash_of_an_rsa_signature() {
    let home = Home::new();
    let (agent, key, certificate) = with_key(&home, &["-t", "rsa", "-b", "2048"]);
    let mut client = agent.client();
    for blob in [key.public().blob(), certificate.blob()] {
        for (flags, expected) in [
            (SHA2_256, "rsa-sha2-256"),
            (SHA2_512, "rsa-sha2-512"),
            (SHA2_256 | SHA2_512, "rsa-sha2-256"),
            (SHA2_512 | 1, "rsa-sha2-512"),
            (SHA2_512 | 0x8000_0000, "rsa-sha2-512"),
        ] {
            let signature = client.sign(&blob, &sshsig("sha256", b"message"), flags).expect("a signature");
            assert_eq!(algorithm(&signature), expected, "flags {flags:#x}");
            assert!(verifies(&home, key.public(), "sha256", "message", &signature), "flags {flags:#x}");
            let mut fields = Fields::of(&signature);
            assert_eq!((fields.string().len(), fields.string().len()), (expected.len(), 256));
        }
    }
}

#[test]
fn without_a_flag_stock_signs_with_sha_1_and_strict_judgement_never() {
    let home = Home::new();
    let (agent, key, _) = with_key(&home, &["-t", "rsa", "-b", "2048"]);
    let blob = key.public().blob();
    let login = login(b"session", "ada", key.public(), None);
    let signed = |client: &mut Client, data: &[u8]| client.sign(&blob, data, 0).map(|signature| algorithm(&signature));
    for data in [&b"raw data"[..], &login, &sshsig("sha256", b"message")] {
        assert_eq!(signed(&mut agent.client(), data).as_deref(), Some("ssh-rsa"));
    }
    if stock_cannot("be strict") {
        return;
    }
    let strict = Agent::with(&home).named("strict").allowed_by_a_person().start();
    strict.ssh_add([key.path()]).run().succeeds();
    // Data that name no algorithm may as well be signed with a better one; the others could only mean SHA-1.
    assert_eq!(signed(&mut strict.client(), b"raw data").as_deref(), Some("rsa-sha2-256"));
    assert_eq!(signed(&mut strict.client(), &login), None);
    assert_eq!(signed(&mut strict.client(), &sshsig("sha256", b"message")), None);
}

#[test]
fn flags_mean_nothing_to_other_keys_but_have_to_be_there() {
    let home = Home::new();
    let (agent, key, _) = with_key(&home, &["-t", "ed25519"]);
    let mut client = agent.client();
    for flags in [0, 1, 2, 4, 6, u32::MAX] {
        assert!(client.sign(&key.public().blob(), b"data", flags).is_some(), "flags {flags:#x}");
    }
    let without_flags = Body::new(Client::SIGN).string(key.public().blob()).string("data").bytes();
    assert_eq!(client.ask(&without_flags), Some(vec![Client::FAILURE]));
}

#[test]
fn anything_from_nothing_to_200_kib_can_be_signed() {
    for kind in [&["-t", "ed25519"][..], &["-t", "ecdsa"], &["-t", "rsa", "-b", "2048"]] {
        let home = Home::new();
        let (agent, key, _) = with_key(&home, kind);
        let mut client = agent.client();
        for length in [0, 1, 4095, 4096, 200 * 1024] {
            let signature = client.sign(&key.public().blob(), &vec![b'x'; length], SHA2_256);
            assert!(signature.is_some(), "{kind:?}: {length} bytes");
        }
    }
}

//= RFC 9987 section 5.6: because it doesn't have the specified key
#[test]
fn a_key_is_named_by_its_whole_blob() {
    let home = Home::new();
    let (agent, key, certificate) = with_key(&home, &["-t", "ed25519"]);
    let mut client = agent.client();
    let blob = key.public().blob();
    let other = KeyFile::new(&home, "other").public().blob();
    let other_certificate = key.certified_by(&home, &KeyFile::new(&home, "other-authority"), &["-n", "ada"]).blob();
    assert_ne!(other_certificate, certificate.blob());
    for unknown in [other, other_certificate, [&blob[..], b"x"].concat(), blob[..blob.len() - 1].to_vec(), Vec::new()] {
        assert_eq!(client.sign(&unknown, b"data", 0), None);
    }
    assert!(client.sign(&blob, b"data", 0).is_some());
}
