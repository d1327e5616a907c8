//! PKCS#11 modules added and removed with `ssh-add -s` and `-e`.

use std::fs;

use hsm_tests::{Agent, Answer, Askpass, Home, Key, SOON, Token, stock_cannot, until};

//= RFC 9987 section 5.2.6: An agent MUST reply with SSH_AGENT_SUCCESS if one or more keys were successfully loaded
//= RFC 9987 section 5.4: SHOULD cause the agent to remove all keys it loaded from the device matching "token id"
#[test]
fn a_provider_is_added_with_its_pin_and_removed() {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let askpass = Askpass::new(&home, &[Answer::Type(token.pin())]);
    let agent = Agent::with(&home).envs(token.environment()).start();
    agent.ssh_add(["-s"]).arg(token.library()).envs(askpass.environment()).run().succeeds();
    assert!(agent.listed()[0].contains(token.public(Key::P256).fingerprint()));
    agent.signs(token.public(Key::P256)).run().succeeds();
    agent.ssh_add(["-e"]).arg(token.library()).run().succeeds();
    assert!(agent.listed().is_empty());
    agent.signs(token.public(Key::P256)).run().fails();
}

#[test]
fn a_provider_takes_a_lifetime_and_a_confirm() {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let askpass = Askpass::new(&home, &[Answer::Type(token.pin()), Answer::Ok]);
    let agent = Agent::with(&home).envs(token.environment()).envs(askpass.environment()).start();
    agent.ssh_add(["-c", "-t", "3", "-s"]).arg(token.library()).envs(askpass.environment()).run().succeeds();
    agent.signs(token.public(Key::P256)).run().succeeds();
    assert!(
        askpass.questions().last().is_some_and(|question| question.starts_with("[confirm] ")),
        "{:?}",
        askpass.questions()
    );
    assert!(until(SOON, || agent.listed().is_empty()), "the token's key outlives its 3 seconds");
}

#[test]
fn a_provider_with_a_wrong_pin_is_refused_and_takes_the_right_one_later() {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let askpass = Askpass::new(&home, &[Answer::Type("wrong pin"), Answer::Type(token.pin())]);
    let agent = Agent::with(&home).envs(token.environment()).start();
    let add = || agent.ssh_add(["-s"]).arg(token.library()).envs(askpass.environment()).run();
    add().fails();
    add().succeeds();
    agent.signs(token.public(Key::P256)).run().succeeds();
}

#[test]
fn a_provider_can_be_added_again_after_remove_all() {
    if stock_cannot("add a provider again after -D before 10.x") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let askpass = Askpass::new(&home, &[Answer::Type(token.pin()), Answer::Type(token.pin())]);
    let agent = Agent::with(&home).envs(token.environment()).start();
    let add = || agent.ssh_add(["-s"]).arg(token.library()).envs(askpass.environment()).run().succeeds();
    add();
    agent.ssh_add(["-D"]).run().succeeds();
    assert!(agent.listed().is_empty());
    add();
    agent.signs(token.public(Key::P256)).run().succeeds();
}

//= RFC 9987 section 5.2.6: if the request was against agent policy
//= RFC 9987 section 10: SHOULD ensure that only trusted token provider libraries are loadable
#[test]
fn a_provider_outside_the_allowed_folders_is_refused_unless_allowed() {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let library = home.path("libsofthsm2.so");
    fs::copy(token.library(), &library).expect("copy the library");
    let askpass = Askpass::new(&home, &[Answer::Type(token.pin()), Answer::Type(token.pin())]);
    let add = |agent: &Agent| agent.ssh_add(["-s"]).arg(&library).envs(askpass.environment()).run();

    add(&Agent::with(&home).envs(token.environment()).start()).fails();
    let allowed =
        Agent::with(&home).named("allowed").envs(token.environment()).arg("-P").arg(library.as_os_str()).start();
    add(&allowed).succeeds();
}

//= RFC 9987 section 5.2.6: The agent MUST also return SSH_AGENT_FAILURE if the "token id" was not recognised
#[test]
fn one_token_is_named_by_uri() {
    if stock_cannot("read PKCS#11 URIs") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256, Key::Ed25519]);
    let askpass = Askpass::new(&home, &[Answer::Type(token.pin()), Answer::Type(token.pin())]);
    let agent = Agent::with(&home).envs(token.environment()).start();
    let library = token.library();
    let add = |label: &str| {
        let uri = format!("pkcs11:token={label}?module-path={}", library.display());
        agent.ssh_add(["-s", &uri]).envs(askpass.environment()).run()
    };
    add("another").fails();
    assert!(agent.listed().is_empty());
    add(token.label()).succeeds();
    assert_eq!(agent.listed().len(), 2);
    agent.signs(token.public(Key::Ed25519)).run().succeeds();
}
