//! Keys in and out of the agent's memory (RFC 9987 sections 5.2, 5.4, 5.5).

use hsm_tests::{Agent, Body, Client, Fields, Home, KeyFile, is_stock};

const KINDS: [(&str, &str, &str); 5] = [
    ("ed25519", "ed25519", "256"),
    ("p256", "ecdsa", "256"),
    ("p384", "ecdsa", "384"),
    ("p521", "ecdsa", "521"),
    ("rsa", "rsa", "2048"),
];

fn agent(home: &Home) -> Agent {
    Agent::with(home).as_stock().start()
}

fn add(key: &KeyFile) -> Vec<u8> {
    Body::new(Client::ADD).raw(&key.as_added()).bytes()
}

fn constrained(key: &KeyFile, constraints: &[u8]) -> Vec<u8> {
    Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(constraints).bytes()
}

fn with_comment(key: &KeyFile, comment: impl AsRef<[u8]>) -> Vec<u8> {
    let added = key.as_added();
    let name = key.path().file_name().expect("the key's name").len();
    Body::new(Client::ADD).raw(&added[..added.len() - name - 4]).string(comment).bytes()
}

fn remove(blob: &[u8]) -> Vec<u8> {
    Body::new(Client::REMOVE).string(blob).bytes()
}

fn blobs(client: &mut Client) -> Vec<Vec<u8>> {
    client.list().expect("a list").into_iter().map(|(blob, _)| blob).collect()
}

fn comments(client: &mut Client) -> Vec<String> {
    client.list().expect("a list").into_iter().map(|(_, comment)| comment).collect()
}

//= RFC 9987 section 5.1: On success, the agent MUST reply either with the single-byte response: byte SSH_AGENT_SUCCESS
//= RFC 9987 section 5.2: An agent MUST reply with SSH_AGENT_SUCCESS if the key was successfully loaded
//= RFC 9987 section 5.2: An agent MAY support only a subset of the key types defined here
//= RFC 9987 section 5.5: The agent MUST reply with a message with the following preamble: byte
//= SSH_AGENT_IDENTITIES_ANSWER uint32 nkeys
#[test]
fn every_type_of_key_and_of_certificate_is_added_listed_used_and_removed() {
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let authority = KeyFile::new(&home, "authority");
    let mut expected = Vec::new();
    for (name, kind, bits) in KINDS {
        let key = KeyFile::with(&home, name, &["-t", kind, "-b", bits], "");
        let certificate = key.certified_by(&home, &authority, &["-n", "ada"]);
        let with_certificate = Body::new(Client::ADD).raw(&key.as_added_with(&certificate)).bytes();
        assert!(client.succeeds(&with_certificate), "{name}: the certificate is refused\n{}", agent.log());
        assert!(client.succeeds(&add(&key)), "{name}: the key is refused\n{}", agent.log());
        expected.extend([certificate.blob(), key.public().blob()]);
    }
    assert_eq!(blobs(&mut client), expected, "keys are listed in the order in which they were added");
    for blob in &expected {
        assert!(client.sign(blob, b"data", 4).is_some());
    }
    // A certificate and its key are two: each goes alone.
    while let Some(blob) = expected.pop() {
        assert!(client.succeeds(&remove(&blob)));
        assert_eq!(client.sign(&blob, b"data", 4), None);
        assert_eq!(blobs(&mut client), expected);
    }
}

//= RFC 9987 section 5.2: Adding a key that is already present in an agent SHOULD replace any constraints it was
//= previously loaded with
#[test]
fn a_key_added_again_keeps_its_place_and_takes_comment_and_limits_of_the_last_time() {
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let keys = ["one", "two", "three", "four"].map(|name| KeyFile::new(&home, name));
    for key in &keys {
        assert!(client.succeeds(&constrained(key, &[1, 0, 0, 0, 2])));
    }
    assert!(client.succeeds(&with_comment(&keys[1], "second")));
    assert_eq!(comments(&mut client), ["one", "second", "three", "four"]);

    // Only the key that was added again without a lifetime outlives the two seconds of the others.
    let only_one = || agent.client().list().expect("a list").len() == 1;
    assert!(hsm_tests::until(hsm_tests::SOON, only_one));
    assert_eq!(comments(&mut client), ["second"]);

    assert!(client.succeeds(&constrained(&keys[1], &[2])), "confirmation may be added");
    assert_eq!(client.sign(&keys[1].public().blob(), b"data", 0), None, "it is not asked for");
    assert!(client.succeeds(&add(&keys[1])), "and taken away");
    assert!(client.sign(&keys[1].public().blob(), b"data", 0).is_some());
}

#[test]
fn any_comment_is_kept_as_it_is() {
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let key = KeyFile::new(&home, "key");
    for comment in [&b""[..], "Schl\u{fc}ssel \u{9375}".as_bytes(), b"a\nb\tc\x1b[2J", b"\xff\xfe", &[b'x'; 200_000]] {
        assert!(client.succeeds(&with_comment(&key, comment)));
        let answer = client.ask(&[Client::LIST]).expect("a list");
        let mut fields = Fields::of(&answer[1..]);
        assert_eq!((fields.u32(), fields.string()), (1, key.public().blob()));
        // A zero byte ends a string in C, so that none is tried here.
        assert_eq!(fields.string(), comment);
    }
}

