//! Modules that hang, crash, lie and forget: what the others notice of it is nothing, and what its own client notices is a refusal.

use std::time::{Duration, Instant};

use faulty_module::Outcome;
use hsm_tests::{Agent, FaultyToken, Home, Key, KeyFile, Module, Pid, SOON, Sshd, is_alive, stock_cannot, until};

const ALONE: &str = "put a module that misbehaves into a worker of its own";

/// A module with one worker, so that the test knows which one has the fault.
fn one_worker(token: &FaultyToken, timeout: &str) -> Module {
    token.module().line("workers = 1").line(format!("timeout = '{timeout}'"))
}

/// Waits until a call has met a fault.
#[track_caller]
fn met(token: &FaultyToken, function: &str, fault: &str) -> Pid {
    let fault = Outcome::Fault(fault.to_owned());
    let entry = token.calls.wait_for(SOON, |entry| entry.function == function && entry.outcome == fault);
    let process = entry.unwrap_or_else(|| panic!("{function} does not meet its fault")).process;
    Pid::from_raw(process.cast_signed()).expect("a process id")
}

#[test]
fn a_signature_that_takes_for_ever_holds_up_nobody_else() {
    if stock_cannot(ALONE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).module(one_worker(&token, "60s")).start();
    let software = KeyFile::new(&home, "software");
    agent.ssh_add([software.path()]).run().succeeds();
    let sshd = Sshd::start(&home, [software.public()]);

    token.set("C_Sign hold");
    let mut waiting = agent.signs(token.public(Key::P256)).start("waiting");
    met(&token, "C_Sign", "hold");
    assert_eq!(agent.listed().len(), 2);
    agent.signs(software.public()).run().succeeds();
    sshd.login(&agent, software.public()).succeeds();
    assert!(!waiting.has_ended());

    token.clear();
    assert!(waiting.ends(SOON).success(), "{}", waiting.log());
}

#[test]
fn a_signature_that_takes_too_long_is_refused_with_the_reason_and_the_next_one_has_a_new_worker() {
    if stock_cannot(ALONE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let mut agent = Agent::with(&home).module(one_worker(&token, "2s")).start();
    token.set("C_Sign hang times 1");
    let start = Instant::now();
    let refused = agent.signs(token.public(Key::P256)).run().fails();
    assert!(start.elapsed() > Duration::from_secs(2), "{}", refused.report());
    assert!(start.elapsed() < Duration::from_secs(6), "{}", refused.report());
    agent.wait_for_log("did not answer within 2 s");
    let hanging = met(&token, "C_Sign", "hang");
    assert!(until(SOON, || !is_alive(hanging)), "the hanging worker is still there");

    agent.signs(token.public(Key::P256)).run().succeeds();
    assert!(!agent.workers().contains(&hanging));
}

#[test]
fn a_login_that_hangs_is_given_up_and_costs_the_pin_no_second_try() {
    if stock_cannot(ALONE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let mut agent = Agent::with(&home).module(one_worker(&token, "2s")).start();
    token.set("C_Login hang times 1");
    agent.signs(token.public(Key::P256)).run().fails();
    agent.wait_for_log("did not answer within 2 s");
    assert_eq!(token.calls.count("C_Login"), 1);
    agent.signs(token.public(Key::P256)).run().succeeds();
}

#[test]
fn a_module_that_ends_its_process_takes_nothing_with_it() {
    if stock_cannot(ALONE) {
        return;
    }
    for death in ["crash", "abort", "exit 0"] {
        let home = Home::new();
        let token = FaultyToken::new(&home, "token", &[Key::P256]);
        let mut agent = Agent::with(&home).module(one_worker(&token, "30s")).start();
        let software = KeyFile::new(&home, "software");
        agent.ssh_add([software.path()]).run().succeeds();

        token.set(&format!("C_Sign {death}"));
        agent.signs(token.public(Key::P256)).run().fails();
        agent.wait_for_log("crashed its worker process");
        agent.signs(software.public()).run().succeeds();
        assert_eq!(agent.listed().len(), 2, "{death}: the token's key is no longer listed");
        // One worker that had died of old age may be replaced; a module that always dies is not tried for ever.
        assert!(token.calls.count("C_Sign") <= 2, "{death}: {} signatures tried", token.calls.count("C_Sign"));

        token.clear();
        agent.signs(token.public(Key::P256)).run().succeeds();
    }
}

#[test]
fn no_wrong_signature_leaves_the_agent() {
    if stock_cannot("verify what a module signs") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::Rsa2048, Key::P256, Key::Ed25519]);
    let mut agent = Agent::with(&home).as_stock().module(one_worker(&token, "30s")).start();
    let mut client = agent.client();
    for key in [Key::Rsa2048, Key::P256, Key::Ed25519] {
        let blob = token.public(key).blob();
        for lie in ["garbage", "length -1", "length +4", "length 0", "length 1000000", "length unavailable"] {
            token.set(&format!("C_Sign {lie}"));
            assert_eq!(client.sign(&blob, b"data", 2), None, "{key:?} with {lie}");
        }
        token.clear();
        assert!(
            client.sign(&blob, b"data", 2).is_some(),
            "{key:?} does not sign after all faults ended\n{}",
            home.logs()
        );
    }
    agent.wait_for_log("does not verify");
}

