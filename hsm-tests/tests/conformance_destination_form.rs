//! The form of destination constraints, their limits, hosts with certificates, and keys of tokens.

use std::fs;

use hsm_tests::{
    Agent, Body, Client, Home, Hop, Host, Hosts, Key, KeyFile, PublicKey, Token, is_stock, login, restricted_by,
    restricted_to, stock_cannot,
};

fn agent(home: &Home) -> Agent {
    Agent::with(home).as_stock().start()
}

fn adding(key: &KeyFile, restriction: &[u8]) -> Vec<u8> {
    Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(restriction).bytes()
}

/// Whether the key logs in at a host, on a connection bound to it.
fn logs_in(agent: &Agent, hosts: &Hosts, host: &Host, key: &PublicKey) -> bool {
    let mut client = agent.client();
    let bound = client.extends(&hosts.bind(host, b"session", false));
    let signed = client.sign(&key.blob(), &login(b"session", "ada", key, Some(&host.key)), 0).is_some();
    assert!(bound || !signed, "a signature without a bind");
    signed
}

#[test]
fn a_list_has_1024_constraints_at_most() {
    let home = Home::new();
    let (agent, hosts) = (agent(&home), Hosts::new(&home));
    let key = KeyFile::new(&home, "key");
    let (listed, last) = (hosts.add("listed"), hosts.add("last"));
    let mut steps = vec![(Hop::origin(), Hop::host("listed", &listed)); 1023];
    steps.push((Hop::origin(), Hop::host("last", &last)));
    assert!(agent.client().succeeds(&adding(&key, &restricted_to(&steps))));
    assert!(logs_in(&agent, &hosts, &last, key.public()), "the last constraint is not looked at");
    steps.push((Hop::origin(), Hop::host("last", &last)));
    assert!(!agent.client().succeeds(&adding(&key, &restricted_to(&steps))));
}

#[test]
fn a_user_pattern_has_256_bytes_at_most() {
    let home = Home::new();
    let (agent, hosts) = (agent(&home), Hosts::new(&home));
    let key = KeyFile::new(&home, "key");
    let to = Hop::host("host", &hosts.add("host"));
    let taken = |length| {
        let restriction = restricted_to(&[(Hop::origin(), to.clone().by(&"*".repeat(length)))]);
        agent.client().succeeds(&adding(&key, &restriction))
    };
    assert!(taken(256));
    // OpenSSH has this limit from 10.4 on.
    assert_eq!(taken(257), is_stock());
}

#[test]
fn a_pattern_of_many_stars_takes_no_time() {
    if stock_cannot("match a pattern in linear time before 10.4") {
        return;
    }
    let home = Home::new();
    let (agent, hosts) = (agent(&home), Hosts::new(&home));
    let key = KeyFile::new(&home, "key");
    let host = hosts.add("host");
    let pattern = format!("{}b", "*a".repeat(100));
    assert!(
        agent
            .client()
            .succeeds(&adding(&key, &restricted_to(&[(Hop::origin(), Hop::host("host", &host).by(&pattern))])))
    );
    let mut client = agent.client();
    assert!(client.succeeds(&hosts.bind(&host, b"session", false)));
    let start = std::time::Instant::now();
    let data = login(b"session", &"a".repeat(100_000), key.public(), None);
    assert_eq!(client.sign(&key.public().blob(), &data, 0), None);
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}

#[test]
fn constraints_that_say_what_the_form_does_not_allow_refuse_the_key() {
    let home = Home::new();
    let (agent, hosts) = (agent(&home), Hosts::new(&home));
    let key = KeyFile::new(&home, "key");
    let host = hosts.add("host");
    let to = || Hop::host("host", &host);
    let good = |from: Hop, to: Hop| restricted_to(&[(from, to)]);
    let encoded = |from: &Hop, to: &Hop, reserved: &str| {
        let whole = restricted_to(&[(from.clone(), to.clone())]);
        // What precedes the one constraint: code, name, length of the list, length of the constraint.
        let step = &whole[1 + 4 + 36 + 4 + 4..whole.len() - 4];
        Body::nothing().raw(step).string(reserved).bytes()
    };
    let whole = good(Hop::origin(), to());
    let cases = [
        ("a user at the beginning", good(Hop::origin().by("ada"), to())),
        ("a user at a hop before", good(to().by("ada"), to())),
        ("a beginning with a name only", good(Hop { hostname: "host".into(), ..Hop::origin() }, to())),
        ("a beginning with a key only", good(Hop { hostname: String::new(), ..to() }, to())),
        ("an end without a name", good(Hop::origin(), Hop { hostname: String::new(), ..to() })),
        ("an end without a key", good(Hop::origin(), Hop { keys: Vec::new(), ..to() })),
        ("nowhere to nowhere", good(Hop::origin(), Hop::origin())),
        ("something reserved at the beginning", good(Hop { reserved: vec![1], ..Hop::origin() }, to())),
        ("something reserved at the end", good(Hop::origin(), Hop { reserved: vec![1], ..to() })),
        ("something reserved in the constraint", restricted_by([encoded(&Hop::origin(), &to(), "x")])),
        ("a constraint cut short", restricted_by([encoded(&Hop::origin(), &to(), "")[..60].to_vec()])),
        ("an empty constraint", restricted_by([Vec::new()])),
        ("a good one, then an empty one", restricted_by([encoded(&Hop::origin(), &to(), ""), Vec::new()])),
        ("the list cut short", whole[..whole.len() - 1].to_vec()),
        ("the constraint twice", [&whole[..], &whole].concat()),
    ];
    for (name, restriction) in cases {
        assert!(!agent.client().succeeds(&adding(&key, &restriction)), "{name}");
    }
    assert!(
        agent.client().succeeds(&adding(&key, &[&whole[..], &[2, 1, 0, 0, 0, 99]].concat())),
        "beside other constraints"
    );
}