//= RFC 9987 section 5.2: though both are valid and equivalent
#[test]
fn a_constraint_list_may_follow_either_request_or_neither() {
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let key = KeyFile::new(&home, "key");
    let plain_number_with_constraints = Body::new(Client::ADD).raw(&key.as_added()).raw(&[1, 0, 0, 0, 0]).bytes();
    assert!(client.succeeds(&constrained(&key, &[])));
    assert_eq!(blobs(&mut client).len(), 1);
    assert!(client.succeeds(&plain_number_with_constraints));
    assert_eq!(blobs(&mut client).len(), 0, "the lifetime of no seconds was ignored");
}

#[test]
fn a_lifetime_of_no_seconds_is_over_before_the_next_request() {
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let key = KeyFile::new(&home, "key");
    assert!(client.succeeds(&constrained(&key, &[1, 0, 0, 0, 0])));
    assert_eq!(client.sign(&key.public().blob(), b"data", 0), None);
    assert_eq!(blobs(&mut client).len(), 0);
    assert!(!client.succeeds(&remove(&key.public().blob())));
}

#[test]
fn the_longest_lifetime_does_not_wrap_around() {
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let key = KeyFile::new(&home, "key");
    // Stock counts in signed numbers of the machine's size; with 64 bits there is room.
    assert!(client.succeeds(&constrained(&key, &[1, 0xff, 0xff, 0xff, 0xff])));
    assert_eq!(blobs(&mut client).len(), 1);
}

//= RFC 9987 section 5.2.7: it MUST abort parsing, refuse the request, and return an SSH_AGENT_FAILURE message to the
//= client
//= RFC 9987 section 5.2.7.3: The "extension name" MUST consist of a UTF-8 string.
#[test]
fn a_constraint_that_is_unknown_repeated_misplaced_or_cut_refuses_the_key() {
    let extension = |name: &str| Body::new(255).string(name);
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let key = KeyFile::new(&home, "key");
    let cases: [(&str, Vec<u8>); 14] = [
        ("code 0", vec![0]),
        ("maximum of signatures", vec![3, 0, 0, 0, 1]),
        ("code 254", vec![254]),
        ("two lifetimes", vec![1, 0, 0, 0, 9, 1, 0, 0, 0, 9]),
        ("two confirmations", vec![2, 2]),
        ("lifetime, confirmation, lifetime", vec![1, 0, 0, 0, 9, 2, 1, 0, 0, 0, 9]),
        ("cut lifetime", vec![1, 0, 0, 0]),
        ("unknown extension", extension("nonsense@example.org").bytes()),
        ("extension without name", extension("").bytes()),
        ("cut extension", vec![255, 0, 0, 0, 9, b'x']),
        ("provider of a security key", extension("sk-provider@openssh.com").string("internal").bytes()),
        ("certificates of a smart card", extension("associated-certs-v00@openssh.com").raw(&[0]).string("").bytes()),
        ("destinations without a list", extension("restrict-destination-v00@openssh.com").bytes()),
        ("good, then unknown", vec![2, 3]),
    ];
    for (name, constraints) in cases {
        assert!(!client.succeeds(&constrained(&key, &constraints)), "{name}");
        assert_eq!(blobs(&mut client).len(), 0, "{name}: the key was added all the same");
    }
    assert!(client.succeeds(&constrained(&key, &[2, 1, 0, 0, 0, 9])), "lifetime and confirmation, in any order");
}

#[test]
fn a_refused_addition_leaves_the_key_that_was_there() {
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let key = KeyFile::new(&home, "key");
    assert!(client.succeeds(&add(&key)));
    assert!(!client.succeeds(&constrained(&key, &[3, 0, 0, 0, 1])));
    assert!(client.sign(&key.public().blob(), b"data", 0).is_some());
}

