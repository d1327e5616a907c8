//! Where PINs come from, and how few of them are tried.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use hsm_tests::{
    Agent, AgentBuilder, Answer, Askpass, Home, Key, KeyFile, Module, Outcome, Pinentry, SOON, Token, agent_binary,
    stock_cannot, until,
};

const LATER: &str = "ask for a PIN when it is needed";

/// A token whose calls are counted.
fn token(home: &Home) -> Token {
    Token::new(home, "token", &[Key::P256]).spied()
}

/// An agent that has to ask a person for the token's PIN.
fn asking(home: &Home, token: &Token, pinentry: &Pinentry) -> AgentBuilder {
    Agent::with(home).module(Module::of(token).pin_asked()).pinentry(pinentry)
}

/// Signs with the token's key and verifies the signature.
fn sign(agent: &Agent, token: &Token) -> Outcome {
    agent.signs(token.public(Key::P256)).run()
}

#[test]
fn a_pin_file_needs_no_person() {
    if stock_cannot("read a PIN from a file") {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let pinentry = Pinentry::new(&home, &[]);
    let agent = Agent::with(&home).module(Module::of(&token)).pinentry(&pinentry).start();
    sign(&agent, &token).succeeds();
    assert!(pinentry.commands().is_empty(), "{:?}", pinentry.commands());
}

#[test]
fn a_pin_file_on_the_command_line_serves_every_module() {
    if stock_cannot("read a PIN from a file") {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let agent =
        Agent::with(&home).module(Module::of(&token).pin_unsaid()).arg("--pin-file").arg(token.pin_file()).start();
    sign(&agent, &token).succeeds();
}

#[test]
fn a_pin_comes_through_a_file_descriptor() {
    if stock_cannot("read a PIN from a file descriptor") {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let configuration =
        home.file("hardkey.toml", Agent::with(&home).module(Module::of(&token).pin_unsaid()).configuration());
    let outcome = home
        .command("sh")
        .args([
            "-c",
            "exec \"$0\" agent --config \"$1\" --pin-fd 3 -- sh -c 'ssh-add -T \"$0\" && echo signed' \"$2\" 3<\"$3\"",
        ])
        .arg(agent_binary())
        .arg(configuration)
        .arg(token.public(Key::P256).path())
        .arg(token.pin_file())
        .run()
        .succeeds();
    assert_eq!(outcome.stdout, "signed\n", "{}", outcome.report());
}

#[test]
fn a_pin_file_named_in_a_uri_is_read() {
    if stock_cannot("read PKCS#11 URIs") {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let uri = format!("pkcs11:token={}?pin-source=file:{}", token.label(), token.pin_file().display());
    let agent = Agent::with(&home).module(Module::of(&token).pin_unsaid().keys(&[&uri])).start();
    sign(&agent, &token).succeeds();
}

#[test]
fn a_pin_file_that_others_can_read_is_mentioned() {
    if stock_cannot("read a PIN from a file") {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let file = home.file("open-pin", token.pin());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("change the mode");
    let mut agent = Agent::with(&home).module(Module::of(&token).pin_from(&file)).start();
    let _ = sign(&agent, &token);
    agent.wait_for_log("open-pin");
}

#[test]
fn ten_signatures_ask_for_the_pin_once() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let pinentry = Pinentry::new(&home, &[Answer::Type(token.pin())]);
    let agent = asking(&home, &token, &pinentry).start();
    assert_eq!(agent.comments().len(), 1);
    assert_eq!(pinentry.pins_asked(), 0, "listing needs no PIN");
    for _ in 0..10 {
        sign(&agent, &token).succeeds();
    }
    assert_eq!(pinentry.pins_asked(), 1);
    assert!(
        pinentry.descriptions().iter().any(|text| text.contains(token.label())),
        "the dialog does not name the token: {:?}",
        pinentry.commands()
    );
}

#[test]
fn signatures_at_the_same_time_share_one_dialog() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let pinentry = Pinentry::new(&home, &[Answer::Type(token.pin())]);
    let agent = asking(&home, &token, &pinentry).start();
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| sign(&agent, &token).succeeds());
        }
    });
    assert_eq!(pinentry.pins_asked(), 1);
}

#[test]
fn a_wrong_pin_costs_one_try_and_the_right_one_works_next_time() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let pinentry = Pinentry::new(&home, &[Answer::Type("wrong pin")]);
    let agent = asking(&home, &token, &pinentry).start();
    sign(&agent, &token).fails();
    assert_eq!((pinentry.pins_asked(), token.calls("C_Login")), (1, 1));

    pinentry.answers(&[Answer::Type(token.pin())]);
    sign(&agent, &token).succeeds();
    assert_eq!(pinentry.pins_asked(), 2);
}