#[test]
fn a_host_key_of_a_type_that_is_not_known_permits_nothing() {
    let home = Home::new();
    let (agent, hosts) = (agent(&home), Hosts::new(&home));
    let key = KeyFile::new(&home, "key");
    let host = hosts.add("host");
    for unknown in [Body::nothing().string("ssh-nonsense").string("key").bytes(), b"nonsense".to_vec(), Vec::new()] {
        let keys = vec![(unknown, false), (host.key.clone(), false)];
        let restriction = restricted_to(&[(Hop::origin(), Hop { keys, ..Hop::host("host", &host) })]);
        // Stock refuses the addition, and with it everybody whose known_hosts has one key from another time.
        assert_eq!(agent.client().succeeds(&adding(&key, &restriction)), !is_stock());
        if !is_stock() {
            assert!(logs_in(&agent, &hosts, &host, key.public()), "the known key beside it counts for nothing");
        }
    }
}

#[test]
fn an_authority_vouches_for_hosts_by_name() {
    let home = Home::new();
    let (agent, hosts) = (agent(&home), Hosts::new(&home));
    let key = KeyFile::new(&home, "key");
    let [authority, stranger] = ["authority", "stranger"].map(|name| KeyFile::new(&home, name));
    let permitted = restricted_to(&[(Hop::origin(), Hop::certified("web.example", &authority.public().blob()))]);
    assert!(agent.client().succeeds(&adding(&key, &permitted)));
    let cases: [(&str, &KeyFile, &[&str], bool); 11] = [
        ("named", &authority, &["-h", "-n", "web.example"], true),
        ("among-others", &authority, &["-h", "-n", "a.example,web.example"], true),
        // Newer versions of OpenSSH read the names in a certificate as patterns, 9.2 does not.
        ("wildcard", &authority, &["-h", "-n", "*.example"], !is_stock()),
        ("for-a-year", &authority, &["-h", "-n", "web.example", "-V", "-1d:+365d"], true),
        ("another-name", &authority, &["-h", "-n", "db.example"], false),
        ("longer-name", &authority, &["-h", "-n", "web.example.org"], false),
        ("user-certificate", &authority, &["-n", "web.example"], false),
        ("expired", &authority, &["-h", "-n", "web.example", "-V", "-2d:-1d"], false),
        ("not-yet", &authority, &["-h", "-n", "web.example", "-V", "+1d:+2d"], false),
        ("another-authority", &stranger, &["-h", "-n", "web.example"], false),
        ("critical-option", &authority, &["-h", "-n", "web.example", "-O", "critical:nonsense@example.org=x"], false),
    ];
    for (name, signed_by, arguments, expected) in cases {
        let host = hosts.certified(name, signed_by, arguments);
        assert_eq!(logs_in(&agent, &hosts, &host, key.public()), expected, "{name}\n{}", agent.log());
    }
    // A certificate for nobody in particular is for everybody before 10.3, and for nobody since.
    let nobody = hosts.certified("nobody", &authority, &["-h"]);
    assert_eq!(logs_in(&agent, &hosts, &nobody, key.public()), is_stock());
}

#[test]
fn a_host_s_key_is_no_authority_and_an_authority_s_no_host_s() {
    let home = Home::new();
    let (agent, hosts) = (agent(&home), Hosts::new(&home));
    let key = KeyFile::new(&home, "key");
    let host = hosts.add("host");
    let authority = KeyFile::new(&home, "authority");
    let certified = hosts.certified("certified", &authority, &["-h", "-n", "host"]);

    // The host's own key, marked as an authority's.
    let marked = restricted_to(&[(Hop::origin(), Hop::certified("host", &host.key))]);
    assert!(agent.client().succeeds(&adding(&key, &marked)));
    assert!(!logs_in(&agent, &hosts, &host, key.public()));

    // The authority's key, not marked as one.
    let unmarked = Hop { keys: vec![(authority.public().blob(), false)], ..Hop::certified("host", &[]) };
    assert!(agent.client().succeeds(&adding(&key, &restricted_to(&[(Hop::origin(), unmarked)]))));
    assert!(!logs_in(&agent, &hosts, &certified, key.public()));

    // Several keys of one host: any of them will do.
    let both =
        Hop { keys: vec![(authority.public().blob(), true), (host.key.clone(), false)], ..Hop::certified("host", &[]) };
    assert!(agent.client().succeeds(&adding(&key, &restricted_to(&[(Hop::origin(), both)]))));
    assert!(logs_in(&agent, &hosts, &certified, key.public()));
    assert!(logs_in(&agent, &hosts, &host, key.public()));
}

