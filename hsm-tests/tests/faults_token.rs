//! Tokens that go, come back, are reset, or lock their PIN.

use std::fs;

use faulty_module::Outcome;
use hsm_tests::{
    Agent, AgentBuilder, Answer, FaultyToken, Home, Key, KeyFile, Module, Pinentry, SOON, kill, stock_cannot,
};

const AGAIN: &str = "log in again to a token";
const LATER: &str = "ask for a PIN when it is needed";

/// A module with one worker, so that each login counted is one that was decided on.
fn one_worker(token: &FaultyToken) -> Module {
    token.module().line("workers = 1")
}

fn asking(home: &Home, token: &FaultyToken, pinentry: &Pinentry) -> AgentBuilder {
    Agent::with(home).as_stock().module(one_worker(token).pin_asked()).pinentry(pinentry)
}

fn signs(agent: &Agent, token: &FaultyToken) -> bool {
    agent.client().sign(&token.public(Key::P256).blob(), b"data", 0).is_some()
}

#[test]
fn a_lost_session_is_followed_by_one_silent_login() {
    if stock_cannot(AGAIN) {
        return;
    }
    for loss in ["session-lost", "logged-out", "stale"] {
        let home = Home::new();
        let token = FaultyToken::new(&home, "token", &[Key::P256]);
        let pinentry = Pinentry::new(&home, &[Answer::Type(token.token().pin())]);
        let agent = asking(&home, &token, &pinentry).start();
        assert!(signs(&agent, &token));
        token.forget_calls();
        token.set(&format!("token {loss}\ntoken pin-count 3"));
        assert!(signs(&agent, &token), "{loss}\n{}", home.logs());
        assert_eq!(token.calls.count_returned("C_Login", "CKR_OK"), 1, "{loss}\n{}", home.logs());
        assert_eq!((pinentry.pins_asked(), token.rules.pin_failures().expect("the counts")), (1, 0));
        assert!(signs(&agent, &token));
        assert_eq!(token.calls.count_returned("C_Login", "CKR_OK"), 1, "it logs in at each signature after {loss}");
    }
}

#[test]
fn a_module_that_went_stale_before_the_first_login_costs_one_signature_at_most() {
    if stock_cannot(AGAIN) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).as_stock().module(one_worker(&token)).start();
    assert_eq!(agent.comments().len(), 1);
    token.set("token stale");
    let _ = signs(&agent, &token);
    assert!(signs(&agent, &token), "{}", home.logs());
}

#[test]
fn a_pin_that_was_changed_meanwhile_costs_a_new_worker_one_try() {
    if stock_cannot(AGAIN) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let pinentry = Pinentry::new(&home, &[Answer::Type(token.token().pin()), Answer::Type("new pin 42")]);
    let agent = asking(&home, &token, &pinentry).start();
    assert!(signs(&agent, &token));
    token.token().change(&["--change-pin", "--new-pin", "new pin 42"]);
    token.forget_calls();
    token.set("token pin-count 3");
    agent.workers().into_iter().for_each(kill);
    assert!(!signs(&agent, &token), "the old PIN is refused");
    assert_eq!(token.rules.pin_failures().expect("the counts"), 1);
    assert!(signs(&agent, &token), "{}", home.logs());
    assert_eq!(pinentry.pins_asked(), 2);
    assert_eq!(token.calls.count("C_Login"), 2);
}

#[test]
fn a_token_that_is_removed_is_refused_with_the_reason_and_asks_for_its_pin_when_it_is_back() {
    if stock_cannot(AGAIN) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let right = token.token().pin();
    let pinentry = Pinentry::new(&home, &[Answer::Type(right), Answer::Type(right)]);
    let mut agent = asking(&home, &token, &pinentry).start();
    let software = KeyFile::new(&home, "software");
    agent.ssh_add([software.path()]).run().succeeds();
    assert!(signs(&agent, &token));

    token.set("token removed");
    assert!(!signs(&agent, &token));
    agent.wait_for_log("insert it again");
    agent.signs(software.public()).run().succeeds();

    token.clear();
    assert!(signs(&agent, &token), "{}", home.logs());
    assert_eq!(pinentry.pins_asked(), 2, "whoever puts the token in shows that he knows its PIN");
}

#[test]
fn another_token_in_the_slot_gets_no_pin() {
    if stock_cannot(AGAIN) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).as_stock().module(one_worker(&token)).start();
    assert!(signs(&agent, &token));
    token.set("token removed");
    assert!(!signs(&agent, &token));
    token.forget_calls();
    token.set("token serial 0042");
    assert!(!signs(&agent, &token));
    assert_eq!(token.calls.count("C_Login"), 0, "{}", home.logs());
}

