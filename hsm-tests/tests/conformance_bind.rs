//! `session-bind@openssh.com` (OpenSSH PROTOCOL.agent section 1) and the other extensions.

use hsm_tests::{Agent, Body, Client, Fields, Home, Host, Hosts, KeyFile, bind, is_stock, stock_cannot};

/// What a bind that failed is answered with: OpenSSH tells it from an unknown extension since 10.3.
fn refused() -> Vec<u8> {
    vec![if is_stock() { Client::FAILURE } else { Client::EXTENSION_FAILURE }]
}

fn accepted() -> Vec<u8> {
    vec![Client::SUCCESS]
}

fn agent(home: &Home) -> (Agent, Hosts) {
    (Agent::with(home).as_stock().start(), Hosts::new(home))
}

#[test]
fn every_type_of_host_key_and_a_certificate_bind() {
    let home = Home::new();
    let (agent, hosts) = agent(&home);
    let authority = KeyFile::new(&home, "authority");
    let mut known: Vec<(&str, Host, u32)> = vec![
        ("ed25519", hosts.add("ed25519"), 0),
        ("certificate", hosts.certified("certified", &authority, &["-h", "-n", "certified"]), 0),
    ];
    for bits in ["256", "384", "521"] {
        known.push(("ecdsa", hosts.add_with(bits, &["-t", "ecdsa", "-b", bits]), 0));
    }
    let rsa = hosts.add_with("rsa", &["-t", "rsa", "-b", "2048"]);
    known.extend([("rsa-sha2-256", rsa.clone(), 2), ("rsa-sha2-512", rsa, 4)]);
    for (name, host, flags) in known {
        for is_forwarding in [false, true] {
            let signature = hosts.sign(&host, b"session", flags);
            let answer = agent.client().ask(&bind(&host.key, b"session", &signature, is_forwarding));
            assert_eq!(answer, Some(accepted()), "{name}\n{}", agent.log());
        }
    }
}

//= RFC 9987 section 5.8: Extension failure SHOULD be signaled using an SSH_AGENT_EXTENSION_FAILURE message
#[test]
fn a_bind_has_to_be_signed_by_the_host_key_over_the_session() {
    let home = Home::new();
    let (agent, hosts) = agent(&home);
    let [a, b] = ["a", "b"].map(|name| hosts.add(name));
    let good = hosts.sign(&a, b"session", 0);
    let mut flipped = good.clone();
    *flipped.last_mut().expect("a signature") ^= 1;
    let other_algorithm = Body::nothing().string("ssh-rsa").string(Fields::of(&good[15..]).string()).bytes();
    for (name, key, session, signature) in [
        ("another session's signature", &a.key, &b"session"[..], hosts.sign(&a, b"another", 0)),
        ("another host's signature", &a.key, b"session", hosts.sign(&b, b"session", 0)),
        ("another host's key", &b.key, b"session", good.clone()),
        ("a bit wrong", &a.key, b"session", flipped),
        ("cut", &a.key, b"session", good[..good.len() - 1].to_vec()),
        ("with a byte too many", &a.key, b"session", [&good[..], b"x"].concat()),
        ("empty", &a.key, b"session", Vec::new()),
        ("nonsense", &a.key, b"session", b"nonsense".to_vec()),
        ("of another algorithm", &a.key, b"session", other_algorithm),
    ] {
        assert_eq!(agent.client().ask(&bind(key, session, &signature, true)), Some(refused()), "{name}");
    }
}

#[test]
fn a_bind_out_of_form_is_refused_and_the_connection_lives() {
    let home = Home::new();
    let (agent, hosts) = agent(&home);
    let host = hosts.add("host");
    let good = hosts.bind(&host, b"session", true);
    let name_only = good.len() - hosts_part(&good);
    let mut client = agent.client();
    for length in name_only..good.len() {
        assert_eq!(client.ask(&good[..length]), Some(refused()), "{length} of {} bytes", good.len());
    }
    let unknown = Body::nothing().string("ssh-nonsense").string("key").bytes();
    for key in [unknown, b"nonsense".to_vec(), Vec::new(), [&host.key[..], b"x"].concat()] {
        let signature = hosts.sign(&host, b"session", 0);
        assert_eq!(client.ask(&bind(&key, b"session", &signature, true)), Some(refused()), "{key:02x?}");
    }
    assert_eq!(client.list().expect("a list"), []);
}

