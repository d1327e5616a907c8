//! The harness keeps its promises.

use std::panic::catch_unwind;
use std::path::PathBuf;

use hsm_tests::{Answer, Askpass, Home, Key, KeyFile, Pid, Pinentry, SOON, Token, is_alive, until};

/// Starts a daemon that has left its session and lost its parent, and tells its pid.
fn daemon(home: &Home) -> Pid {
    let pid = home.path("daemon.pid");
    let script =
        format!("setsid sh -c 'echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000' >/dev/null 2>&1 &", pid.display());
    home.command("sh").args(["-c", &script]).run().succeeds();
    assert!(until(SOON, || pid.exists()), "the daemon does not start");
    let text = std::fs::read_to_string(pid).expect("pid file");
    Pid::from_raw(text.trim().parse().expect("a number")).expect("a process id")
}

#[test]
fn daemons_and_files_go_with_the_home() {
    let home = Home::new();
    let (directory, pid) = (home.path(""), daemon(&home));
    assert!(is_alive(pid));
    drop(home);
    assert!(!is_alive(pid));
    assert!(!directory.exists());
}

#[test]
fn daemons_and_files_go_when_the_test_panics() {
    let (sender, receiver) = std::sync::mpsc::channel::<(PathBuf, Pid)>();
    let failed = catch_unwind(move || {
        let home = Home::new();
        sender.send((home.path(""), daemon(&home))).expect("the other half");
        panic!("on purpose");
    });
    assert!(failed.is_err());
    let (directory, pid) = receiver.recv().expect("what was started");
    assert!(!is_alive(pid));
    assert!(!directory.exists());
}

#[test]
fn nothing_of_the_caller_s_environment_gets_in() {
    let home = Home::new();
    let environment = home.command("env").run().succeeds().stdout;
    for name in ["SSH_AUTH_SOCK=", "DISPLAY=", "CARGO", "HARDKEY_BIN="] {
        assert!(!environment.lines().any(|line| line.starts_with(name)), "{environment}");
    }
    assert!(environment.contains(&format!("HOME={}", home.path("home").display())), "{environment}");
}

#[test]
fn a_token_signs_with_its_pin_only_and_the_spy_counts() {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]).spied();
    let list = |pin: &str| {
        home.command("pkcs11-tool")
            .arg("--module")
            .arg(token.library())
            .args(["--login", "--pin", pin, "--list-objects"])
            .envs(token.environment())
            .run()
    };
    assert!(list(token.pin()).succeeds().stdout.contains("p256"));
    list("wrong pin").fails();
    assert_eq!(token.calls("C_Login"), 2);
}

#[test]
fn the_pinentry_talks_assuan_and_answers_in_order() {
    let home = Home::new();
    let pinentry = Pinentry::new(&home, &[Answer::Type("50%"), Answer::Ok, Answer::No]);
    let script = "SETDESC one%0Atwo\nGETPIN\nCONFIRM\nCONFIRM\nGETPIN\nBYE\n";
    let outcome = home.command(pinentry.program()).input(script).run().succeeds();
    let answers: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(answers[1..4], ["OK", "D 50%25", "OK"]);
    assert_eq!(answers[4], "OK");
    assert!(answers[5].starts_with("ERR 83886194 "), "{answers:?}");
    assert!(answers[6].starts_with("ERR 83886179 "), "an unexpected dialog is cancelled: {answers:?}");
    assert_eq!((pinentry.pins_asked(), pinentry.confirms_asked()), (2, 2));
    assert_eq!(pinentry.descriptions(), ["one\ntwo"]);
    assert!(!pinentry.is_open());
}

#[test]
fn the_askpass_answers_in_order() {
    let home = Home::new();
    let askpass = Askpass::new(&home, &[Answer::Type("secret"), Answer::Ok, Answer::No]);
    let ask = || home.command(askpass.program()).arg("Really?\nSure?").env("SSH_ASKPASS_PROMPT", "confirm").run();
    assert_eq!(ask().succeeds().stdout, "secret\n");
    assert_eq!(ask().succeeds().stdout, "");
    ask().fails();
    ask().fails();
    assert_eq!(askpass.questions()[0], "[confirm] Really? Sure?");
}

#[test]
fn key_files_are_taken_apart_as_they_are_sent_to_an_agent() {
    let home = Home::new();
    for (kind, length) in [("ed25519", 4 + 11 + 4 + 32 + 4 + 64), ("ecdsa", 4 + 19 + 4 + 8 + 4 + 65 + 4 + 32)] {
        let key = KeyFile::with(&home, kind, &["-t", kind], "");
        let message = key.as_added();
        assert!(message.ends_with(kind.as_bytes()), "the comment is last");
        // The private number of an ECDSA key may need a leading zero, or a byte less.
        assert!(message.len().abs_diff(length + 4 + kind.len()) <= 2, "{kind}: {}", message.len());
    }
}
