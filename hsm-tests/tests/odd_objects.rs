//! Objects that no tool would make: what is a key is offered and signs, what is none is named.

use hsm_tests::{Agent, Class, FaultyToken, Home, Key, KnownKey, Module, Objects, SOON, Token, stock_cannot, until};

#[test]
fn keys_with_odd_names_points_and_ids_are_offered_and_each_signs() {
    if stock_cannot("tell keys apart that share an id") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let keys = KnownKey::several(8);
    let [twin, other_twin, third, nameless, raw, quoted, garbled, long] = &keys[..] else { panic!("eight keys") };
    let mut objects = Objects::on(&home, &token);
    objects.write_pair(twin, &[7], b"twin");
    objects.write_pair(other_twin, &[7], b"twin");
    objects.write_pair(third, &[7], b"");
    objects.write(Class::Public, &[("parameters", KnownKey::CURVE), ("point", nameless.wrapped_point())]);
    objects.write(Class::Private, &[("parameters", KnownKey::CURVE), ("value", nameless.scalar())]);
    objects.write(Class::Public, &[("id", &[8]), ("parameters", KnownKey::CURVE), ("point", raw.raw_point())]);
    objects.write_private(raw, &[8], b"raw");
    objects.write_pair(quoted, &[9], b"\"quoted\"\nssh-ed25519 AAAA evil");
    objects.write_pair(garbled, &[10], b"\xff\xfe latin");
    objects.write_pair(long, &[11], &[b'l'; 250]);
    drop(objects);

    let agent = Agent::with(&home).as_stock().module(Module::of(&token)).start();
    let mut client = agent.client();
    for round in ["first", "second"] {
        for (number, key) in keys.iter().enumerate() {
            assert!(client.sign(&key.blob(), b"data", 0).is_some(), "key {number}, {round}\n{}", home.logs());
        }
    }
    let lines = agent.ssh_add(["-L"]).run().succeeds().stdout;
    assert_eq!(lines.lines().count(), 1 + keys.len(), "{lines}");
    for key in &keys {
        assert!(lines.contains(&key.line()), "{} is missing:\n{lines}", key.line());
    }
    let long = "l".repeat(250);
    for label in ["hardkey-test key", "\"quoted\"\\x0assh-ed25519 AAAA evil", "\\xff\\xfe latin", &long] {
        assert!(lines.lines().any(|line| line.ends_with(label)), "{label:?} is not shown:\n{lines}");
    }
    assert_eq!(agent.notes(), "");
}

#[test]
fn halves_without_the_other_are_named_with_what_to_do() {
    if stock_cannot("say why keys are missing") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let keys = KnownKey::several(2);
    let mut objects = Objects::on(&home, &token);
    objects.write_public(&keys[0], &[0xa1], b"only public");
    objects.write_private(&keys[1], &[0xa2], b"only\nprivate");
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj /CN=alone \
        -addext basicConstraints=critical,CA:FALSE -outform DER -out alone.der";
    home.command("sh").args(["-c", script]).directory(home.path("tmp")).run().succeeds();
    let certificate = std::fs::read(home.path("tmp/alone.der")).expect("a certificate");
    objects.write(Class::Certificate, &[("id", &[0xa3]), ("subject", b"0"), ("value", &certificate)]);
    drop(objects);

    let agent = Agent::with(&home).as_stock().module(Module::of(&token)).start();
    assert_eq!(agent.comments().len(), 3, "before the login nobody knows that private halves are missing");
    agent.signs(token.public(Key::P256)).run().succeeds();
    assert!(until(SOON, || agent.comments() == ["p256"]), "{:?}", agent.comments());
    let notes = agent.notes();
    for (half, why) in [
        ("public key \"only public\" (id a1)", "no private key on the token has the same id"),
        ("private key \"only\\x0aprivate\" (id a2)", "write its public key to the token under that id"),
        ("certificate without label (id a3)", "no private key on the token has the same id"),
    ] {
        let named = |line: &&str| line.contains("token \"hardkey-test\"") && line.contains(half) && line.contains(why);
        assert_eq!(notes.lines().filter(named).count(), 1, "{half}: {why}\n{notes}");
    }
    assert_eq!(notes.lines().count(), 3, "{notes}");
}

#[test]
fn a_token_that_hides_its_keys_is_named_and_shows_them_once_it_has_its_pin() {
    if stock_cannot("say why keys are missing") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::Rsa2048]);
    token.set("object no-public");
    let agent = Agent::with(&home).module(token.module().pin_asked()).start();
    assert_eq!(agent.listed(), [""; 0]);
    let module = token.module_path();
    let wanted = "token \"hardkey-test\" shows no key: it has none, or hides them until it has its PIN";
    let said = agent.notes();
    assert!(said.contains(wanted) && said.contains(&format!("`ssh-add -s {}`", module.display())), "{said}");

    let askpass = home.program("types-the-pin", format!("#!/bin/sh\necho '{}'\n", token.token().pin()));
    let add = agent.ssh_add(["-s"]).arg(module).env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force");
    add.run().succeeds();
    assert_eq!(agent.listed().len(), 1, "{}", home.logs());
    assert_eq!(agent.notes(), "");
}

#[test]
fn a_label_without_an_end_keeps_no_other_key_from_being_listed() {
    if stock_cannot("cut a label") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let keys = KnownKey::several(2);
    let mut objects = Objects::on(&home, &token);
    objects.write_pair(&keys[0], &[7], &[b'l'; 300_000]);
    objects.write_pair(&keys[1], &[8; 300_000], b"an id without an end");
    drop(objects);
    let agent = Agent::with(&home).as_stock().module(Module::of(&token)).start();
    // OpenSSH reads no answer of more than 256 KiB.
    assert_eq!(agent.listed().len(), 2, "{}", home.logs());
    assert!(agent.client().sign(&keys[0].blob(), b"data", 0).is_some(), "{}", home.logs());
    agent.signs(token.public(Key::P256)).run().succeeds();
    let label = "l".repeat(1024);
    assert!(agent.comments().contains(&label), "{:?}", agent.comments());
    agent.command("hardkey").args(["list", "--json"]).run().succeeds();
}
