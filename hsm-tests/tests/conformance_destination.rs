//! Keys that may be used on some paths only (`ssh-add -h`), case by case.

use std::collections::HashMap;

use hsm_tests::{
    Agent, Body, Client, Home, Hop, Host, Hosts, KeyFile, PublicKey, bind, is_stock, login, restricted_to,
};

/// One line of a table: a key that is restricted, and a path that a connection was bound to.
struct Case<'a> {
    /// `FROM>TO` or `FROM>USER@TO`, separated by blanks; no FROM means the machine of the agent.
    permitted: &'a str,
    /// Hosts in order; `+` behind one says that the agent is forwarded to it.
    path: &'a str,
    /// The user who logs in at the last host.
    user: &'a str,
    /// Whether the key is listed; whether it signs a login of the old form; one that names its host.
    expected: [bool; 3],
}

const NOTHING: [bool; 3] = [false, false, false];
const LISTED: [bool; 3] = [true, false, false];
const BOUND_LOGIN: [bool; 3] = [true, false, true];
const ANY_LOGIN: [bool; 3] = [true, true, true];

/// Hosts with one-letter names, made when a table first speaks of them.
struct World {
    hosts: Hosts,
    known: HashMap<String, Host>,
}

impl World {
    fn new(home: &Home) -> Self {
        let hosts = Hosts::new(home);
        let known = ["a", "b", "c", "d"].map(|name| (name.to_owned(), hosts.add(name))).into();
        Self { hosts, known }
    }

    fn hop(&self, text: &str) -> Hop {
        let (user, name) = text.rsplit_once('@').unwrap_or(("", text));
        if name.is_empty() { Hop::origin() } else { Hop::host(name, &self.known[name]).by(user) }
    }

    fn restriction(&self, permitted: &str) -> Vec<u8> {
        let steps: Vec<(Hop, Hop)> = permitted
            .split_whitespace()
            .map(|step| step.split_once('>').expect("FROM>TO"))
            .map(|(from, to)| (self.hop(from), self.hop(to)))
            .collect();
        restricted_to(&steps)
    }

    /// Binds a connection to a path: the session and the key of its end.
    fn walk(&self, client: &mut Client, path: &str) -> (Vec<u8>, Vec<u8>) {
        let mut end = (b"nowhere".to_vec(), Vec::new());
        for (index, step) in path.split_whitespace().enumerate() {
            let name = step.trim_end_matches('+');
            let session = format!("session {index}").into_bytes();
            let host = &self.known[name];
            assert!(client.succeeds(&self.hosts.bind(host, &session, step.ends_with('+'))), "{path}: {step}");
            end = (session, host.key.clone());
        }
        end
    }
}

fn agent(home: &Home) -> Agent {
    Agent::with(home).as_stock().start()
}

fn add_restricted(agent: &Agent, key: &KeyFile, restriction: &[u8]) -> bool {
    agent.client().succeeds(&Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(restriction).bytes())
}

/// Listed, signs a login, signs a login that names its host.
fn possible(client: &mut Client, key: &PublicKey, user: &str, (session, host): &(Vec<u8>, Vec<u8>)) -> [bool; 3] {
    let blob = key.blob();
    let listed = client.list().expect("a list").iter().any(|(listed, _)| *listed == blob);
    let mut signs = |data: &[u8]| client.sign(&blob, data, 0).is_some();
    [listed, signs(&login(session, user, key, None)), signs(&login(session, user, key, Some(host)))]
}

