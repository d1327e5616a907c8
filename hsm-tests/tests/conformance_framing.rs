//! Frames and their limits (RFC 9987 section 5): `uint32` length, then as many bytes, the first of which is the type.

use hsm_tests::{Agent, Body, Client, Home, KeyFile, is_stock, resident_memory, stock_cannot};

const LONGEST: usize = 256 * 1024;

fn frame(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).expect("a short message").to_be_bytes()[..], message].concat()
}

fn with_one_key(home: &Home) -> (Agent, KeyFile) {
    let agent = Agent::with(home).as_stock().start();
    let key = KeyFile::new(home, "work");
    agent.ssh_add([key.path()]).run().succeeds();
    (agent, key)
}

fn add(key: &KeyFile, comment: &str) -> Vec<u8> {
    let with_own_comment = key.as_added();
    let end = with_own_comment.len() - 4 - "work".len();
    Body::new(Client::ADD).raw(&with_own_comment[..end]).string(comment).bytes()
}

#[test]
fn the_longest_message_is_256_kib() {
    let home = Home::new();
    let (agent, _) = with_one_key(&home);
    // What follows a complete list request is ignored.
    let mut message = vec![0; LONGEST];
    message[0] = Client::LIST;
    assert_eq!(agent.client().ask(&message).expect("an answer")[0], Client::IDENTITIES);
    message.push(0);
    assert_eq!(agent.client().ask(&message), None, "one byte more is served");
}

#[test]
fn a_length_above_the_limit_closes_the_connection_before_the_message_is_there() {
    let home = Home::new();
    let (agent, _) = with_one_key(&home);
    for length in [u32::try_from(LONGEST).expect("a small number") + 1, 1 << 31, u32::MAX] {
        let mut client = agent.client();
        client.send_raw(&length.to_be_bytes());
        // Stock looks at the length when a fifth byte is there.
        client.send_raw(&[Client::LIST]);
        assert_eq!(client.receive(), None, "a message of {length} bytes is waited for");
    }
}

#[test]
fn a_message_too_long_to_come_does_not_make_the_agent_grow() {
    let home = Home::new();
    let (agent, _) = with_one_key(&home);
    let before = resident_memory(agent.pid());
    let mut clients: Vec<Client> = (0..200).map(|_| agent.client()).collect();
    for client in &mut clients {
        client.send_raw(&u32::try_from(LONGEST).expect("a small number").to_be_bytes());
        client.send_raw(&[Client::SIGN]);
    }
    assert_eq!(agent.client().list().expect("a list").len(), 1);
    let grown = resident_memory(agent.pid()).saturating_sub(before);
    assert!(grown < 10 << 20, "200 announced messages cost {grown} bytes");
}

#[test]
fn a_message_of_no_bytes_has_no_type() {
    let home = Home::new();
    let (agent, _) = with_one_key(&home);
    let mut client = agent.client();
    client.send(&[]);
    client.send(&[Client::LIST]);
    if is_stock() {
        // Stock hangs up; being in the middle of the next frame by then, it may do so with a reset.
        assert_eq!(client.receive(), None);
    } else {
        // Every frame has one reply here, and the connection is still in step.
        assert_eq!(client.receive(), Some(vec![Client::FAILURE]));
        assert_eq!(client.receive().expect("an answer")[0], Client::IDENTITIES);
    }
}

