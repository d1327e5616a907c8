//! Modules that are none, and modules that show the same token: what is offered, and what `hardkey list` says of it.

use hsm_tests::{Agent, FaultyToken, Home, Key, Module, Token, library, stock_cannot};

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