#[test]
fn two_wrong_pins_are_warned_of_and_a_person_may_use_the_final_try() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let right = token.token().pin();
    let pinentry = Pinentry::new(
        &home,
        &[Answer::Type("wrong"), Answer::Type("wrong as well"), Answer::No, Answer::Ok, Answer::Type(right)],
    );
    let mut agent = asking(&home, &token, &pinentry).start();
    token.set("token pin-count 3");
    assert!(!signs(&agent, &token));
    agent.wait_for_log("few are left");
    assert!(!signs(&agent, &token));
    agent.wait_for_log("the next wrong one locks it");
    assert!(!signs(&agent, &token), "the person does not want to try");
    assert_eq!((pinentry.pins_asked(), token.calls.count("C_Login")), (2, 2), "{}", home.logs());
    assert!(signs(&agent, &token), "{}", home.logs());

    let dialogs = pinentry.descriptions();
    assert_eq!(dialogs.len(), 5);
    assert!(!dialogs[0].contains("wrong") && !dialogs[0].contains("tries"), "{}", dialogs[0]);
    assert!(
        dialogs[1].contains("The last PIN was wrong.") && dialogs[1].contains("Few tries are left."),
        "{}",
        dialogs[1]
    );
    assert!(dialogs[3].contains("FINAL PIN TRY") && dialogs[3].contains("Try the PIN"), "{}", dialogs[3]);
    assert!(dialogs[4].contains("This is the final try: a wrong PIN locks the token."), "{}", dialogs[4]);
    assert_eq!(token.calls.count("C_Login"), 3);
}

#[test]
fn a_locked_pin_is_not_asked_for_and_the_log_tells_the_remedy() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let pinentry = Pinentry::new(&home, &[Answer::Type("wrong")]);
    let mut agent = asking(&home, &token, &pinentry).start();
    token.set("token pin-count 1");
    assert!(!signs(&agent, &token));
    agent.wait_for_log("hardkey token unblock");
    assert!(!signs(&agent, &token));
    assert_eq!((pinentry.pins_asked(), token.calls.count("C_Login")), (1, 1), "{}", home.logs());
}

#[test]
fn a_pin_file_is_not_tried_again_on_a_token_that_keeps_silent_about_its_lock() {
    if stock_cannot("read a PIN from a file") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let file = home.file("pin", "wrong\n");
    let mut agent = Agent::with(&home).as_stock().module(one_worker(&token).pin_from(&file)).start();
    token.set("token pin-count 1 silent");
    assert!(!signs(&agent, &token));
    agent.wait_for_log("hardkey token unblock");
    assert!(!signs(&agent, &token));
    assert_eq!(token.calls.count("C_Login"), 1, "{}", home.logs());
}

#[test]
fn an_unblocked_pin_is_asked_for_again() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let pinentry = Pinentry::new(&home, &[Answer::Type("wrong"), Answer::Type(token.token().pin())]);
    let agent = asking(&home, &token, &pinentry).start();
    token.set("token pin-count 1");
    assert!(!signs(&agent, &token));
    token.rules.unblock_pins().expect("the counts");
    assert!(signs(&agent, &token), "an unblocked token stays refused until the agent is started anew\n{}", home.logs());
}

#[test]
fn the_final_try_is_never_made_by_a_pin_file() {
    if stock_cannot("read a PIN from a file") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let file = home.file("pin", "wrong\n");
    let mut agent = Agent::with(&home).as_stock().module(one_worker(&token).pin_from(&file)).start();
    token.set("token pin-count 3");
    assert!(!signs(&agent, &token));
    assert!(!signs(&agent, &token));
    assert_eq!(token.rules.pin_failures().expect("the counts"), 1, "the same wrong PIN was tried twice");
    fs::write(&file, "wrong as well\n").expect("write the file");
    assert!(!signs(&agent, &token));
    fs::write(&file, token.token().pin()).expect("write the file");
    assert!(!signs(&agent, &token));
    agent.wait_for_log("a stored PIN is not tried");
    assert_eq!(token.rules.pin_failures().expect("the counts"), 2);
    assert_eq!(token.calls.count("C_Login"), 2);
}

#[test]
fn a_new_worker_s_login_never_makes_the_final_try_either() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let pinentry = Pinentry::new(&home, &[Answer::Type(token.token().pin())]);
    let agent = asking(&home, &token, &pinentry).start();
    assert!(signs(&agent, &token));
    // Another program spends two tries, after somebody changed the PIN.
    token.token().change(&["--change-pin", "--new-pin", "new pin 42"]);
    token.set("token pin-count 3");
    agent.workers().into_iter().for_each(kill);
    for _ in 0..2 {
        let tool =
            home.command("pkcs11-tool").arg("--module").arg(faulty_module::library().expect("the faulty module"));
        tool.args(["--login", "--pin", "wrong", "-O"]).envs(token.environment()).run().fails();
    }
    assert_eq!(token.rules.pin_failures().expect("the counts"), 2);
    assert!(!signs(&agent, &token));
    assert_eq!(
        token.rules.pin_failures().expect("the counts"),
        2,
        "a remembered PIN locked the token\n{}",
        home.logs()
    );
}