//= RFC 9987 section 5.1: On failure, the agent MUST reply with the single-byte response: byte SSH_AGENT_FAILURE
#[test]
fn keys_whose_parts_contradict_each_other_are_refused() {
    const UNNOTICED: [&str; 3] =
        ["Ed25519 with another public half", "ECDSA with another point", "another key's ECDSA certificate"];
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let [one, other] = ["one", "other"].map(|name| KeyFile::new(&home, name));
    let [curve, other_curve] = ["c1", "c2"].map(|name| KeyFile::with(&home, name, &["-t", "ecdsa"], ""));
    let authority = KeyFile::new(&home, "authority");
    let certificate = one.certified_by(&home, &authority, &["-n", "ada"]);
    let curve_certificate = curve.certified_by(&home, &authority, &["-n", "ada"]);

    let fields = |key: &KeyFile, count: usize| {
        let added = key.as_added();
        let mut fields = Fields::of(&added);
        (0..count).map(|_| fields.string()).collect::<Vec<_>>()
    };
    let (ed, ed_other) = (fields(&one, 3), fields(&other, 3));
    let (ec, ec_other) = (fields(&curve, 4), fields(&other_curve, 4));
    let body = |fields: &[&[u8]]| {
        fields.iter().fold(Body::new(Client::ADD), |body, field| body.string(field)).string("comment").bytes()
    };
    let cases = [
        //= RFC 9987 section 5.2: If an agent does not recognise the type name in a request to add a key, then it MUST
        //= respond with an SSH_AGENT_FAILURE reply.
        ("unknown type", body(&[b"ssh-nonsense", &ed[1], &ed[2]])),
        ("Ed25519 with another public half", body(&[&ed[0], &ed_other[1], &ed[2]])),
        ("Ed25519, one byte short", body(&[&ed[0], &ed[1][1..], &ed[2]])),
        ("Ed25519 seed alone", body(&[&ed[0], &ed[1], &ed[2][..32]])),
        ("ECDSA with another curve's name", body(&[&ec[0], b"nistp384", &ec[2], &ec[3]])),
        ("ECDSA with another type's name", body(&[b"ecdsa-sha2-nistp384", &ec[1], &ec[2], &ec[3]])),
        ("ECDSA with another point", body(&[&ec[0], &ec[1], &ec_other[2], &ec[3]])),
        ("ECDSA with the point at infinity", body(&[&ec[0], &ec[1], &[0], &ec[3]])),
        ("ECDSA with a point off the curve", body(&[&ec[0], &ec[1], &[&[4][..], &[1; 64]].concat(), &ec[3]])),
        ("another key's certificate", Body::new(Client::ADD).raw(&other.as_added_with(&certificate)).bytes()),
        (
            "another key's ECDSA certificate",
            Body::new(Client::ADD).raw(&other_curve.as_added_with(&curve_certificate)).bytes(),
        ),
        (
            "a certificate that is a plain key",
            body(&[b"ssh-ed25519-cert-v01@openssh.com", &one.public().blob(), &ed[1], &ed[2]]),
        ),
        (
            "a certificate of another type",
            body(&[b"ssh-rsa-cert-v01@openssh.com", &certificate.blob(), &ed[1], &ed[2]]),
        ),
    ];
    for (name, message) in cases {
        // Stock does not compute the public half, and lists a key that can sign nothing under that name.
        let unnoticed = is_stock() && UNNOTICED.contains(&name);
        assert_eq!(client.succeeds(&message), unnoticed, "{name}");
        client.succeeds(&[Client::REMOVE_ALL]);
    }
}

#[test]
fn rsa_keys_below_2048_bits_are_for_stock_only() {
    let home = Home::new();
    let agent = agent(&home);
    let key = KeyFile::with(&home, "small", &["-t", "rsa", "-b", "1024"], "");
    // Stock takes 1024 bits, which nobody should rely on any more; hardkey's library begins at 2048.
    assert_eq!(agent.client().succeeds(&add(&key)), is_stock());
}

//= RFC 9987 section 5.4: An agent MUST reply with SSH_AGENT_SUCCESS if the key was deleted or SSH_AGENT_FAILURE if it
//= was not found.
#[test]
fn only_what_is_there_can_be_removed() {
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let [here, elsewhere] = ["here", "elsewhere"].map(|name| KeyFile::new(&home, name));
    assert!(client.succeeds(&add(&here)));
    for blob in [elsewhere.public().blob(), Vec::new(), b"nonsense".to_vec(), here.public().blob()[..40].to_vec()] {
        assert!(!client.succeeds(&remove(&blob)));
    }
    assert_eq!(blobs(&mut client).len(), 1);
    assert!(client.succeeds(&remove(&here.public().blob())));
    assert!(!client.succeeds(&remove(&here.public().blob())), "twice");
}

//= RFC 9987 section 5.4: an agent SHOULD delete all keys that it is holding and reply with SSH_AGENT_SUCCESS
//= RFC 9987 section 8.1.1: These message numbers MAY be used by an implementation supporting the legacy protocol
#[test]
fn removing_all_always_succeeds_by_either_number() {
    const REMOVE_ALL_OF_SSH1: u8 = 9;
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    let key = KeyFile::new(&home, "key");
    for number in [Client::REMOVE_ALL, REMOVE_ALL_OF_SSH1] {
        assert!(client.succeeds(&[number]), "nothing to remove is no failure");
        assert!(client.succeeds(&add(&key)));
        assert!(client.succeeds(&[number]));
        assert_eq!(blobs(&mut client).len(), 0, "message {number}");
    }
}

//= RFC 9987 section 8.1.1: MUST NOT be reused otherwise
#[test]
fn what_was_asked_of_agents_of_the_first_protocol_is_refused() {
    let home = Home::new();
    let agent = agent(&home);
    let mut client = agent.client();
    for number in [1, 3, 7, 8, 24] {
        assert_eq!(client.ask(&[number]), Some(vec![Client::FAILURE]), "message {number}");
    }
}
