//! Objects and mechanisms that a token does not have.

#![allow(clippy::unwrap_used, reason = "a failing step ends the test")]

mod support;

use support::Token;

#[test]
fn public_keys_may_be_missing() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    assert_eq!((host.ask("find public"), host.ask("find any")), ("ok 1".into(), "ok 2".into()));
    token.rules.set("object no-public").unwrap();
    assert_eq!((host.ask("find public"), host.ask("find any")), ("ok 0".into(), "ok 1".into()));
    assert_eq!(host.ask("find private"), "ok 1");
}

#[test]
fn certificates_may_be_missing() {
    let token = Token::new();
    let certificate = token.path("certificate");
    let key = token.path("key");
    let made = token
        .command("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test"])
        .args(["-outform", "DER", "-out"])
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success());
    let file = certificate.to_str().unwrap();
    let (text, status) =
        token.pkcs11_tool(&["--login", "--pin", support::PIN, "--write-object", file, "--type", "cert", "--id", "01"]);
    assert!(status.success(), "{text}");

    let mut host = token.host().logged_in();
    assert_eq!(host.ask("find certificate"), "ok 1");
    token.rules.set("object no-certificate").unwrap();
    assert_eq!(host.ask("find certificate"), "ok 0");
    assert_eq!(host.ask("find public"), "ok 1");
}

#[test]
fn keys_may_be_unable_to_sign() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    assert_eq!(host.ask("can-sign"), "ok true");
    assert_eq!((host.ask("find signing"), host.ask("find not-signing")), ("ok 1".into(), "ok 0".into()));
    token.rules.set("object no-sign").unwrap();
    assert_eq!(host.ask("can-sign"), "ok false");
    assert_eq!((host.ask("find signing"), host.ask("find not-signing")), ("ok 0".into(), "ok 1".into()));
    assert_eq!(host.ask("sign"), "error KeyFunctionNotPermitted");
}

#[test]
fn a_token_may_refuse_a_mechanism() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    assert!(host.ask("mechanisms").split(' ').any(|name| name == "CKM_ECDSA"));
    token.rules.set("mechanism refuse CKM_ECDSA").unwrap();
    let left = host.ask("mechanisms");
    assert!(!left.split(' ').any(|name| name == "CKM_ECDSA"));
    assert!(left.contains("CKM_RSA_PKCS"));
    assert_eq!(host.ask("sign"), "error MechanismInvalid");
}

#[test]
fn attributes_may_be_nonsense() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    assert_eq!(host.ask("can-sign"), "ok true");
    token.rules.set("C_GetAttributeValue garbage").unwrap();
    assert_eq!(host.ask("can-sign"), "ok false");
}