/// How much of the message is behind the extension's name.
fn hosts_part(message: &[u8]) -> usize {
    let mut fields = Fields::of(&message[1..]);
    fields.string();
    fields.rest().len()
}

#[test]
fn what_follows_a_bind_is_ignored_and_every_number_but_0_means_forwarding() {
    let home = Home::new();
    let (agent, hosts) = agent(&home);
    let host = hosts.add("host");
    let mut client = agent.client();
    let mut ask = |session: &[u8], flag: u8| {
        let mut message = hosts.bind(&host, session, false);
        *message.last_mut().expect("a flag") = flag;
        message.extend(b"surplus");
        client.ask(&message).expect("an answer")
    };
    for flag in [1, 2, 255] {
        assert_eq!(ask(&[flag], flag), accepted(), "flag {flag}");
    }
    assert_eq!(ask(b"login", 0), accepted());
    assert_eq!(ask(b"late", 1), refused(), "the bind before was none for a login");
}

#[test]
fn a_session_identifier_has_128_bytes_at_most() {
    let home = Home::new();
    let (agent, hosts) = agent(&home);
    let host = hosts.add("host");
    for length in [0, 1, 20, 64, 128] {
        let answer = agent.client().ask(&hosts.bind(&host, &vec![b's'; length], true));
        assert_eq!(answer, Some(accepted()), "{length} bytes");
    }
    // Stock says yes and records nothing; a client that trusts the answer believes that it is bound.
    let too_long = agent.client().ask(&hosts.bind(&host, &[b's'; 129], true));
    assert_eq!(too_long, Some(if is_stock() { accepted() } else { refused() }));
}

#[test]
fn nothing_may_follow_the_bind_of_a_login() {
    let home = Home::new();
    let (agent, hosts) = agent(&home);
    let [a, b] = ["a", "b"].map(|name| hosts.add(name));
    for (first, path) in [("login", vec![]), ("hop, then login", vec![(&b, &b"hop"[..], true)])] {
        for (name, host, session, is_forwarding) in [
            ("the same", &a, &b"login"[..], false),
            ("the same, forwarding", &a, b"login", true),
            ("a login elsewhere", &b, b"other", false),
            ("a hop", &b, b"other", true),
        ] {
            let mut client = agent.client();
            for (host, session, is_forwarding) in &path {
                assert_eq!(client.ask(&hosts.bind(host, session, *is_forwarding)), Some(accepted()));
            }
            assert_eq!(client.ask(&hosts.bind(&a, b"login", false)), Some(accepted()));
            let late = client.ask(&hosts.bind(host, session, is_forwarding));
            assert_eq!(late, Some(refused()), "{first}, then {name}");
        }
    }
}

#[test]
fn a_session_belongs_to_one_host_and_a_host_may_have_several() {
    let home = Home::new();
    let (agent, hosts) = agent(&home);
    let [a, b] = ["a", "b"].map(|name| hosts.add(name));
    let mut client = agent.client();
    let mut ask = |host: &Host, session: &[u8], forwarding| {
        client.ask(&hosts.bind(host, session, forwarding)).expect("an answer")
    };
    assert_eq!(ask(&a, b"s1", true), accepted());
    assert_eq!(ask(&a, b"s1", true), accepted(), "the same again changes nothing");
    assert_eq!(ask(&a, b"s1", false), accepted(), "nor does a claim that it was a login");
    assert_eq!(ask(&b, b"s1", true), refused());
    assert_eq!(ask(&a, b"s2", true), accepted(), "a path may come through a host twice");
    assert_eq!(ask(&b, b"s3", false), accepted(), "the claim that s1 was a login was believed");
}

