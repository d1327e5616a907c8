//! Whatever a client sends, the others go on.

use hsm_tests::{Agent, Body, Client, Home, KeyFile};

const LONGEST: usize = 256 * 1024;

/// An agent with one key, a client that misbehaves, and at the end the proof that others are served.
fn while_others_work(misbehave: impl FnOnce(&Agent, &KeyFile)) {
    let home = Home::new();
    let mut agent = Agent::with(&home).as_stock().start();
    let key = KeyFile::new(&home, "work");
    agent.ssh_add([key.path()]).run().succeeds();
    let mut other = agent.client();
    assert_eq!(other.list().expect("a list").len(), 1);

    misbehave(&agent, &key);

    assert_eq!(other.list().expect("a list on the old connection").len(), 1);
    assert_eq!(agent.client().list().expect("a list on a new connection").len(), 1);
    agent.signs(key.public()).run().succeeds();
    assert!(!agent.has_ended());
}

//= RFC 9987 section 5.1: SSH_AGENT_FAILURE messages MUST also be sent in reply to requests with unknown or unsupported
//= types.
//= RFC 9987 section 8.1.1: Message number 0 is also reserved and MUST NOT be used.
//= RFC 9987 section 8.1.1: MUST NOT be used by generic implementations
#[test]
fn unknown_messages_are_refused_and_the_connection_lives() {
    while_others_work(|agent, _| {
        let mut client = agent.client();
        for number in [0, 2, 10, 12, 14, 99, 200, 255] {
            assert_eq!(client.ask(&[number]), Some(vec![Client::FAILURE]), "message {number}");
            assert_eq!(client.ask(&[number, 1, 2, 3]), Some(vec![Client::FAILURE]), "message {number} with a body");
        }
        assert_eq!(client.list().expect("a list").len(), 1);
    });
}

#[test]
fn unknown_extensions_are_refused_and_the_connection_lives() {
    while_others_work(|agent, _| {
        let mut client = agent.client();
        assert_eq!(
            client.ask(&Body::new(Client::EXTENSION).string("nonsense@example.org").bytes()),
            Some(vec![Client::FAILURE])
        );
        assert_eq!(client.list().expect("a list").len(), 1);
    });
}

#[test]
fn an_oversized_frame_ends_only_its_connection() {
    while_others_work(|agent, _| {
        let mut client = agent.client();
        client.send(&vec![Client::LIST; 300 * 1024]);
        assert_eq!(client.receive(), None);

        let mut client = agent.client();
        client.send_raw(&[0xff, 0xff, 0xff, 0xff, Client::LIST]);
        assert_eq!(client.receive(), None);
    });
}

#[test]
fn the_longest_frame_is_served() {
    while_others_work(|agent, key| {
        let overhead = Body::new(Client::SIGN).string(key.public().blob()).string("").u32(0).bytes().len();
        let signed = agent.client().sign(&key.public().blob(), &vec![7; LONGEST - overhead], 0);
        assert!(signed.is_some());
    });
}

#[test]
fn a_message_without_a_byte_is_no_danger() {
    while_others_work(|agent, _| {
        let mut client = agent.client();
        client.send(&[]);
        // Stock answers nothing and hangs up at the next byte; a refusal is as good.
        client.send(&[Client::LIST]);
        let answer = client.receive();
        assert!(answer.is_none() || answer.as_deref() == Some(&[Client::FAILURE]), "{answer:?}");
    });
}

#[test]
fn half_a_frame_and_idle_connections_hold_up_nobody() {
    while_others_work(|agent, _| {
        let mut halves: Vec<Client> = (0..50).map(|_| agent.client()).collect();
        for (index, client) in halves.iter_mut().enumerate() {
            client.send_raw(&[0, 0, 0, 9, Client::SIGN, 0, 0][..index % 8]);
        }
        let idle: Vec<Client> = (0..50).map(|_| agent.client()).collect();
        assert_eq!(agent.client().list().expect("a list").len(), 1);
        drop((halves, idle));
    });
}