#[test]
fn a_pin_pad_is_used_without_a_dialog_for_the_pin_and_holds_up_nobody_else() {
    if stock_cannot("use tokens with a PIN pad") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let pinentry = Pinentry::new(&home, &[]);
    token.set(&format!("token protected-path {}\nC_Login hold", token.token().pin()));
    let agent = asking(&home, &token, &pinentry).start();
    let software = KeyFile::new(&home, "software");
    agent.ssh_add([software.path()]).run().succeeds();

    let mut waiting = agent.signs(token.public(Key::P256)).start("waiting");
    let at_the_pad = token.calls.wait_for(SOON, |entry| entry.outcome == Outcome::Fault("hold".to_owned()));
    let arguments = at_the_pad.expect("a login at the PIN pad").arguments;
    assert!(arguments.contains("pin=pad"), "{arguments}");
    agent.signs(software.public()).run().succeeds();
    assert_eq!(agent.comments().len(), 2);

    token.set(&format!("token protected-path {}", token.token().pin()));
    assert!(waiting.ends(SOON).success(), "{}", waiting.log());
    assert_eq!(pinentry.pins_asked(), 0);
    assert_eq!(token.calls.count("C_Login"), 1);
}

#[test]
fn a_mistake_at_the_pin_pad_costs_one_try() {
    if stock_cannot("use tokens with a PIN pad") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    token.set("token protected-path 999999\ntoken pin-count 3");
    let mut agent = Agent::with(&home).as_stock().module(one_worker(&token).pin_unsaid()).start();
    assert!(!signs(&agent, &token));
    agent.wait_for_log("refused the PIN");
    assert_eq!((token.rules.pin_failures().expect("the counts"), token.calls.count("C_Login")), (1, 1));
    token.set(&format!("token protected-path {}\ntoken pin-count 3", token.token().pin()));
    assert!(signs(&agent, &token), "{}", home.logs());
}

#[test]
fn of_two_tokens_in_a_module_each_gets_its_own_pin_only() {
    if stock_cannot("tell the tokens of a module apart") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let other = token.token().add_token("other-token", "Other-Okapi", Key::P384);
    let pinentry =
        Pinentry::new(&home, &[Answer::Type("wrong"), Answer::Type(token.token().pin()), Answer::Type("Other-Okapi")]);
    let agent = asking(&home, &token, &pinentry).start();
    token.set("token pin-count 3");
    assert_eq!(agent.comments().len(), 2);

    assert!(!signs(&agent, &token));
    assert_eq!((token.rules.pin_failures().expect("the counts"), token.calls.count("C_Login")), (1, 1));
    assert!(signs(&agent, &token));
    assert_eq!(token.calls.count("C_Login"), 2);
    agent.signs(&other).run().succeeds();
    assert_eq!((token.rules.pin_failures().expect("the counts"), token.calls.count("C_Login")), (0, 3));
    let dialogs = pinentry.descriptions();
    let named: Vec<bool> = dialogs.iter().map(|text| text.contains("\"other-token\"")).collect();
    assert_eq!(named, [false, false, true], "{dialogs:?}");
}

#[test]
fn one_pin_file_for_two_tokens_goes_to_neither() {
    if stock_cannot("read a PIN from a file") {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "token", &[Key::P256]);
    let other = token.token().add_token("other-token", "Other-Okapi", Key::P384);
    let mut agent = Agent::with(&home).as_stock().module(one_worker(&token)).start();
    token.set("token pin-count 3");
    assert!(!signs(&agent, &token));
    agent.signs(&other).run().fails();
    agent.wait_for_log("a PIN goes only to the token it is meant for");
    assert_eq!(token.calls.count("C_Login"), 0, "{}", home.logs());
}

#[test]
fn a_login_that_somebody_left_behind_is_ended_and_begun_anew() {
    if stock_cannot("log out before it logs in") {
        return;
    }
    for value in ["CKR_USER_ALREADY_LOGGED_IN", "CKR_USER_ANOTHER_ALREADY_LOGGED_IN"] {
        let home = Home::new();
        let token = FaultyToken::new(&home, "token", &[Key::P256]);
        let agent = Agent::with(&home).as_stock().module(one_worker(&token)).start();
        token.set(&format!("C_Login return {value} times 1"));
        assert!(signs(&agent, &token), "{value}\n{}", home.logs());
        assert_eq!((token.calls.count("C_Login"), token.calls.count("C_Logout")), (2, 1), "{value}");
    }
}

#[test]
fn a_token_that_another_program_stays_logged_in_to_is_refused_with_what_to_do() {
    if stock_cannot("say why it refuses") {
        return;
    }
    for value in ["CKR_USER_ALREADY_LOGGED_IN", "CKR_USER_ANOTHER_ALREADY_LOGGED_IN"] {
        let home = Home::new();
        let token = FaultyToken::new(&home, "token", &[Key::P256]);
        let mut agent = Agent::with(&home).as_stock().module(one_worker(&token)).start();
        token.set(&format!("C_Login return {value}"));
        assert!(!signs(&agent, &token));
        agent.wait_for_log(&format!("C_Login answered {value}, after C_Logout as well: another program is logged in"));
        token.clear();
        assert!(signs(&agent, &token), "{value}\n{}", home.logs());
        assert_eq!(token.calls.count_returned("C_Login", "CKR_PIN_INCORRECT"), 0);
    }
}