#[test]
fn an_authority_that_signs_with_sha_1_vouches_for_nobody() {
    let home = Home::new();
    let (agent, hosts) = (agent(&home), Hosts::new(&home));
    let key = KeyFile::new(&home, "key");
    let authority = KeyFile::with(&home, "authority", &["-t", "rsa", "-b", "2048"], "");
    let permitted = restricted_to(&[(Hop::origin(), Hop::certified("host", &authority.public().blob()))]);
    assert!(agent.client().succeeds(&adding(&key, &permitted)));
    for (algorithm, expected) in [("rsa-sha2-256", true), ("rsa-sha2-512", true), ("ssh-rsa", false)] {
        let host = hosts.certified(algorithm, &authority, &["-h", "-n", "host", "-t", algorithm]);
        assert_eq!(logs_in(&agent, &hosts, &host, key.public()), expected, "{algorithm}");
    }
}

#[test]
fn a_login_with_a_certificate_is_one_with_that_certificate() {
    let home = Home::new();
    let (agent, hosts) = (agent(&home), Hosts::new(&home));
    let host = hosts.add("host");
    let key = KeyFile::new(&home, "key");
    let certificate = key.certified_by(&home, &KeyFile::new(&home, "authority"), &["-n", "ada"]);
    let restriction = restricted_to(&[(Hop::origin(), Hop::host("host", &host))]);
    for added in [key.as_added(), key.as_added_with(&certificate)] {
        assert!(agent.client().succeeds(&Body::new(Client::ADD_CONSTRAINED).raw(&added).raw(&restriction).bytes()));
    }
    let mut client = agent.client();
    assert!(client.succeeds(&hosts.bind(&host, b"session", false)));
    let mut signs = |with: &PublicKey, named: &PublicKey| {
        client.sign(&with.blob(), &login(b"session", "ada", named, Some(&host.key)), 0).is_some()
    };
    assert!(signs(&certificate, &certificate));
    assert!(signs(key.public(), key.public()));
    assert!(!signs(key.public(), &certificate), "the key signs a login that names a certificate");
    assert!(!signs(&certificate, key.public()), "the certificate signs a login that names the key");
}

#[test]
fn the_question_about_a_restricted_key_names_the_user() {
    let home = Home::new();
    let hosts = Hosts::new(&home);
    let host = hosts.add("host");
    let program =
        home.program("askpass", format!("#!/bin/sh\nprintf '%s' \"$1\" >'{}'\n", home.path("text").display()));
    let agent = Agent::with(&home).as_stock().env("SSH_ASKPASS", program).env("SSH_ASKPASS_REQUIRE", "force").start();
    let key = KeyFile::new(&home, "careful");
    let restriction = restricted_to(&[(Hop::origin(), Hop::host("host", &host))]);
    assert!(agent.client().succeeds(&adding(&key, &[&restriction[..], &[2]].concat())));
    assert!(logs_in(&agent, &hosts, &host, key.public()));
    let fingerprint = key.public().fingerprint();
    let expected = format!(
        "Allow use of key careful?\nKey fingerprint {fingerprint}.\npublic key authentication request for user \"ada\" to listed host"
    );
    assert_eq!(fs::read_to_string(home.path("text")).expect("the question"), expected);
}

#[test]
fn every_key_of_a_restricted_token_is_restricted() {
    let home = Home::new();
    let hosts = Hosts::new(&home);
    let (host, other) = (hosts.add("host"), hosts.add("other"));
    let token = Token::new(&home, "token", &[Key::P256, Key::Rsa2048]);
    let agent = Agent::with(&home).as_stock().envs(token.environment()).start();
    let restriction = restricted_to(&[(Hop::origin(), Hop::host("host", &host))]);
    let add =
        Body::new(26).string(token.library().as_os_str().as_encoded_bytes()).string(token.pin()).raw(&restriction);
    assert!(agent.client().succeeds(&add.bytes()), "{}", agent.log());
    for key in token.publics() {
        let mut client = agent.client();
        assert_eq!(client.list().expect("a list").len(), 2);
        assert_eq!(client.sign(&key.blob(), b"data", 4), None, "a connection that is bound to nothing");
        assert!(client.succeeds(&hosts.bind(&other, b"session", false)));
        assert_eq!(client.list().expect("a list"), []);

        let mut client = agent.client();
        assert!(client.succeeds(&hosts.bind(&host, b"session", false)));
        assert_eq!(client.list().expect("a list").len(), 2);
        let data = login(b"session", "ada", key, Some(&host.key));
        assert!(client.sign(&key.blob(), &data, 4).is_some(), "{}", key.algorithm());
    }
}
