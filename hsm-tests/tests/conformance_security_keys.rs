//! Security keys by handle (OpenSSH PROTOCOL.u2f and PROTOCOL.agent), with a middleware that is made of software.

use base64ct::{Base64, Encoding};
use hsm_tests::{
    Agent, Body, Client, Fields, Home, Hop, Hosts, KeyFile, PublicKey, Token, is_stock, login, restricted_to,
    soft_security_key, stock_cannot,
};
use sha2::{Digest, Sha512};

const KINDS: [(&str, &str); 2] =
    [("ed25519-sk", "sk-ssh-ed25519@openssh.com"), ("ecdsa-sk", "sk-ecdsa-sha2-nistp256@openssh.com")];

fn agent(home: &Home) -> Agent {
    Agent::with(home).as_stock().start()
}

fn security_key(home: &Home, name: &str, kind: &str) -> KeyFile {
    let middleware = soft_security_key();
    KeyFile::with(home, name, &["-t", kind, "-w", &middleware.to_string_lossy()], "")
}

fn provided_by(provider: impl AsRef<[u8]>) -> Vec<u8> {
    Body::new(255).string("sk-provider@openssh.com").string(provider).bytes()
}

fn middleware() -> Vec<u8> {
    provided_by(soft_security_key().as_os_str().as_encoded_bytes())
}

fn adding(key: &[u8], constraints: &[u8]) -> Vec<u8> {
    Body::new(Client::ADD_CONSTRAINED).raw(key).raw(constraints).bytes()
}

fn sshsig(message: &[u8]) -> Vec<u8> {
    let digest = Sha512::digest(message);
    Body::nothing().raw(b"SSHSIG").string("test").string("").string("sha512").string(digest).bytes()
}

/// Has ssh-keygen verify a signature over a message.
fn verifies(home: &Home, blob: &[u8], message: &str, signature: &[u8]) -> bool {
    let body = Body::nothing().raw(b"SSHSIG\0\0\0\x01").string(blob).string("test").string("").string("sha512");
    let encoded = Base64::encode_string(&body.string(signature).bytes());
    let file =
        home.file("signature", format!("-----BEGIN SSH SIGNATURE-----\n{encoded}\n-----END SSH SIGNATURE-----\n"));
    let check = ["-Y", "check-novalidate", "-n", "test", "-s"];
    home.command("ssh-keygen").args(check).arg(file).input(message).run().code() == Some(0)
}

//= RFC 9987 section 5.2.5: Agents and their clients MAY support additional key types not documented here.
#[test]
fn both_types_and_their_certificates_are_added_listed_used_and_removed() {
    for (kind, algorithm) in KINDS {
        let home = Home::new();
        let agent = agent(&home);
        let mut client = agent.client();
        let key = security_key(&home, "key", kind);
        let certificate = key.certified_by(&home, &KeyFile::new(&home, "authority"), &["-n", "ada"]);
        for added in [key.as_added(), key.as_added_with(&certificate)] {
            assert!(client.succeeds(&adding(&added, &middleware())), "{kind}\n{}", agent.log());
        }
        let blobs: Vec<Vec<u8>> = client.list().expect("a list").into_iter().map(|(blob, _)| blob).collect();
        assert_eq!(blobs, [key.public().blob(), certificate.blob()]);
        for blob in blobs {
            let signature =
                client.sign(&blob, &sshsig(b"message"), 0).unwrap_or_else(|| panic!("{kind}\n{}", agent.log()));
            assert_eq!(Fields::of(&signature).string(), algorithm.as_bytes());
            assert!(verifies(&home, &key.public().blob(), "message", &signature), "{kind}: {signature:02x?}");
            assert!(!verifies(&home, &key.public().blob(), "another", &signature));
            assert!(client.succeeds(&Body::new(Client::REMOVE).string(&blob).bytes()));
            assert_eq!(client.sign(&blob, &sshsig(b"message"), 0), None);
        }
    }
}