#[test]
fn a_path_has_16_steps_at_most() {
    let home = Home::new();
    let (agent, hosts) = agent(&home);
    let host = hosts.add("host");
    let mut client = agent.client();
    for step in 0..16 {
        assert_eq!(client.ask(&hosts.bind(&host, &[step], true)), Some(accepted()), "step {step}");
    }
    assert_eq!(client.ask(&hosts.bind(&host, &[0], true)), Some(accepted()), "a known step is no new one");
    assert_eq!(client.ask(&hosts.bind(&host, &[16], true)), Some(refused()));
    assert_eq!(client.ask(&hosts.bind(&host, &[16], false)), Some(refused()));
    assert_eq!(
        agent.client().ask(&hosts.bind(&host, &[16], true)),
        Some(accepted()),
        "another connection has its own path"
    );
}

#[test]
fn binds_are_received_while_the_agent_is_locked() {
    if stock_cannot("bind while it is locked before 10.5, and later takes such a connection for local") {
        return;
    }
    let home = Home::new();
    let (agent, hosts) = agent(&home);
    let [a, b] = ["a", "b"].map(|name| hosts.add(name));
    let mut client = agent.client();
    assert!(agent.client().succeeds(&Body::new(Client::LOCK).string("passphrase").bytes()));
    assert_eq!(client.ask(&hosts.bind(&a, b"s1", false)), Some(accepted()));
    assert_eq!(client.ask(&hosts.bind(&b, b"s2", true)), Some(refused()));
    assert!(agent.client().succeeds(&Body::new(Client::UNLOCK).string("passphrase").bytes()));
    assert_eq!(client.ask(&hosts.bind(&b, b"s2", true)), Some(refused()), "the bind was forgotten with the lock");
}

//= RFC 9987 section 3: MAY additionally refuse some operations in particular contexts
//= RFC 9987 section 10: MAY disallow remote clients from loading token keys entirely
#[test]
fn a_bound_connection_may_not_load_libraries() {
    let home = Home::new();
    let (agent, hosts) = agent(&home);
    let host = hosts.add("host");
    let add = Body::new(20).string("/usr/lib/softhsm/libsofthsm2.so").string("1234").bytes();
    for is_forwarding in [false, true] {
        let mut client = agent.client();
        assert_eq!(client.ask(&hosts.bind(&host, b"s1", is_forwarding)), Some(accepted()));
        assert!(!client.succeeds(&add));
    }
    assert!(agent.workers().is_empty(), "a worker was started");
    if !is_stock() {
        assert!(agent.log().contains("may not load libraries"), "{}", agent.log());
    }
}

//= RFC 9987 section 5.8: Where the "extension type" is the same as that in the request.
//= RFC 9987 section 5.8.1: it SHOULD reply with a list of supported extension names
#[test]
fn query_names_the_extensions() {
    if stock_cannot("be asked what it can before 10.3") {
        return;
    }
    let home = Home::new();
    let agent = Agent::with(&home).as_stock().start();
    let mut client = agent.client();
    let answer = client.ask(&Body::new(Client::EXTENSION).string("query").bytes()).expect("an answer");
    assert_eq!(answer[0], Client::EXTENSION_RESPONSE);
    let mut fields = Fields::of(&answer[1..]);
    assert_eq!(fields.string(), b"query");
    let mut names = Vec::new();
    while !fields.rest().is_empty() {
        names.push(String::from_utf8(fields.string()).expect("a name"));
    }
    assert_eq!(names, ["session-bind@openssh.com"]);
    assert_eq!(client.list().expect("a list"), [], "there was more than one answer");
}

//= RFC 9987 section 5.8: An agent that does not support extensions of the supplied type MUST reply with an empty
//= SSH_AGENT_FAILURE message.
#[test]
fn an_extension_that_is_not_known_is_a_plain_failure() {
    let home = Home::new();
    let agent = Agent::with(&home).as_stock().start();
    let mut client = agent.client();
    for name in ["", "nonsense@example.org", "session-bind@example.org", "SESSION-BIND@OPENSSH.COM", "\u{e9}", "query "]
    {
        let answer = client.ask(&Body::new(Client::EXTENSION).string(name).string("anything").bytes());
        assert_eq!(answer, Some(vec![Client::FAILURE]), "{name:?}");
    }
    for malformed in [vec![Client::EXTENSION], vec![Client::EXTENSION, 0, 0, 0, 9, b'q']] {
        assert_eq!(client.ask(&malformed), Some(vec![Client::FAILURE]));
    }
}
