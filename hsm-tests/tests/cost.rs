//! What a request costs, counted and not timed: calls into the module and processes, which no busy machine can blur.

use hsm_tests::{Agent, FaultyToken, Home, Key, stock_cannot};

const COUNTED: &str = "spare the token what it does not need";

/// An agent that has signed once with each key and is at rest: what costs something only the first time is behind it.
fn at_rest(home: &Home, keys: &[Key]) -> (FaultyToken, Agent) {
    let token = FaultyToken::new(home, "token", keys);
    let agent = Agent::with(home).as_stock().module(token.module().line("workers = 1")).start();
    for key in keys {
        agent.signs(token.public(*key)).run().succeeds();
    }
    token.forget_calls();
    (token, agent)
}

#[test]
fn a_signature_is_one_initialisation_and_one_signature_in_the_module_and_nothing_else() {
    if stock_cannot(COUNTED) {
        return;
    }
    let keys = [Key::Rsa2048, Key::P256, Key::Ed25519];
    let home = Home::new();
    let (token, agent) = at_rest(&home, &keys);
    let mut client = agent.client();
    for key in keys {
        for round in 0..10 {
            let data = format!("data of round {round}");
            // RSA as every client asks for it since SHA-1 is gone: rsa-sha2-512.
            client.sign(&token.public(key).blob(), data.as_bytes(), 4).expect("a signature");
        }
    }
    let calls = token.calls.entries().expect("the log of calls");
    let others: Vec<_> = calls.iter().filter(|call| !["C_SignInit", "C_Sign"].contains(&&call.function[..])).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!((token.calls.count("C_SignInit"), token.calls.count("C_Sign")), (30, 30));
    assert_eq!(token.calls.processes().len(), 1, "one worker process");
}

#[test]
fn a_list_asks_the_module_nothing() {
    if stock_cannot(COUNTED) {
        return;
    }
    let home = Home::new();
    let (token, agent) = at_rest(&home, &[Key::P256]);
    let mut client = agent.client();
    for _ in 0..100 {
        assert_eq!(client.list().map(|keys| keys.len()), Some(1));
    }
    let calls = token.calls.entries().expect("the log of calls");
    assert!(calls.is_empty(), "{calls:?}");
}