#[test]
fn a_key_whose_middleware_nobody_named_signs_nothing() {
    let home = Home::new();
    let agent = agent(&home);
    let key = security_key(&home, "key", "ed25519-sk");
    let added = agent.client().succeeds(&Body::new(Client::ADD).raw(&key.as_added()).bytes());
    // Stock takes the key and fails with it; whether that is said at once or later, there is no signature.
    assert!(added || !is_stock());
    assert_eq!(agent.client().sign(&key.public().blob(), &sshsig(b"message"), 0), None);
}

#[test]
fn a_middleware_is_loaded_only_from_allowed_places() {
    let home = Home::new();
    let elsewhere = home.path("sk.so");
    std::fs::copy(soft_security_key(), &elsewhere).expect("copy the middleware");
    let agent = agent(&home);
    let key = security_key(&home, "key", "ed25519-sk");
    for refused in [elsewhere.as_os_str().as_encoded_bytes(), b"/nonexistent/sk.so", b"sk-dummy.so", b""] {
        assert!(!agent.client().succeeds(&adding(&key.as_added(), &provided_by(refused))), "{refused:?}");
    }
    assert_eq!(agent.client().list().expect("a list"), []);

    let generous = Agent::with(&home).as_stock().named("generous").arg("-P").arg(elsewhere.as_os_str()).start();
    let constraint = provided_by(elsewhere.as_os_str().as_encoded_bytes());
    assert!(generous.client().succeeds(&adding(&key.as_added(), &constraint)), "{}", generous.log());
    assert!(generous.client().sign(&key.public().blob(), &sshsig(b"message"), 0).is_some());
}

#[test]
fn a_bound_connection_may_not_name_a_middleware() {
    let home = Home::new();
    let (agent, hosts) = (agent(&home), Hosts::new(&home));
    let host = hosts.add("host");
    let key = security_key(&home, "key", "ed25519-sk");
    for is_forwarding in [false, true] {
        let mut client = agent.client();
        assert!(client.succeeds(&hosts.bind(&host, b"session", is_forwarding)));
        assert!(!client.succeeds(&adding(&key.as_added(), &middleware())));
    }
    assert_eq!(agent.client().list().expect("a list"), []);
}

#[test]
fn a_middleware_belongs_to_security_keys_and_is_named_once() {
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let key = security_key(&home, "key", "ed25519-sk");
    let plain = KeyFile::new(&home, "plain");
    let twice = [middleware(), middleware()].concat();
    assert!(!client.succeeds(&adding(&plain.as_added(), &middleware())));
    assert!(!client.succeeds(&adding(&key.as_added(), &twice)));
    assert!(!client.succeeds(&adding(&key.as_added(), &Body::new(255).string("sk-provider@openssh.com").bytes())));
    let card = Body::new(26).string("/usr/lib/softhsm/libsofthsm2.so").string("1234").raw(&middleware()).bytes();
    assert!(!client.succeeds(&card));
    assert_eq!(client.list().expect("a list"), []);
}

#[test]
fn a_certificate_and_its_key_have_to_agree() {
    for (kind, _) in KINDS {
        let home = Home::new();
        let agent = agent(&home);
        let (key, other) = (security_key(&home, "key", kind), security_key(&home, "other", kind));
        let authority = KeyFile::new(&home, "authority");
        let certificate = key.certified_by(&home, &authority, &["-n", "ada"]);
        let mut another_application = key.as_added_with(&certificate);
        let at =
            another_application.windows(8).rposition(|window| window == b"\0\0\0\x04ssh:").expect("the application");
        another_application[at + 7] = b';';
        assert!(!agent.client().succeeds(&adding(&another_application, &middleware())), "{kind}");
        if kind == "ed25519-sk" {
            // Only this type says its public half beside the certificate.
            assert!(!agent.client().succeeds(&adding(&other.as_added_with(&certificate), &middleware())));
        }
    }
}

