//! The lock (RFC 9987 section 5.7): while it is on, keys are neither shown nor used, and guessing the passphrase takes longer each time.

use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::{Agent, Body, Client, Home, KeyFile, SOON, stock_cannot, until};

fn lock(passphrase: &str) -> Vec<u8> {
    Body::new(Client::LOCK).string(passphrase).bytes()
}

fn unlock(passphrase: &str) -> Vec<u8> {
    Body::new(Client::UNLOCK).string(passphrase).bytes()
}

fn with_key(home: &Home) -> (Agent, KeyFile) {
    let agent = Agent::with(home).as_stock().start();
    let key = KeyFile::new(home, "key");
    assert!(agent.client().succeeds(&Body::new(Client::ADD).raw(&key.as_added()).bytes()));
    (agent, key)
}

//= RFC 9987 section 5.7: When locked, an agent MUST suspend processing of sensitive operations
#[test]
fn a_locked_agent_shows_no_keys_and_does_nothing_but_unlock() {
    let home = Home::new();
    let (agent, key) = with_key(&home);
    let mut before = agent.client();
    assert!(agent.client().succeeds(&lock("open sesame")));
    let blob = key.public().blob();
    let requests = [
        ("sign", Body::new(Client::SIGN).string(&blob).string("data").u32(0)),
        ("add", Body::new(Client::ADD).raw(&key.as_added())),
        ("add with constraints", Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(&[2])),
        ("remove", Body::new(Client::REMOVE).string(&blob)),
        ("remove all", Body::new(Client::REMOVE_ALL)),
        ("remove all of the first protocol", Body::new(9)),
        ("add a provider", Body::new(20).string("/usr/lib/x.so").string("")),
        ("remove a provider", Body::new(21).string("/usr/lib/x.so").string("")),
        ("lock", Body::new(Client::LOCK).string("another")),
        ("query", Body::new(Client::EXTENSION).string("query")),
        ("unknown extension", Body::new(Client::EXTENSION).string("nonsense@example.org")),
        ("unlock with another passphrase", Body::new(Client::UNLOCK).string("close sesame")),
        ("unlock without a passphrase", Body::new(Client::UNLOCK).string("")),
    ];
    // On old and new connections alike.
    let mut after = agent.client();
    for client in [&mut before, &mut after] {
        assert_eq!(client.list().expect("a list"), []);
        for (name, request) in &requests {
            assert_eq!(client.ask(&request.clone().bytes()), Some(vec![Client::FAILURE]), "{name}");
        }
    }
    assert!(after.succeeds(&unlock("open sesame")));
    assert_eq!(before.list().expect("a list").len(), 1, "something was removed while the agent was locked");
    assert!(before.sign(&blob, b"data", 0).is_some());
}

//= RFC 9987 section 5.7: The agent MUST reply with SSH_AGENT_SUCCESS if locked successfully or SSH_AGENT_FAILURE
//= otherwise (e.g., if the agent was already locked).
//= RFC 9987 section 5.7: If the agent is already unlocked or if the passphrase does not match, it MUST reply with
//= SSH_AGENT_FAILURE.
#[test]
fn only_a_locked_agent_unlocks_and_only_an_unlocked_one_locks() {
    let home = Home::new();
    let (agent, _) = with_key(&home);
    let mut client = agent.client();
    assert!(!client.succeeds(&unlock("never locked")));
    assert!(client.succeeds(&lock("first")));
    assert!(!client.succeeds(&lock("second")));
    assert!(!client.succeeds(&unlock("second")), "the second passphrase is in force");
    assert!(client.succeeds(&unlock("first")));
    assert!(!client.succeeds(&unlock("first")));
    assert!(client.succeeds(&lock("third")), "it can be locked again");
}

//= RFC 9987 section 5.7: the passphrase matches the one used to lock it, then it MUST unlock
#[test]
fn any_bytes_but_none_are_a_passphrase() {
    let home = Home::new();
    let (agent, _) = with_key(&home);
    let mut client = agent.client();
    assert!(!client.succeeds(&lock("")), "an empty passphrase would lock nobody out");
    assert_eq!(client.list().expect("a list").len(), 1);
    for passphrase in [&b"\xff\xfe\n"[..], &[b'x'; 10_000], b" "] {
        assert!(client.succeeds(&Body::new(Client::LOCK).string(passphrase).bytes()));
        assert!(!client.succeeds(&Body::new(Client::UNLOCK).string(&passphrase[1..]).bytes()));
        assert!(client.succeeds(&Body::new(Client::UNLOCK).string(passphrase).bytes()));
    }
}

//= RFC 9987 section 10: an agent SHOULD take countermeasures against brute-force guessing attacks on the passphrase
#[test]
fn each_wrong_passphrase_is_answered_later_than_the_one_before() {
    let home = Home::new();
    let (agent, _) = with_key(&home);
    let mut client = agent.client();
    assert!(client.succeeds(&lock("right")));
    let mut waits = |passphrase: &str| {
        let start = Instant::now();
        let unlocked = client.succeeds(&unlock(passphrase));
        (unlocked, start.elapsed())
    };
    for failures in 1..=4 {
        let (unlocked, waited) = waits("wrong");
        assert!(!unlocked);
        assert!(waited >= Duration::from_millis(100) * failures, "failure {failures} was answered after {waited:?}");
    }
    // An empty passphrase is a slip of the finger: neither a failure nor delayed.
    assert!(waits("").1 < Duration::from_millis(400));
    assert!(waits("right").0);
}

