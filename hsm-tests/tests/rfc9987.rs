//! What RFC 9987 asks for and no other file of tests is about.

use std::fs;

use hsm_tests::{Agent, Body, Client, Home, Key, Module, Pid, Token, stock_cannot};

const ADD_PROVIDER: u8 = 20;
const REMOVE_PROVIDER: u8 = 21;

//= RFC 9987 section 3: clients of the agent SHOULD be prepared to fail gracefully if any operation is refused
#[test]
fn what_an_agent_refuses_to_tell_is_looked_for_elsewhere() {
    if stock_cannot("run hardkey's own commands") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).as_stock().module(Module::of(&token)).start();
    home.file("config/hardkey/config.toml", Agent::with(&home).module(Module::of(&token)).configuration());
    assert!(agent.client().succeeds(&Body::new(Client::LOCK).string("passphrase").bytes()));
    let listed = agent.command("hardkey").arg("list").run().succeeds().stdout;
    assert!(listed.contains(token.public(Key::P256).fingerprint()), "{listed}");
}

//= RFC 9987 section 5.4: Removing a token-hosted key affects the agent only; it SHOULD NOT cause the keys be deleted
//= from the token itself.
//= RFC 9987 section 5.4: An agent MUST reply with SSH_AGENT_SUCCESS if the keys were deleted or SSH_AGENT_FAILURE if
//= none were found.
#[test]
fn a_provider_goes_once_and_its_token_keeps_the_keys() {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).as_stock().envs(token.environment()).start();
    let mut client = agent.client();
    let library = token.library();
    let named =
        |number: u8, pin: &str| Body::new(number).string(library.as_os_str().as_encoded_bytes()).string(pin).bytes();
    for _ in 0..2 {
        assert!(client.succeeds(&named(ADD_PROVIDER, token.pin())), "{}", agent.log());
        assert!(client.sign(&token.public(Key::P256).blob(), b"data", 0).is_some());
        assert!(client.succeeds(&named(REMOVE_PROVIDER, "")));
        assert_eq!(client.list().expect("a list"), []);
        assert!(!client.succeeds(&named(REMOVE_PROVIDER, "")), "it was not there any more");
    }
}

//= RFC 9987 section 10: agents SHOULD ensure that loaded token library code cannot gain access to other keys loaded
//= in the agent
#[test]
fn a_library_is_loaded_by_a_worker_and_never_by_the_agent() {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).as_stock().module(Module::of(&token)).start();
    agent.signs(token.public(Key::P256)).run().succeeds();
    let has_it = |process: Pid| {
        let maps = fs::read_to_string(format!("/proc/{}/maps", process.as_raw_pid())).expect("maps of a process");
        maps.contains("libsofthsm2.so")
    };
    assert!(!has_it(agent.pid()));
    assert!(agent.workers().into_iter().any(has_it), "no worker has the library");
}
