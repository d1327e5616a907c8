//! Modules that are none, and modules that show the same token: what is offered, and what `hardkey list` says of it.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use hsm_tests::{
    Agent, FaultyModule, FaultyToken, Home, Inserted, Key, Module, Pinentry, Token, TokenKind as _, library,
    stock_cannot, until,
};

const NOTES: &str = "say why keys are missing";

#[test]
fn a_module_that_is_none_is_named_with_the_reason_and_what_to_do() {
    if stock_cannot(NOTES) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let text = home.file("text.so", "This text is longer than the beginning of a library, and is none all the same.\n");
    let libc = library("libc.so.6", "libc6");
    let agent = Agent::with(&home)
        .module(Module::at(&text))
        .module(Module::at(&libc))
        .module(Module::at("/nowhere/module.so"))
        .module(Module::of(&token))
        .start();
    assert_eq!(agent.comments(), ["p256"], "the others do not suffer");
    let notes = agent.notes();
    let remedies = [
        (text.display().to_string(), "not a library for this machine: install the package for this architecture"),
        (libc.display().to_string(), "it is a library, but not a PKCS#11 module"),
        ("/nowhere/module.so".to_owned(), "install the package it comes from, or correct its path"),
    ];
    assert!(!notes.contains("libloading"), "{notes}");
    for (path, remedy) in &remedies {
        let named = |line: &&str| line.contains(path) && line.contains(remedy);
        assert_eq!(notes.lines().filter(named).count(), 1, "{path}: {remedy}\n{notes}");
    }
    assert_eq!(notes.lines().count(), remedies.len(), "{notes}");
    let printed = agent.command("hardkey").args(["list", "--json"]).run().succeeds().stdout;
    serde_json::from_str::<serde_json::Value>(&printed).expect("what is said to people stays out of it");
}

#[test]
fn a_token_that_two_modules_show_is_offered_once_and_the_other_module_is_named() {
    if stock_cannot(NOTES) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256, Key::Ed25519]);
    let spied = token.clone().spied();
    // The first of the configuration offers them, however much sooner the other one is ready.
    let slow = FaultyToken::before(&home, "token", token.clone());
    slow.set("C_Initialize delay 1s");
    let agent = Agent::with(&home).module(slow.module()).module(Module::of(&spied)).start();
    let mut offered = agent.comments();
    // SoftHSM shows its objects in an order that changes from start to start.
    offered.sort_unstable();
    assert_eq!(offered, ["ed25519", "p256"]);
    let notes = agent.notes();
    assert_eq!(notes.lines().count(), 1, "{notes}");
    let library = slow.module_path().canonicalize().expect("a module");
    assert!(notes.contains(&format!("offered from {}", library.display())), "{notes}");
    assert!(notes.contains(&format!("of module {}", spied.library().display())), "{notes}");
    agent.signs(token.public(Key::P256)).run().succeeds();
    assert_eq!(spied.calls("C_Sign"), 0);
}

/// The token as p11-kit's proxy shows it, by the system's own word on SoftHSM; its calls are counted.
fn proxied(home: &Home, token: &Token) -> FaultyModule {
    let proxy = Module::at(library("p11-kit-proxy.so", "p11-kit-modules"));
    let environment = token.environment().into_iter().filter(|(name, _)| *name == "SOFTHSM2_CONF");
    let proxy = environment.fold(proxy, |proxy, (name, value)| proxy.env(name, value));
    // The proxy shows what the system has, a TPM's module too, which would make its store in the home.
    FaultyModule::before(home, proxy.env("TPM2_PKCS11_STORE", home.path("tmp")).pin_unsaid())
}