//= RFC 9987 section 3: Replies are sent in order.
#[test]
fn many_requests_at_once_are_answered_in_order() {
    let home = Home::new();
    let (agent, key) = with_one_key(&home);
    let requests = [
        vec![Client::LIST],
        Body::new(Client::REMOVE).string(key.public().blob()).bytes(),
        vec![Client::LIST],
        vec![200],
        add(&key, "again"),
        vec![Client::LIST],
        Body::new(Client::SIGN).string(key.public().blob()).string("data").u32(0).bytes(),
    ];
    let stream: Vec<u8> = requests.iter().flat_map(|request| frame(request)).collect();
    let mut client = agent.client();
    for _ in 0..20 {
        client.send_raw(&stream);
    }
    for _ in 0..20 {
        let answers: Vec<Vec<u8>> = requests.iter().map(|_| client.receive().expect("an answer")).collect();
        let types: Vec<u8> = answers.iter().map(|answer| answer[0]).collect();
        let (list, done) = (Client::IDENTITIES, Client::SUCCESS);
        assert_eq!(types, [list, done, list, Client::FAILURE, done, list, Client::SIGNATURE]);
        let counts = [0, 2, 5].map(|index: usize| answers[index][4]);
        assert_eq!(counts, [1, 0, 1]);
    }
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let home = Home::new();
    let (agent, key) = with_one_key(&home);
    let sign = Body::new(Client::SIGN).string(key.public().blob()).string("data").u32(0).bytes();
    let stream = [frame(&[Client::LIST]), frame(&sign), frame(&[Client::LIST])].concat();
    for cut in 1..stream.len() {
        let mut client = agent.client();
        client.send_raw(&stream[..cut]);
        // So that the agent is sure to have read up to the cut when the rest comes.
        let before_the_cut = usize::from(cut >= 5) + usize::from(cut >= 5 + 4 + sign.len());
        let mut types: Vec<u8> = (0..before_the_cut).map(|_| client.receive().expect("an answer")[0]).collect();
        client.send_raw(&stream[cut..]);
        types.extend((before_the_cut..3).map(|_| client.receive().expect("an answer")[0]));
        assert_eq!(types, [Client::IDENTITIES, Client::SIGNATURE, Client::IDENTITIES], "cut after {cut} bytes");
    }
}

#[test]
fn a_client_that_stops_sending_still_gets_its_answers() {
    let home = Home::new();
    let (agent, _) = with_one_key(&home);
    let mut client = agent.client();
    client.send_raw(&[frame(&[Client::LIST]), frame(&[200]), frame(&[Client::LIST])].concat());
    client.end_sending();
    if is_stock() {
        // Stock closes at the end of input, whatever it has not yet said.
        return;
    }
    let types: Vec<u8> = (0..3).map(|_| client.receive().expect("an answer")[0]).collect();
    assert_eq!(types, [Client::IDENTITIES, Client::FAILURE, Client::IDENTITIES]);
    assert_eq!(client.receive(), None, "the connection stays open after everything is said");
}

#[test]
fn a_client_that_does_not_read_is_not_read_from_and_holds_up_nobody() {
    const REQUESTS: usize = 500;
    if stock_cannot("answer anybody while it has hundreds of long answers for one client") {
        return;
    }
    let home = Home::new();
    let (agent, key) = with_one_key(&home);
    // Makes each list as long as a message may be: five bytes asked, 200,000 answered.
    assert!(agent.client().succeeds(&add(&key, &"x".repeat(200_000))));
    let before = resident_memory(agent.pid());
    let mut deaf = agent.client();
    deaf.send_raw(&frame(&[Client::LIST]).repeat(REQUESTS));

    for _ in 0..10 {
        assert_eq!(agent.client().list().expect("a list").len(), 1);
    }
    let grown = resident_memory(agent.pid()).saturating_sub(before);
    assert!(grown < 10 << 20, "the agent keeps {grown} bytes for a client that does not read");
    for index in 0..REQUESTS {
        assert_eq!(
            deaf.receive().unwrap_or_else(|| panic!("hung up after {index} answers")).len(),
            200_000 + 9 + key.public().blob().len() + 4
        );
    }
}

#[test]
fn whatever_follows_a_complete_request_is_ignored() {
    let home = Home::new();
    let (agent, key) = with_one_key(&home);
    let blob = key.public().blob();
    let mut client = agent.client();
    let mut ask = |message: Body| client.ask(&message.raw(b"surplus").bytes()).expect("an answer")[0];
    assert_eq!(ask(Body::new(Client::LIST)), Client::IDENTITIES);
    assert_eq!(ask(Body::new(Client::SIGN).string(&blob).string("data").u32(0)), Client::SIGNATURE);
    assert_eq!(ask(Body::new(Client::REMOVE).string(&blob)), Client::SUCCESS);
    assert_eq!(ask(Body::new(Client::REMOVE_ALL)), Client::SUCCESS);
    assert_eq!(ask(Body::new(Client::LOCK).string("passphrase")), Client::SUCCESS);
    assert_eq!(ask(Body::new(Client::UNLOCK).string("passphrase")), Client::SUCCESS);
}
