//! Faults of single functions.

#![allow(clippy::unwrap_used, reason = "a failing step ends the test")]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use support::{SOON, Token};

const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

#[test]
fn without_rules_the_real_token_signs() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    assert_eq!(host.ask("sign"), "ok 64 good");
    assert_eq!(token.log.count_returned("C_SignInit", "CKR_OK"), 1);
    assert_eq!(token.log.count("C_Sign"), 2, "cryptoki asks for the length first");
    assert_eq!(token.log.processes(), [host.id()]);
}

#[test]
fn the_log_tells_arguments_but_no_pin() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    assert_eq!(host.ask("sign"), "ok 64 good");
    let text = std::fs::read_to_string(token.log.path()).unwrap();
    assert!(!text.contains(support::PIN));
    let arguments = |function: &str| {
        let entries = token.log.entries().unwrap();
        entries.into_iter().find(|entry| entry.function == function).unwrap().arguments
    };
    assert_eq!(arguments("C_Initialize"), "flags=0x0");
    assert_eq!(arguments("C_Login"), "session=1 user=CKU_USER pin=caller");
    assert!(arguments("C_SignInit").starts_with("session=1 mechanism=CKM_ECDSA key="));
    assert_eq!(arguments("C_Sign"), "session=1 data=32 out=length");
}

#[test]
fn a_return_value_is_the_answer_and_ends_the_operation() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    token.rules.set("C_Sign return CKR_DEVICE_REMOVED times 1").unwrap();
    assert_eq!(host.ask("sign"), "error DeviceRemoved");
    assert_eq!(host.ask("sign"), "ok 64 good", "a failed C_Sign leaves no operation behind");
    token.rules.set("C_Sign return 0x80000123").unwrap();
    assert!(host.ask("sign").starts_with("error VendorDefined"));
}

#[test]
fn spoilt_signatures_have_the_right_length_or_the_wrong_one() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    token.rules.set("C_Sign garbage").unwrap();
    assert_eq!(host.ask("sign"), "ok 64 bad");
    token.rules.set("C_Sign length -1").unwrap();
    assert_eq!(host.ask("sign"), "ok 63 bad");
    token.rules.set("C_Sign length 0").unwrap();
    assert_eq!(host.ask("sign"), "ok 0 bad");
    token.rules.clear().unwrap();
    assert_eq!(host.ask("sign"), "ok 64 good");
}

#[test]
fn a_delay_delays() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    token.rules.set("C_SignInit delay 300ms").unwrap();
    let began = Instant::now();
    assert_eq!(host.ask("sign"), "ok 64 good");
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(token.log.count("C_SignInit"), 1);
}

#[test]
fn a_slow_start_is_a_rule_like_any_other() {
    let token = Token::new();
    token.rules.set("C_Initialize delay 200ms\nC_GetFunctionList delay 100ms").unwrap();
    let began = Instant::now();
    token.host();
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_held_call_goes_on_when_the_rule_is_withdrawn() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    token.rules.set("C_Sign hold").unwrap();
    host.tell("sign");
    token.log.wait_for(SOON, |entry| entry.outcome.met("hold")).unwrap();
    assert_eq!(token.log.count("C_Verify"), 0);
    token.rules.clear().unwrap();
    assert_eq!(host.answer(), "ok 64 good");
}

#[test]
fn a_card_may_be_pulled_under_a_held_call() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    token.rules.set("C_Sign hold after 1").unwrap();
    host.tell("sign");
    token.log.wait_for(SOON, |entry| entry.outcome.met("hold")).unwrap();
    token.rules.set("token removed").unwrap();
    assert_eq!(host.answer(), "error SessionHandleInvalid");
}

#[test]
fn a_hanging_call_stays_even_when_the_rule_is_gone() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    token.rules.set("C_Sign hang").unwrap();
    host.tell("sign");
    let hung = token.log.wait_for(SOON, |entry| entry.outcome.met("hang")).unwrap();
    token.rules.clear().unwrap();
    let mut other = token.host().logged_in();
    assert_eq!(other.ask("sign"), "ok 64 good", "another process is not concerned");
    let ended = |entry: &faulty_module::Entry| {
        (entry.process, entry.sequence) == (hung.process, hung.sequence) && !entry.outcome.met("hang")
    };
    assert!(!token.log.entries().unwrap().iter().any(ended));
}

#[test]
fn a_call_may_kill_its_process() {
    let token = Token::new();
    for (rule, signal, code) in
        [("C_Sign crash", Some(SIGSEGV), None), ("C_Sign abort", Some(SIGABRT), None), ("C_Sign exit 3", None, Some(3))]
    {
        let mut host = token.host().logged_in();
        token.rules.set(rule).unwrap();
        assert_eq!(host.ask("sign"), "");
        let status = host.end();
        assert_eq!((status.signal(), status.code()), (signal, code), "{rule}");
        token.rules.clear().unwrap();
    }
}

#[test]
fn faults_are_counted_over_all_processes() {
    let token = Token::new();
    let (mut one, mut other) = (token.host().logged_in(), token.host().logged_in());
    token.rules.set("C_SignInit return CKR_DEVICE_ERROR after 1 times 2").unwrap();
    assert_eq!(one.ask("sign"), "ok 64 good");
    assert_eq!(one.ask("sign"), "error DeviceError");
    assert_eq!(other.ask("sign"), "error DeviceError");
    assert_eq!(other.ask("sign"), "ok 64 good");
    assert_eq!(one.ask("sign"), "ok 64 good");
}

#[test]
fn a_probable_fault_hits_some_calls_only() {
    let token = Token::new();
    let mut host = token.host().logged_in();
    token.rules.set("C_SignInit return CKR_DEVICE_ERROR probability 0.5").unwrap();
    let failed = (0..64).filter(|_| host.ask("sign") == "error DeviceError").count();
    assert!((8..=56).contains(&failed), "{failed} of 64");
}

#[test]
fn memory_grows_with_each_call() {
    let token = Token::new();
    let mut host = token.host();
    let memory = |host: &mut support::Host| -> u64 { host.ask("memory")[3..].parse().unwrap() };
    let before = memory(&mut host);
    token.rules.set("memory grow 1MB").unwrap();
    for _ in 0..20 {
        host.ask("slots");
    }
    assert!(memory(&mut host) > before + 20_000);
}

#[test]
fn rules_that_are_not_understood_fail_every_call() {
    let token = Token::new();
    let mut host = token.host();
    std::fs::write(token.rules.path(), "C_Sing hang\n").unwrap();
    assert_eq!(host.ask("slots"), "error GeneralError");
    assert!(token.rules.set("C_Sing hang").unwrap_err().to_string().contains("C_Sing"));
}