#[test]
fn a_token_that_p11_kit_s_proxy_shows_too_is_offered_once_and_one_of_the_two_gets_the_pin() {
    if stock_cannot(NOTES) {
        return;
    }
    for proxy_is_first in [false, true] {
        let home = Home::new();
        let token = Token::new(&home, "token", &[Key::P256]).spied();
        let proxy = proxied(&home, &token);
        let mut modules = [Module::of(&token).pin_unsaid(), proxy.module.clone()];
        if proxy_is_first {
            modules.reverse();
        }
        let [first, second] = modules.map(|module| module.line("workers = 1"));
        let pin = home.file("shared-pin", "wrong\n");
        let agent = Agent::with(&home).as_stock().module(first).module(second).arg("--pin-file").arg(&pin).start();
        assert_eq!(agent.comments(), ["p256"]);
        let notes = agent.notes();
        assert_eq!(notes.lines().count(), 1, "{notes}");
        assert!(notes.contains("its keys are offered from") && notes.contains("leave one of the two out"), "{notes}");

        let sign = || agent.client().sign(&token.public(Key::P256).blob(), b"data", 0).is_some();
        let logins = || (token.calls("C_Login"), proxy.calls.count("C_Login"));
        let only = |count| if proxy_is_first { (0, count) } else { (count, 0) };
        for _ in 0..3 {
            assert!(!sign());
        }
        assert_eq!(logins(), only(1), "a wrong PIN is tried once, by one module\n{}", home.logs());
        std::fs::write(&pin, token.pin()).expect("write the right PIN");
        assert!(sign() && sign(), "{}", home.logs());
        assert_eq!(logins(), only(2), "{}", home.logs());
    }
}

#[test]
fn of_two_tokens_that_say_the_same_of_themselves_the_first_is_used_and_the_other_is_named() {
    if stock_cannot(NOTES) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    token.token().add_token("other-token", token.token().pin(), Key::P384);
    token.set("token label twin\ntoken serial 0042");
    let agent = Agent::with(&home).as_stock().module(token.module().line("workers = 1")).start();
    let keys = agent.comments();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let blob = agent.client().list().expect("a list")[0].0.clone();
    let sign = || agent.client().sign(&blob, b"data", 0).is_some();
    assert!(sign() && sign(), "{}", home.logs());
    // A look by another worker, which takes the place of the first if there is something new.
    let slots = token.calls.count("C_GetSlotList");
    let looked = until(Duration::from_secs(30), || token.calls.processes().len() > 1);
    assert!(looked && token.calls.count("C_GetSlotList") > slots, "{}", home.logs());
    assert!(sign() && sign(), "{}", home.logs());
    assert_eq!((agent.comments(), token.calls.count("C_Login")), (keys, 1), "{}", home.logs());
    let notes = agent.notes();
    let named = notes.lines().filter(|line| line.contains("token \"twin\"") && line.contains("only the first is used"));
    assert_eq!((named.count(), notes.lines().count()), (1, 1), "{notes}");
}

#[test]
fn a_module_does_not_choose_whom_the_agent_asks_for_readers() {
    if stock_cannot("ask for readers itself") {
        return;
    }
    let home = Home::new();
    let card = Inserted::piv(&home);
    let faulty = FaultyModule::before(&home, card.module());
    let decoy = home.path("run/decoy");
    let listener = UnixListener::bind(&decoy).expect("a socket");
    listener.set_nonblocking(true).expect("a socket that does not wait");
    faulty.rules.set(&format!("C_FindObjectsFinal set PCSCLITE_CSOCK_NAME {}", decoy.display())).expect("a rule");
    let pinentry = Pinentry::new(&home, &[]);
    let module = faulty.module.clone().pin_asked().line("release = '1s'");
    let agent = Agent::with(&home).module(module).pinentry(&pinentry).start();
    assert!(until(Duration::from_secs(60), || !agent.listed().is_empty()), "{}", home.logs());
    // At rest the agent looks for cards by itself.
    assert!(until(Duration::from_secs(30), || agent.workers().is_empty()), "{}", home.logs());
    let asked = until(Duration::from_secs(4), || listener.accept().is_ok());
    assert!(!asked, "the module had the agent connect to a socket of its choice\n{}", home.logs());
}