#[test]
fn one_failure_of_any_call_costs_at_most_one_signature() {
    if stock_cannot(ALONE) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).as_stock().module(one_worker(&token, "30s")).start();
    let mut client = agent.client();
    let blob = token.public(Key::P256).blob();
    let mut sign = || client.sign(&blob, b"data", 0).is_some();
    assert!(sign());
    let functions =
        ["*", "C_GetSlotList", "C_GetTokenInfo", "C_OpenSession", "C_Login", "C_FindObjects", "C_SignInit", "C_Sign"];
    let values =
        ["GENERAL_ERROR", "FUNCTION_FAILED", "HOST_MEMORY", "DEVICE_ERROR", "DEVICE_REMOVED", "SESSION_HANDLE_INVALID"];
    for (function, value) in functions.iter().flat_map(|function| values.map(|value| (function, value))) {
        // The lost session makes the agent go through all of the calls again.
        token.set(&format!("token session-lost\n{function} return CKR_{value} times 1"));
        let _ = sign();
        assert!(sign(), "a {value} from {function} does lasting harm\n{}", home.logs());
    }
}

#[test]
fn a_slow_module_delays_the_first_list_by_ten_seconds_at_most_and_nothing_else() {
    if stock_cannot("start before its modules do") {
        return;
    }
    let home = Home::new();
    let slow = FaultyToken::new(&home, "slow", &[Key::P256]);
    let quick = FaultyToken::new(&home, "quick", &[Key::Ed25519]);
    slow.set("C_Initialize hold");
    let agent = Agent::with(&home).module(one_worker(&slow, "60s")).module(quick.second_module(&home)).start();
    met(&slow, "C_Initialize", "hold");
    let start = Instant::now();
    let mut first_list = agent.ssh_add(["-l"]).start("first list");

    let software = KeyFile::new(&home, "software");
    agent.ssh_add([software.path()]).run().succeeds();
    agent.signs(software.public()).run().succeeds();
    agent.signs(quick.public(Key::Ed25519)).run().succeeds();
    assert!(start.elapsed() < Duration::from_secs(5), "others waited {:?} for the slow module", start.elapsed());

    assert!(first_list.ends(Duration::from_secs(15)).success());
    assert!(start.elapsed() < Duration::from_secs(13), "the first list took {:?}", start.elapsed());
    assert_eq!(agent.listed().len(), 2);
    slow.clear();
    assert!(until(SOON, || agent.listed().len() == 3), "the slow token's key does not appear when it is ready");
    agent.signs(slow.public(Key::P256)).run().succeeds();
}

#[test]
fn keys_are_listed_in_the_order_of_the_configuration_however_slow_their_modules_are() {
    if stock_cannot("start before its modules do") {
        return;
    }
    let home = Home::new();
    let slow = FaultyToken::new(&home, "slow", &[Key::P256]);
    let quick = FaultyToken::new(&home, "quick", &[Key::Ed25519]);
    slow.set("C_Initialize delay 500ms");
    let agent = Agent::with(&home).module(one_worker(&slow, "60s")).module(quick.second_module(&home)).start();
    assert_eq!(agent.comments(), ["p256", "ed25519"]);
}

#[test]
fn a_signature_is_one_sign_init_and_one_sign_and_a_list_is_no_call_at_all() {
    if stock_cannot("list from memory") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &Key::USUAL);
    let agent = Agent::with(&home).as_stock().module(one_worker(&token, "30s")).start();
    let mut client = agent.client();
    for key in Key::USUAL {
        let blob = token.public(key).blob();
        assert!(client.sign(&blob, b"the first looks for the key", 4).is_some());
        token.forget_calls();
        for _ in 0..10 {
            assert!(client.sign(&blob, b"data", 4).is_some());
        }
        assert_eq!((token.calls.count("C_SignInit"), token.calls.count("C_Sign")), (10, 10));
        assert_eq!(
            token.calls.entries().expect("the log of calls").len(),
            20,
            "other calls were made\n{}",
            home.logs()
        );
    }
    token.forget_calls();
    for _ in 0..5 {
        assert_eq!(client.list().expect("a list").len(), 3);
        assert_eq!(agent.client().list().expect("a list").len(), 3);
    }
    assert_eq!(token.calls.entries().expect("the log of calls"), []);
}

#[test]
fn a_key_that_turns_out_not_to_sign_is_offered_no_longer() {
    if stock_cannot("tell keys that sign from others") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    token.set("object no-sign");
    let agent = Agent::with(&home).module(one_worker(&token, "30s")).start();
    assert_eq!(agent.listed().len(), 1, "before the login the private half is hidden, and with it what it may do");
    agent.signs(token.public(Key::P256)).run().fails();
    assert!(until(SOON, || agent.listed().is_empty()), "a key that cannot sign is offered\n{}", agent.log());
}

#[test]
fn a_token_that_forbids_raw_rsa_hashes_itself() {
    if stock_cannot("use another mechanism than CKM_RSA_PKCS") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::Rsa2048]);
    token.set("mechanism refuse CKM_RSA_PKCS");
    let agent = Agent::with(&home).as_stock().module(one_worker(&token, "30s")).start();
    let mut client = agent.client();
    let blob = token.public(Key::Rsa2048).blob();
    for flags in [2, 4] {
        assert!(client.sign(&blob, b"data", flags).is_some(), "{}", home.logs());
    }
    token.forget_calls();
    assert!(client.sign(&blob, b"data", 4).is_some());
    assert_eq!(token.calls.count("C_SignInit"), 1, "what the token refuses is asked for again");
    agent.signs(token.public(Key::Rsa2048)).run().succeeds();
}