#[test]
fn a_key_of_the_web_signs_what_is_ssh_s_only() {
    for (arguments, freely) in [
        (&[][..], false),
        (&["-O", "no-restrict-websafe"], true),
        (&["-O", "websafe-allow=example.*"], true),
        (&["-O", "websafe-allow=ssh:*,other.*"], false),
    ] {
        if is_stock() && arguments.iter().any(|argument| argument.starts_with("websafe-allow")) {
            // From 10.0 on.
            continue;
        }
        let home = Home::new();
        let builder = Agent::with(&home).as_stock();
        let agent = arguments.iter().fold(builder, |builder, argument| builder.arg(*argument)).start();
        let mut client = agent.client();
        let ssh = security_key(&home, "key", "ed25519-sk");
        let web = of_the_web(&ssh);
        for added in [ssh.as_added(), web.clone()] {
            assert!(client.succeeds(&adding(&added, &middleware())), "{}", agent.log());
        }
        let web = blob_of_the_web(ssh.public());
        assert!(
            client.sign(&ssh.public().blob(), b"anything", 0).is_some()
                || arguments.contains(&"websafe-allow=example.*")
        );
        assert!(client.sign(&web, &sshsig(b"message"), 0).is_some(), "a message signature");
        assert_eq!(client.sign(&web, b"anything", 0).is_some(), freely, "{arguments:?}: data of unknown meaning");
        let surplus = [&sshsig(b"message")[..], b"x"].concat();
        assert_eq!(client.sign(&web, &surplus, 0).is_some(), freely, "{arguments:?}: a message signature and a byte");
        // A login names the key that makes it.
        let login = login(b"session", "ada", ssh.public(), None);
        assert_eq!(client.sign(&web, &login, 0).is_some(), freely, "{arguments:?}: another key's login");
    }
}

#[test]
fn a_restricted_security_key_is_restricted() {
    let home = Home::new();
    let (agent, hosts) = (agent(&home), Hosts::new(&home));
    let (host, other) = (hosts.add("host"), hosts.add("other"));
    let key = security_key(&home, "key", "ecdsa-sk");
    let restriction = restricted_to(&[(Hop::origin(), Hop::host("host", &host))]);
    assert!(agent.client().succeeds(&adding(&key.as_added(), &[middleware(), restriction].concat())));
    for (bound_to, expected) in [(&host, true), (&other, false)] {
        let mut client = agent.client();
        assert!(client.succeeds(&hosts.bind(bound_to, b"session", false)));
        let data = login(b"session", "ada", key.public(), Some(&bound_to.key));
        assert_eq!(client.sign(&key.public().blob(), &data, 0).is_some(), expected);
    }
}

#[test]
fn a_middleware_that_is_none_costs_only_its_own_signature() {
    if stock_cannot("say so") {
        return;
    }
    let home = Home::new();
    let mut agent = Agent::with(&home).as_stock().arg("-P").arg("/*").start();
    let key = security_key(&home, "key", "ed25519-sk");
    let softhsm = std::fs::canonicalize(Token::new(&home, "token", &[]).library()).expect("the library's own path");
    for (provider, reason) in
        [(softhsm, "not a security key's middleware"), (home.file("text.so", "no library"), "too short")]
    {
        let constraint = provided_by(provider.as_os_str().as_encoded_bytes());
        assert!(agent.client().succeeds(&adding(&key.as_added(), &constraint)));
        assert_eq!(agent.client().sign(&key.public().blob(), &sshsig(b"message"), 0), None);
        agent.wait_for_log(&provider.display().to_string());
        agent.wait_for_log(reason);
    }
    assert!(agent.client().succeeds(&adding(&key.as_added(), &middleware())));
    assert!(agent.client().sign(&key.public().blob(), &sshsig(b"message"), 0).is_some());
}

/// The key for another application, as a browser would have made it.
fn of_the_web(key: &KeyFile) -> Vec<u8> {
    replaced(&key.as_added())
}

fn blob_of_the_web(key: &PublicKey) -> Vec<u8> {
    replaced(&key.blob())
}

fn replaced(encoded: &[u8]) -> Vec<u8> {
    let (ssh, web) = (&b"\0\0\0\x04ssh:"[..], &b"\0\0\0\x0bexample.org"[..]);
    let at = encoded.windows(ssh.len()).position(|window| window == ssh).expect("the application");
    [&encoded[..at], web, &encoded[at + ssh.len()..]].concat()
}