#[test]
fn guessing_on_many_connections_at_once_is_no_quicker() {
    if stock_cannot("guess on several connections at once: each wrong passphrase stops everybody") {
        return;
    }
    let home = Home::new();
    let (agent, _) = with_key(&home);
    assert!(agent.client().succeeds(&lock("right")));
    let start = Instant::now();
    let mut clients: Vec<Client> = (0..9).map(|_| agent.client()).collect();
    clients.iter_mut().for_each(|client| client.send(&unlock("wrong")));
    for client in &mut clients {
        assert_eq!(client.receive(), Some(vec![Client::FAILURE]));
    }
    // 0.1 + 0.2 + … + 0.9 seconds, as if one had asked after the other.
    assert!(start.elapsed() >= Duration::from_millis(4500), "9 guesses took {:?}", start.elapsed());
}

#[test]
fn guessers_on_other_connections_do_not_delay_the_right_passphrase() {
    if stock_cannot("serve others while it delays the answer to a wrong passphrase") {
        return;
    }
    let home = Home::new();
    let (agent, _) = with_key(&home);
    assert!(agent.client().succeeds(&lock("right")));
    let mut guessers: Vec<Client> = (0..12).map(|_| agent.client()).collect();
    guessers.iter_mut().for_each(|client| client.send(&unlock("wrong")));
    let answered: Vec<_> =
        guessers.into_iter().map(|mut guesser| thread::spawn(move || (guesser.receive(), Instant::now()))).collect();
    assert!(agent.client().succeeds(&unlock("right")));
    let unlocked = Instant::now();
    let answers: Vec<_> = answered.into_iter().map(|answer| answer.join().expect("an answer")).collect();
    assert!(answers.iter().all(|(answer, _)| *answer == Some(vec![Client::FAILURE])));
    let waiting = answers.iter().filter(|(_, answered)| *answered > unlocked).count();
    assert!(waiting > 3, "the owner waited for all but {waiting} guessers");
}

#[test]
fn a_wrong_passphrase_delays_nobody_else() {
    if stock_cannot("serve others while it delays the answer to a wrong passphrase") {
        return;
    }
    let home = Home::new();
    let (agent, _) = with_key(&home);
    assert!(agent.client().succeeds(&lock("right")));
    let mut guesser = agent.client();
    for _ in 0..5 {
        assert!(!guesser.succeeds(&unlock("wrong")));
    }
    guesser.send(&unlock("wrong"));
    let answered = thread::spawn(move || (guesser.receive(), Instant::now()));
    let mut owner = agent.client();
    assert_eq!(owner.list().expect("a list"), []);
    assert!(owner.succeeds(&unlock("right")));
    let unlocked = Instant::now();
    assert_eq!(owner.list().expect("a list").len(), 1);
    let (answer, answered) = answered.join().expect("the guesser's answer");
    assert_eq!(answer, Some(vec![Client::FAILURE]));
    assert!(unlocked < answered, "the owner waited for the guesser");
}

#[test]
fn the_right_passphrase_ends_the_count_of_the_wrong_ones() {
    let home = Home::new();
    let (agent, _) = with_key(&home);
    let mut client = agent.client();
    for _ in 0..2 {
        assert!(client.succeeds(&lock("right")));
        let start = Instant::now();
        for _ in 0..3 {
            assert!(!client.succeeds(&unlock("wrong")));
        }
        // 0.1 + 0.2 + 0.3 seconds, each time.
        assert!(start.elapsed() < Duration::from_millis(1400), "three wrong passphrases took {:?}", start.elapsed());
        assert!(client.succeeds(&unlock("right")));
    }
}

#[test]
fn lifetimes_go_on_while_the_agent_is_locked() {
    let home = Home::new();
    let (agent, key) = with_key(&home);
    let mut client = agent.client();
    let marker = KeyFile::new(&home, "marker");
    for key in [&key, &marker] {
        assert!(
            client.succeeds(&Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(&[1, 0, 0, 0, 1]).bytes())
        );
    }
    assert!(client.succeeds(&lock("right")));
    let start = Instant::now();
    assert!(until(SOON, || start.elapsed() > Duration::from_millis(1100)));
    assert!(client.succeeds(&unlock("right")));
    assert_eq!(client.list().expect("a list"), []);
}

#[test]
fn a_lock_without_a_passphrase_field_locks_nothing() {
    if stock_cannot("survive it: it ends itself rather than stay unlocked by mistake") {
        return;
    }
    let home = Home::new();
    let (agent, _) = with_key(&home);
    let mut client = agent.client();
    for malformed in [vec![Client::LOCK], Body::new(Client::LOCK).u32(99).raw(b"short").bytes()] {
        assert_eq!(client.ask(&malformed), Some(vec![Client::FAILURE]));
    }
    assert_eq!(client.list().expect("a list").len(), 1);
}
