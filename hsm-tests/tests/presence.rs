//! Tokens that come and go while the agent runs.

use std::time::Duration;

use faulty_module::Outcome;
use hsm_tests::{
    Agent, Answer, FaultyToken, Home, Key, KeyFile, Module, Pinentry, SOON, Token, resident_memory, stock_cannot, until,
};

const NOTICE: &str = "notice tokens that come and go";

/// A card in a reader: one worker, and a slot that says that tokens are put into it.
fn in_a_reader(token: &FaultyToken, more: &str) {
    token.set(&format!("token removable\n{more}"));
}

fn signs(agent: &Agent, token: &FaultyToken) -> bool {
    agent.client().sign(&token.public(Key::P256).blob(), b"data", 0).is_some()
}

fn shows(agent: &Agent, token: &FaultyToken, state: &str) -> bool {
    until(SOON, || agent.state(token.public(Key::P256)).as_deref() == Some(state))
}

#[test]
fn a_token_that_is_pulled_is_offered_no_longer_and_is_back_when_it_is_put_in() {
    if stock_cannot(NOTICE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    in_a_reader(&token, "");
    let agent = Agent::with(&home).as_stock().module(token.module()).start();
    assert!(signs(&agent, &token));
    assert!(shows(&agent, &token, "ready"));

    in_a_reader(&token, "token removed");
    assert!(until(SOON, || agent.listed().is_empty()), "the key of a token that is gone is offered");
    assert!(shows(&agent, &token, "gone"));

    in_a_reader(&token, "");
    assert!(until(SOON, || agent.listed().len() == 1), "the token does not come back\n{}", home.logs());
    assert!(shows(&agent, &token, "needs PIN"), "a token that was away keeps its login");
    assert!(signs(&agent, &token), "{}", home.logs());
}

#[test]
fn the_first_signature_after_an_unnoticed_removal_succeeds() {
    if stock_cannot(NOTICE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    in_a_reader(&token, "");
    let agent = Agent::with(&home).as_stock().module(token.module()).start();
    assert!(signs(&agent, &token));
    in_a_reader(&token, "C_SignInit return CKR_DEVICE_REMOVED times 1");
    token.forget_calls();
    assert!(signs(&agent, &token), "{}", home.logs());
    assert_eq!(token.calls.count("C_Login"), 1);
}

#[test]
fn another_token_in_the_reader_is_asked_for_its_own_pin() {
    if stock_cannot(NOTICE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    in_a_reader(&token, "token serial 1111");
    let file = home.file("pin", token.token().pin());
    let mut agent = Agent::with(&home).as_stock().module(token.module().pin_from(&file)).start();
    assert!(signs(&agent, &token));
    in_a_reader(&token, "token serial 2222\ntoken session-lost");
    agent.wait_for_log("token is gone");
    token.forget_calls();
    assert!(!signs(&agent, &token), "the PIN in the file was the first token's\n{}", home.logs());
    agent.wait_for_log("a PIN goes only to the token it is meant for");
    assert_eq!(token.calls.count("C_Login"), 0, "{}", home.logs());
}

#[test]
fn a_dialog_closes_when_its_token_is_pulled() {
    if stock_cannot(NOTICE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    in_a_reader(&token, "");
    let pinentry = Pinentry::new(&home, &[Answer::Hang]);
    let mut agent = Agent::with(&home).as_stock().module(token.module().pin_asked()).pinentry(&pinentry).start();
    let mut waiting = agent.signs(token.public(Key::P256)).start("waiting");
    assert!(until(SOON, || pinentry.is_open()), "no dialog\n{}", home.logs());
    in_a_reader(&token, "token removed");
    assert!(!waiting.ends(SOON).success());
    agent.wait_for_log("taken out while its PIN was asked for");
    assert!(until(SOON, || !pinentry.is_open()), "the dialog stays open");
}

#[test]
fn a_module_that_lost_its_token_is_not_believed_that_the_pin_was_wrong() {
    if stock_cannot(NOTICE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let mut agent = Agent::with(&home).as_stock().module(token.module()).start();
    in_a_reader(&token, "C_Login delay 1s\nC_Login return CKR_PIN_INCORRECT");
    let mut waiting = agent.signs(token.public(Key::P256)).start("waiting");
    let delayed = Outcome::Fault("delay".to_owned());
    assert!(token.calls.wait_for(SOON, |call| call.function == "C_Login" && call.outcome == delayed).is_some());
    in_a_reader(&token, "token removed");
    assert!(!waiting.ends(SOON).success());
    agent.wait_for_log("but the token is not there any more");
    in_a_reader(&token, "");
    assert!(signs(&agent, &token), "the PIN counts as refused\n{}", home.logs());
}

#[test]
fn looking_for_tokens_costs_next_to_nothing() {
    if stock_cannot(NOTICE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    in_a_reader(&token, "");
    let agent = Agent::with(&home).as_stock().module(token.module()).start();
    assert!(signs(&agent, &token));
    token.forget_calls();
    let looked = token.calls.wait_for(SOON, |call| call.function == "C_GetSlotList");
    assert!(looked.is_some(), "nobody looks");
    std::thread::sleep(Duration::from_secs(3));
    let calls = token.calls.entries().expect("the log of calls");
    assert!(
        calls.iter().all(|call| ["C_GetSlotList", "C_GetSessionInfo"].contains(&call.function.as_str())),
        "{calls:?}"
    );
    // Two lists and one session for each look, one look in a second.
    assert!(calls.len() <= 15, "{} calls in three seconds", calls.len());
    let used: Duration = calls.iter().map(|call| call.elapsed).sum();
    assert!(used < Duration::from_millis(60), "{used:?} of three seconds go into looking");
    assert!(resident_memory(agent.pid()) < 64 << 20);
}

#[test]
fn a_token_that_only_a_new_process_of_its_module_sees_shows_without_a_restart() {
    if stock_cannot(NOTICE) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).as_stock().module(Module::of(&token).pin_asked()).start();
    let software = KeyFile::new(&home, "software");
    agent.ssh_add([software.path()]).run().succeeds();
    assert_eq!(agent.listed().len(), 2);
    let other = token.add_token("other-token", "Other-Okapi", Key::P384);
    let shows = || agent.state(&other).as_deref() == Some("needs PIN");
    assert!(until(Duration::from_secs(40), shows), "{}", home.logs());
}

#[test]
fn locking_the_agent_forgets_the_pins_of_tokens() {
    if stock_cannot(NOTICE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let right = token.token().pin();
    let pinentry = Pinentry::new(&home, &[Answer::Type(right), Answer::Type(right)]);
    let agent = Agent::with(&home).as_stock().module(token.module().pin_asked()).pinentry(&pinentry).start();
    assert!(signs(&agent, &token));
    let askpass = home.program("passphrase", "#!/bin/sh\necho secret\n");
    for option in ["-x", "-X"] {
        let task = agent.ssh_add([option]).env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force");
        task.run().succeeds();
    }
    assert!(shows(&agent, &token, "needs PIN"));
    assert!(signs(&agent, &token), "{}", home.logs());
    assert_eq!(pinentry.pins_asked(), 2);
}
