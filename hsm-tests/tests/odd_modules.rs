//! Modules that are none, and modules that show the same token: what is offered, and what `hardkey list` says of it.

use hsm_tests::{Agent, FaultyModule, FaultyToken, Home, Key, Module, Token, library, stock_cannot};

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
