//! The module as other people's programs see it: through OpenSC's `pkcs11-tool`.

#![allow(clippy::unwrap_used, reason = "a failing step ends the test")]

mod support;

use std::os::unix::process::ExitStatusExt;

use support::{LABEL, PIN, Token};

/// Signs a digest, as `pkcs11-tool` does it with a single call of `C_Sign`.
fn sign(token: &Token) -> (String, std::process::ExitStatus) {
    let digest = token.path("digest");
    std::fs::write(&digest, [7; 32]).unwrap();
    let (digest, signature) = (digest.to_str().unwrap().to_owned(), token.path("signature"));
    token.pkcs11_tool(&[
        "--login",
        "--pin",
        PIN,
        "--sign",
        "--mechanism",
        "ECDSA",
        "--id",
        "01",
        "--input-file",
        &digest,
        "--output-file",
        signature.to_str().unwrap(),
    ])
}

#[test]
fn it_lists_and_signs() {
    let token = Token::new();
    let (slots, status) = token.pkcs11_tool(&["--list-slots"]);
    assert!(status.success() && slots.contains(LABEL), "{slots}");
    let (objects, status) = token.pkcs11_tool(&["--login", "--pin", PIN, "--list-objects"]);
    assert!(status.success() && objects.contains("Private Key Object; EC"), "{objects}");
    let (text, status) = sign(&token);
    assert!(status.success(), "{text}");
    assert_eq!(std::fs::read(token.path("signature")).unwrap().len(), 64);
}

#[test]
fn it_sees_the_fault_it_is_meant_to_see() {
    let token = Token::new();
    token.rules.set("C_SignInit return CKR_DEVICE_REMOVED").unwrap();
    let (text, status) = sign(&token);
    assert!(!status.success() && text.contains("CKR_DEVICE_REMOVED"), "{text}");
    token.rules.set("C_Sign crash").unwrap();
    assert_eq!(sign(&token).1.signal(), Some(11));
}

#[test]
fn it_sees_a_removed_card() {
    let token = Token::new();
    token.rules.set("token removed").unwrap();
    let (text, _) = token.pkcs11_tool(&["--list-slots"]);
    assert!(text.contains("(empty)"), "{text}");
}

#[test]
fn it_sees_all_objects_but_hidden_ones() {
    let token = Token::new();
    for id in ["02", "03", "04", "05"] {
        token.generate_key(id);
    }
    token.rules.set("object no-public").unwrap();
    let (objects, _) = token.pkcs11_tool(&["--login", "--pin", PIN, "--list-objects"]);
    assert_eq!(objects.matches("Private Key Object").count(), 5, "it asks for one at a time");
    assert_eq!(objects.matches("Public Key Object").count(), 0);
}

#[test]
fn it_sees_a_locked_pin() {
    let token = Token::new();
    token.rules.set("token pin-count 1").unwrap();
    let login = |pin| token.pkcs11_tool(&["--login", "--pin", pin, "--list-objects"]).0;
    assert!(login("0000").contains("CKR_PIN_LOCKED"));
    assert!(login(PIN).contains("CKR_PIN_LOCKED"));
    let (slots, _) = token.pkcs11_tool(&["--list-slots"]);
    assert!(slots.contains("user PIN locked"), "{slots}");
}