#[test]
fn a_request_may_come_byte_by_byte_and_several_at_once() {
    while_others_work(|agent, key| {
        let mut client = agent.client();
        let request = Body::new(Client::SIGN).string(key.public().blob()).string("data").u32(0).bytes();
        for byte in u32::try_from(request.len()).expect("a short request").to_be_bytes().iter().chain(&request) {
            client.send_raw(&[*byte]);
        }
        assert_eq!(client.receive().expect("an answer")[0], Client::SIGNATURE);

        client.send_raw(&[[0, 0, 0, 1, Client::LIST], [0, 0, 0, 1, 200], [0, 0, 0, 1, Client::LIST]].concat());
        let answers: Vec<u8> = (0..3).map(|_| client.receive().expect("an answer")[0]).collect();
        assert_eq!(answers, [Client::IDENTITIES, Client::FAILURE, Client::IDENTITIES]);
    });
}

#[test]
fn every_truncated_request_is_refused() {
    while_others_work(|agent, key| {
        let requests = [
            Body::new(Client::SIGN).string(key.public().blob()).string("data").u32(0).bytes(),
            Body::new(Client::REMOVE).string(key.public().blob()).bytes(),
            Body::new(Client::ADD).raw(&key.as_added()).bytes(),
            Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(&[1, 0, 0, 0, 9]).bytes(),
            Body::new(Client::EXTENSION)
                .string("session-bind@openssh.com")
                .string(key.public().blob())
                .string("id")
                .string("signature")
                .raw(&[0])
                .bytes(),
        ];
        let mut client = agent.client();
        for request in requests {
            for length in 1..request.len() {
                // A constrained add without constraints is complete (stock takes it); everything shorter is not.
                if request[0] == Client::ADD_CONSTRAINED && length == request.len() - 5 {
                    continue;
                }
                let answer = client
                    .ask(&request[..length])
                    .unwrap_or_else(|| panic!("hung up at {length} bytes of message {}", request[0]));
                assert!(
                    matches!(answer.as_slice(), [Client::FAILURE | 28]),
                    "{answer:?} to {length} bytes of message {}",
                    request[0]
                );
            }
        }
    });
}

#[test]
fn lengths_that_lie_are_refused() {
    while_others_work(|agent, _| {
        let mut client = agent.client();
        for number in
            [Client::SIGN, Client::ADD, Client::REMOVE, Client::ADD_CONSTRAINED, Client::EXTENSION, 20, 21, 26]
        {
            let request = Body::new(number).u32(u32::MAX).raw(&[0xff; 64]).bytes();
            assert_eq!(client.ask(&request), Some(vec![Client::FAILURE]), "message {number}");
        }
    });
}

#[test]
fn unknown_constraints_are_refused_and_the_key_is_not_added() {
    let home = Home::new();
    let agent = Agent::start(&home);
    let key = KeyFile::new(&home, "work");
    let mut client = agent.client();
    for constraint in [&[3, 0, 0, 0, 1][..], &[254], &[255, 0, 0, 0, 1, b'x'], &[1, 0, 0, 0, 9, 1, 0, 0, 0, 9], &[2, 2]]
    {
        let request = Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(constraint).bytes();
        assert!(!client.succeeds(&request), "{constraint:?}");
    }
    assert_eq!(client.list().expect("a list"), []);
}

#[test]
fn garbage_is_no_danger() {
    while_others_work(|agent, _| {
        // Every first byte, with a body that looks different each time.
        for seed in 0..=255_u8 {
            let garbage: Vec<u8> = (0..100_u8).map(|index| index.wrapping_mul(seed | 1).wrapping_add(seed)).collect();
            let mut client = agent.client();
            client.send_raw(&garbage);
            drop(client);
        }
    });
}
