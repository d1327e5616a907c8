//! What happens to a token as a whole.

#![allow(clippy::unwrap_used, reason = "a failing step ends the test")]

mod support;

use std::time::{Duration, Instant};

use support::{PIN, Token};

#[test]
fn a_removed_card_is_gone_and_its_sessions_stay_gone() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    assert_eq!(host.ask("sign"), "ok 64 good");

    token.rules.set("token removed").unwrap();
    assert_eq!(host.ask("sign"), "error SessionHandleInvalid");
    assert_eq!(host.ask("slots"), "ok 0");
    assert_eq!(host.ask("slot"), "ok ");
    assert_eq!(host.ask("token"), "error TokenNotPresent");
    assert_eq!(host.ask("open"), "error TokenNotPresent");

    token.rules.clear().unwrap();
    assert_eq!(host.ask("slot"), "ok present");
    assert_eq!(host.ask("sign"), "error SessionHandleInvalid");
    assert_eq!(host.ask("open"), "ok ");
    assert_eq!(host.ask("sign"), "error no private key", "the login went with the sessions");
    assert_eq!(host.ask(&format!("login {PIN}")), "ok ");
    assert_eq!(host.ask("sign"), "ok 64 good");
}

#[test]
fn sessions_may_be_lost_while_the_card_stays() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    assert_eq!(host.ask("sign"), "ok 64 good");
    token.rules.set("token session-lost").unwrap();
    assert_eq!(host.ask("sign"), "error SessionHandleInvalid");
    let mut host = host.logged_in();
    assert_eq!(host.ask("sign"), "ok 64 good", "it happens once");
}

#[test]
fn a_reset_card_forgets_the_login() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    assert_eq!(host.ask("sign"), "ok 64 good");
    token.rules.set("token logged-out").unwrap();
    assert_ne!(host.ask("sign"), "ok 64 good");
    assert_eq!(host.ask("find private"), "ok 0");
    assert_eq!(host.ask(&format!("login {PIN}")), "ok ");
    assert_eq!(host.ask("find private"), "ok 1", "it happens once");
}

#[test]
fn a_stale_module_wants_to_be_initialised_anew() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    token.rules.set("token stale").unwrap();
    assert_eq!(host.ask("slots"), "error DeviceError");
    token.rules.clear().unwrap();
    assert_eq!(host.ask("open"), "error DeviceError", "for ever");
    assert_eq!(host.ask("initialize"), "error CryptokiAlreadyInitialized");
    assert_eq!(host.ask("slots"), "error DeviceError");
    assert_eq!(host.ask("finalize"), "ok ");
    assert_eq!(host.ask("initialize"), "ok ");
    assert_eq!(host.logged_in().ask("sign"), "ok 64 good");
}

#[test]
fn the_last_wrong_pin_locks_the_token_for_all_processes() {
    let token = Token::new();
    token.rules.set("token pin-count 3").unwrap();
    let (mut one, mut other) = (token.host(), token.host());
    assert_eq!(one.ask("open"), "ok ");
    assert_eq!(other.ask("open"), "ok ");
    assert!(one.ask("token").ends_with('/'), "no flag");
    assert_eq!(one.ask("login 0000"), "error PinIncorrect");
    assert!(other.ask("token").ends_with("/count-low"));
    assert_eq!(other.ask("login 0000"), "error PinIncorrect");
    assert!(one.ask("token").ends_with("/count-low,final-try"));
    assert_eq!(token.rules.pin_failures().unwrap(), 2);
    assert_eq!(one.ask("login 0000"), "error PinLocked");
    assert!(other.ask("token").ends_with("/count-low,locked"));
    assert_eq!(other.ask(&format!("login {PIN}")), "error PinLocked", "the right PIN comes too late");

    token.rules.unblock_pins().unwrap();
    assert_eq!(other.ask(&format!("login {PIN}")), "ok ");
}

#[test]
fn a_right_pin_gives_all_tries_back() {
    let token = Token::new();
    token.rules.set("token pin-count 3").unwrap();
    let mut host = token.host();
    assert_eq!(host.ask("open"), "ok ");
    assert_eq!(host.ask("login 0000"), "error PinIncorrect");
    assert_eq!(host.ask("login 0000"), "error PinIncorrect");
    assert_eq!(host.ask(&format!("login {PIN}")), "ok ");
    assert_eq!(token.rules.pin_failures().unwrap(), 0);
}

#[test]
fn a_silent_counter_sets_no_flag() {
    let token = Token::new();
    token.rules.set("token pin-count 2 silent").unwrap();
    let mut host = token.host();
    assert_eq!(host.ask("open"), "ok ");
    assert_eq!(host.ask("login 0000"), "error PinIncorrect");
    assert!(host.ask("token").ends_with('/'));
    assert_eq!(host.ask("login 0000"), "error PinLocked");
}

#[test]
fn a_pin_pad_takes_the_pin_itself() {
    let token = Token::new();
    let mut host = token.host();
    assert_eq!(host.ask("open"), "ok ");
    assert_eq!(host.ask("login-at-pad"), "error ArgumentsBad", "SoftHSM has no pad");

    token.rules.set("token protected-path 999999\ntoken pin-count 3").unwrap();
    assert!(host.ask("token").ends_with("/pad"));
    assert_eq!(host.ask("login-at-pad"), "error PinIncorrect", "its user may mistype, too");
    assert_eq!(token.rules.pin_failures().unwrap(), 1);

    token.rules.set(&format!("token protected-path {PIN} delay 200ms")).unwrap();
    let began = Instant::now();
    assert_eq!(host.ask("login-at-pad"), "ok ");
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(host.ask("sign"), "ok 64 good");
}

#[test]
fn another_card_has_another_serial_and_label() {
    let token = Token::new();
    let mut host = token.host();
    assert!(host.ask("token").starts_with("ok real/"));
    token.rules.set("token label My second card\ntoken serial 0042").unwrap();
    assert_eq!(host.ask("token"), "ok My second card/0042/");
}

#[test]
fn a_slot_may_be_a_reader() {
    let token = Token::new();
    let mut host = token.host();
    assert_eq!(host.ask("slot"), "ok present");
    token.rules.set("token removable\ntoken hardware").unwrap();
    assert_eq!(host.ask("slot"), "ok present,removable,hardware");
    token.rules.set("token removable\ntoken hardware\ntoken removed").unwrap();
    assert_eq!(host.ask("slot"), "ok removable,hardware");
}
