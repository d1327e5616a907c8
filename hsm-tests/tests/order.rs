//! Which keys a server is offered first: too many keys are no reason for "Too many authentication failures".

use hsm_tests::{Agent, Home, KeyFile, Sshd, stock_cannot};

#[test]
fn the_right_key_among_eight_is_found_at_the_second_login_at_the_latest_and_kept() {
    if stock_cannot("learn which key a server takes") {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home);
    let keys: Vec<KeyFile> = (1..=8).map(|number| KeyFile::new(&home, &format!("key-{number}"))).collect();
    keys.iter().for_each(|key| drop(agent.ssh_add([key.path()]).run().succeeds()));
    let listed = agent.comments();
    let sshd = Sshd::with(&home, "sshd", [keys[7].public()], "MaxAuthTries 6");
    let log_in = || agent.ssh(&sshd).args(["-o", "IdentityFile=none", "box", "echo in"]).run();

    log_in().fails();
    log_in().succeeds();
    for _ in 0..3 {
        assert_eq!(log_in().succeeds().stdout, "in\n");
    }
    assert_eq!(agent.comments(), listed, "the list that people see stays as it is");
}

#[test]
fn a_key_that_is_tied_to_a_host_logs_in_at_once_and_is_shown_nowhere_else() {
    let home = Home::new();
    let agent = Agent::start(&home);
    let keys: Vec<KeyFile> = (1..=8).map(|number| KeyFile::new(&home, &format!("key-{number}"))).collect();
    let sshd = Sshd::with(&home, "sshd", [keys[7].public()], "MaxAuthTries 6");
    let elsewhere = Sshd::with(&home, "elsewhere", [keys[0].public()], "MaxAuthTries 6");
    let known = home.path("sshd/known_hosts").display().to_string();
    keys[..7].iter().for_each(|key| drop(agent.ssh_add([key.path()]).run().succeeds()));
    agent.ssh_add(["-H", &known, "-h", "sshd"]).arg(keys[7].path()).run().succeeds();
    let log_in = |sshd: &Sshd| agent.ssh(sshd).args(["-v", "-o", "IdentityFile=none", "box", "echo in"]).run();

    if !stock_cannot("offer a key first where it is tied to") {
        assert_eq!(log_in(&sshd).succeeds().stdout, "in\n");
    }
    let offered = log_in(&elsewhere).succeeds().stderr;
    assert!(!offered.contains(keys[7].public().fingerprint()), "{offered}");
    assert_eq!(agent.comments().len(), 8);
}