#[test]
fn a_wrong_pin_in_a_file_is_tried_once_until_the_file_changes() {
    if stock_cannot("read a PIN from a file") {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let file = home.file("pin", "wrong pin\n");
    let pinentry = Pinentry::new(&home, &[]);
    let agent = Agent::with(&home).module(Module::of(&token).pin_from(&file)).pinentry(&pinentry).start();
    for _ in 0..3 {
        sign(&agent, &token).fails();
    }
    assert_eq!(token.calls("C_Login"), 1, "{}", agent.log());

    fs::write(&file, token.pin()).expect("write the right PIN");
    sign(&agent, &token).succeeds();
}

#[test]
fn a_cancelled_dialog_costs_no_try() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let pinentry = Pinentry::new(&home, &[Answer::Cancel, Answer::Type(token.pin())]);
    let agent = asking(&home, &token, &pinentry).start();
    sign(&agent, &token).fails();
    assert_eq!(token.calls("C_Login"), 0);
    sign(&agent, &token).succeeds();
}

#[test]
fn without_a_way_to_ask_the_log_says_why_it_was_refused() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let mut agent =
        Agent::with(&home).module(Module::of(&token).pin_asked()).prompt("pinentry = '/nonexistent/pinentry'").start();
    let outcome = sign(&agent, &token).fails();
    assert!(outcome.took < Duration::from_secs(5), "{}", outcome.report());
    agent.wait_for_log(token.label());
    assert_eq!(token.calls("C_Login"), 0);
}

#[test]
fn askpass_gives_the_pin_when_it_is_forced() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let pinentry = Pinentry::new(&home, &[]);
    let askpass = Askpass::new(&home, &[Answer::Type(token.pin())]);
    let agent = asking(&home, &token, &pinentry).envs(askpass.environment()).start();
    sign(&agent, &token).succeeds();
    sign(&agent, &token).succeeds();
    let questions = askpass.questions();
    assert_eq!(questions.len(), 1, "{questions:?}");
    assert!(questions[0].starts_with("[] ") && questions[0].contains(token.label()), "{questions:?}");
    assert_eq!(pinentry.pins_asked(), 0);
}

#[test]
fn an_open_dialog_holds_up_nobody_else() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let pinentry = Pinentry::new(&home, &[Answer::Hang]);
    let agent = asking(&home, &token, &pinentry).start();
    let software = KeyFile::new(&home, "software");
    agent.ssh_add([software.path()]).run().succeeds();

    let waiting = agent.signs(token.public(Key::P256)).start("waiting");
    assert!(until(SOON, || pinentry.pins_asked() == 1), "no dialog opens\n{}", agent.log());
    let start = Instant::now();
    assert_eq!(agent.comments().len(), 2);
    agent.signs(software.public()).run().succeeds();
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    drop(waiting);
}

#[test]
fn a_dialog_closes_when_its_client_goes() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let pinentry = Pinentry::new(&home, &[Answer::Hang]);
    let agent = asking(&home, &token, &pinentry).start();
    let waiting = agent.signs(token.public(Key::P256)).start("waiting");
    assert!(until(SOON, || pinentry.pins_asked() == 1), "no dialog opens\n{}", agent.log());
    drop(waiting);
    assert!(until(SOON, || !pinentry.is_open()), "the dialog outlives the request\n{}", agent.log());
}

#[test]
fn a_dialog_closes_when_nobody_answers_in_time() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let pinentry = Pinentry::new(&home, &[Answer::Hang, Answer::Type(token.pin())]);
    let agent = asking(&home, &token, &pinentry).prompt("timeout = '1s'").start();
    let outcome = sign(&agent, &token).fails();
    assert!(outcome.took > Duration::from_millis(900), "{}", outcome.report());
    assert!(until(SOON, || !pinentry.is_open()), "the dialog outlives its time\n{}", agent.log());
    sign(&agent, &token).succeeds();
}

#[test]
fn no_log_has_the_pin() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let token = token(&home);
    let pinentry = Pinentry::new(&home, &[Answer::Type("Wrong-Okapi"), Answer::Type(token.pin())]);
    let agent = asking(&home, &token, &pinentry).env("HARDKEY_LOG", "trace").start();
    sign(&agent, &token).fails();
    sign(&agent, &token).succeeds();
    assert!(!agent.log().is_empty());
    for pin in [token.pin(), "Wrong-Okapi"] {
        assert!(!agent.log().contains(pin), "{}", agent.log());
    }
}