fn check(cases: &[Case<'_>]) {
    let home = Home::new();
    let agent = agent(&home);
    let world = World::new(&home);
    let key = KeyFile::new(&home, "key");
    for case in cases {
        assert!(add_restricted(&agent, &key, &world.restriction(case.permitted)), "{} is refused", case.permitted);
        let mut client = agent.client();
        let end = world.walk(&mut client, case.path);
        let found = possible(&mut client, key.public(), case.user, &end);
        assert_eq!(found, case.expected, "{:?} on the path {:?} as {:?}", case.permitted, case.path, case.user);
    }
}

fn case<'a>(permitted: &'a str, path: &'a str, expected: [bool; 3]) -> Case<'a> {
    Case { permitted, path, user: "ada", expected }
}

//= RFC 9987 section 10: Agents SHOULD implement additional controls over key visibility and use for forwarded agent
//= connections
#[test]
fn a_path_is_permitted_step_by_step() {
    check(&[
        // Without a bind the key is shown to its owner, and signs nothing.
        case(">a", "", LISTED),
        case(">a a>b", "", LISTED),
        // From here to one host.
        case(">a", "a", ANY_LOGIN),
        case(">a", "b", NOTHING),
        case(">a >b", "b", ANY_LOGIN),
        // At a host, but not beyond it: the host need not know of the key.
        case(">a", "a+", NOTHING),
        case(">a", "a+ b", NOTHING),
        case(">a", "a+ a", NOTHING),
        // Through one host to another; a login through a hop has to name its host.
        case(">a a>b", "a", ANY_LOGIN),
        case(">a a>b", "a+", LISTED),
        case(">a a>b", "a+ b", BOUND_LOGIN),
        case(">a a>b", "a+ b+", NOTHING),
        case(">a a>b", "b", NOTHING),
        case(">a a>b", "b+ a", NOTHING),
        case(">a a>b", "a+ c", NOTHING),
        case(">a a>b", "c+ b", NOTHING),
        // A step alone is no path.
        case("a>b", "b", NOTHING),
        case("a>b", "a+ b", NOTHING),
        case(">b a>b", "a+ b", NOTHING),
        // Three steps and four.
        case(">a a>b b>c", "a+ b+", LISTED),
        case(">a a>b b>c", "a+ b+ c", BOUND_LOGIN),
        case(">a b>c", "a+ b+ c", NOTHING),
        case(">a a>b b>c c>d", "a+ b+ c+ d", BOUND_LOGIN),
        case(">a a>b c>d", "a+ b+ c+ d", NOTHING),
        case(">a a>b b>c c>d", "a+ c+ d", NOTHING),
        // In circles.
        case(">a a>a", "a+ a", BOUND_LOGIN),
        case(">a a>a", "a+ a+ a+ a+ a", BOUND_LOGIN),
        case(">a a>b b>a", "a+ b+ a+ b", BOUND_LOGIN),
        case(">a a>b b>a", "a+ b+ a+ a", NOTHING),
        // Forwarded to the destination itself, which then asks for more.
        case(">a a>b a>c", "a+ b", BOUND_LOGIN),
        case(">a a>b a>c", "a+ b+ c", NOTHING),
    ]);
}

#[test]
fn a_user_is_a_pattern_and_counts_at_the_end_of_the_path_only() {
    let user = |permitted, path, user, expected| Case { permitted, path, user, expected };
    check(&[
        user(">ada@a", "a", "ada", ANY_LOGIN),
        user(">ada@a", "a", "bob", LISTED),
        user(">ada@a", "a", "ADA", LISTED),
        user(">ada@a", "a", "adam", LISTED),
        user(">ada@a", "a", "", LISTED),
        user(">a*@a", "a", "ada", ANY_LOGIN),
        user(">a*@a", "a", "a", ANY_LOGIN),
        user(">*a@a", "a", "ada", ANY_LOGIN),
        user(">*d*@a", "a", "ada", ANY_LOGIN),
        user(">*@a", "a", "anybody", ANY_LOGIN),
        user(">?da@a", "a", "ada", ANY_LOGIN),
        user(">?da@a", "a", "da", LISTED),
        user(">?@a", "a", "ada", LISTED),
        user(">a?@a", "a", "a", LISTED),
        // No list and no exception: a comma and an exclamation mark are what they are.
        user(">!ada@a", "a", "bob", LISTED),
        user(">ada,bob@a", "a", "bob", LISTED),
        user(">ada,bob@a", "a", "ada,bob", ANY_LOGIN),
        // Two constraints for one host permit both.
        user(">ada@a >bob@a", "a", "bob", ANY_LOGIN),
        // As whom one comes to the hops before is not known.
        user(">bob@a a>b", "a+ b", "ada", BOUND_LOGIN),
        user(">a a>bob@b", "a+ b", "ada", LISTED),
        user(">a a>bob@b", "a+ b", "bob", BOUND_LOGIN),
        user(">a a>b*@b", "a+", "ada", LISTED),
    ]);
}

#[test]
fn a_key_without_constraints_is_free() {
    let home = Home::new();
    let agent = agent(&home);
    let world = World::new(&home);
    let key = KeyFile::new(&home, "key");
    // An empty list restricts nothing.
    assert!(add_restricted(&agent, &key, &restricted_to(&[])));
    for path in ["", "a", "a+", "a+ b", "a+ b+ c"] {
        let mut client = agent.client();
        let end = world.walk(&mut client, path);
        assert_eq!(possible(&mut client, key.public(), "ada", &end), ANY_LOGIN, "{path:?}");
        assert!(client.sign(&key.public().blob(), b"anything at all", 0).is_some());
    }
}

#[test]
fn one_bad_bind_ends_the_use_of_restricted_keys_on_its_connection() {
    let home = Home::new();
    let agent = agent(&home);
    let world = World::new(&home);
    let key = KeyFile::new(&home, "key");
    assert!(add_restricted(&agent, &key, &world.restriction(">a")));
    let bad = bind(&world.known["b"].key, b"hop", b"no signature", true);

    let mut client = agent.client();
    assert!(!matches!(client.ask(&bad).as_deref(), Some([Client::SUCCESS])));
    let nowhere = (b"nowhere".to_vec(), Vec::new());
    // A bind was tried, and none holds. Stock takes such a connection for a local one before 9.6.
    let expected = if is_stock() { LISTED } else { NOTHING };
    assert_eq!(possible(&mut client, key.public(), "ada", &nowhere), expected);

    // Stock forgets the bad one with the next good one, and a hop that made its own bind fail is at the origin of the path.
    let end = world.walk(&mut client, "a");
    let expected = if is_stock() { ANY_LOGIN } else { NOTHING };
    assert_eq!(possible(&mut client, key.public(), "ada", &end), expected);
}

#[test]
fn only_the_login_of_this_session_with_this_key_at_this_host_is_signed() {
    let home = Home::new();
    let agent = agent(&home);
    let world = World::new(&home);
    let [key, other] = ["key", "other"].map(|name| KeyFile::new(&home, name));
    assert!(add_restricted(&agent, &key, &world.restriction(">a a>b")));
    let public = key.public();
    let [a, b] = ["a", "b"].map(|name| world.known[name].key.clone());

    let mut client = agent.client();
    world.walk(&mut client, "a+ b");
    let good = login(b"session 1", "ada", public, Some(&b));
    let mut other_service = good.clone();
    let at = other_service.windows(14).position(|window| window == b"ssh-connection").expect("the service");
    other_service[at + 4] = b'C';
    let mut other_number = good.clone();
    other_number[4 + 9] = 51;
    for (name, data) in [
        ("another session", login(b"session 2", "ada", public, Some(&b))),
        ("the session of the hop", login(b"session 0", "ada", public, Some(&a))),
        ("no session", login(b"", "ada", public, Some(&b))),
        ("the hop's key", login(b"session 1", "ada", public, Some(&a))),
        ("no host key", login(b"session 1", "ada", public, None)),
        ("an empty host key", login(b"session 1", "ada", public, Some(b""))),
        ("another key", login(b"session 1", "ada", other.public(), Some(&b))),
        ("another service", other_service),
        ("another message", other_number),
        ("a byte more", [&good[..], b"x"].concat()),
        ("a byte less", good[..good.len() - 1].to_vec()),
        ("raw data", b"session 1".to_vec()),
        ("nothing", Vec::new()),
        (
            "a signature over a file",
            Body::nothing().raw(b"SSHSIG").string("file").string("").string("sha512").string([0; 64]).bytes(),
        ),
    ] {
        assert_eq!(client.sign(&public.blob(), &data, 0), None, "{name}");
    }
    assert!(client.sign(&public.blob(), &good, 0).is_some());
}

#[test]
fn a_connection_that_may_not_see_a_key_can_neither_remove_nor_replace_it() {
    let home = Home::new();
    let agent = agent(&home);
    let world = World::new(&home);
    let key = KeyFile::new(&home, "key");
    assert!(add_restricted(&agent, &key, &world.restriction(">a a>b")));
    let remove = Body::new(Client::REMOVE).string(key.public().blob()).bytes();
    let replace = Body::new(Client::ADD).raw(&key.as_added()).bytes();

    let mut stranger = agent.client();
    world.walk(&mut stranger, "c+");
    assert!(!stranger.succeeds(&remove));
    assert!(!stranger.succeeds(&replace), "the constraints could be taken off");
    assert_eq!(stranger.list().expect("a list"), []);

    // Whoever may see it may do both, and so may everybody who was not bound.
    let mut hop = agent.client();
    world.walk(&mut hop, "a+");
    assert!(hop.succeeds(&replace));
    assert_eq!(stranger.list().expect("a list").len(), 1, "the key is free now");
    assert!(add_restricted(&agent, &key, &world.restriction(">a a>b")));
    assert!(hop.succeeds(&remove));
    assert_eq!(agent.client().list().expect("a list"), []);
}
