//! A token with a thousand keys.

use std::time::{Duration, Instant};

use hsm_tests::{Agent, FaultyToken, Home, Key, KnownKey, Module, Token, stock_cannot};

const KEYS: usize = 1000;
/// Each half of each key is a file that SoftHSM reads, on a busy machine.
const READ: Duration = Duration::from_secs(60);

#[test]
fn a_thousand_keys_are_listed_sooner_than_by_pkcs11_tool() {
    if stock_cannot("list without reading the keys again") {
        return;
    }
    let home = Home::new();
    let keys = KnownKey::several(KEYS as u64 - 1);
    let token = Token::crowded(&home, "token", &keys);
    let began = Instant::now();
    let tool = home.command("pkcs11-tool").arg("--module").arg(token.library()).args(["-O", "--login", "--pin"]);
    tool.arg(token.pin()).envs(token.environment()).within(READ).run().succeeds();
    let by_tool = began.elapsed();

    let began = Instant::now();
    let agent = Agent::with(&home).as_stock().module(Module::of(&token)).start();
    let lines = agent.ssh_add(["-L"]).within(READ).run().succeeds().stdout;
    let by_agent = began.elapsed();
    let ratio = by_tool.as_secs_f64() / by_agent.as_secs_f64();
    eprintln!("first list {by_agent:?}, pkcs11-tool {by_tool:?}, {ratio:.1} times as long");
    // It was 2 to 3 times; something else may have the machine for a while.
    assert!(ratio > 0.5, "the first list takes {by_agent:?}, pkcs11-tool only {by_tool:?}");
    assert_eq!(lines.lines().count(), KEYS);
    for key in &keys {
        assert!(lines.contains(&key.line()), "{} is not listed", key.line());
    }
    agent.signs(token.public(Key::P256)).within(READ).run().succeeds();
}

#[test]
fn a_thousand_keys_are_listed_from_memory_and_each_of_them_signs() {
    if stock_cannot("list from memory") {
        return;
    }
    let home = Home::new();
    let keys = KnownKey::several(KEYS as u64 - 1);
    let token = FaultyToken::before(&home, "token", Token::crowded(&home, "token", &keys));
    let agent = Agent::with(&home).as_stock().module(token.module().line("workers = 1")).start();
    let mut client = agent.client();
    client.patience(READ);
    for key in [&keys[0], &keys[KEYS / 2], &keys[KEYS - 2]] {
        assert!(client.sign(&key.blob(), b"data", 0).is_some(), "{}", home.logs());
    }
    token.forget_calls();
    for _ in 0..5 {
        assert_eq!(client.list().expect("a list").len(), KEYS);
    }
    assert_eq!(token.calls.entries().expect("the log of calls"), []);
}
