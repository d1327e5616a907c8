//! What `ssh-add` can ask of an agent.

use std::fs;
use std::time::Duration;

use hsm_tests::{Agent, Answer, Askpass, Home, Key, KeyFile, Module, SOON, Sshd, Token, stock_cannot, until};

#[test]
fn an_empty_agent_says_so() {
    let home = Home::new();
    let agent = Agent::start(&home);
    assert_eq!(agent.ssh_add(["-l"]).run().code(), Some(1));
    assert_eq!(home.command("ssh-add").arg("-l").env("SSH_AUTH_SOCK", home.path("nobody")).run().code(), Some(2));
}

#[test]
fn every_kind_of_software_key_is_listed_signs_and_is_removed() {
    let home = Home::new();
    let agent = Agent::start(&home);
    for (name, kind, bits) in [
        ("ed25519", "ed25519", "256"),
        ("p256", "ecdsa", "256"),
        ("p384", "ecdsa", "384"),
        ("p521", "ecdsa", "521"),
        ("rsa2048", "rsa", "2048"),
        ("rsa3072", "rsa", "3072"),
    ] {
        let key = KeyFile::with(&home, name, &["-t", kind, "-b", bits], "");
        agent.ssh_add([key.path()]).run().succeeds();
        assert!(agent.listed()[0].contains(key.public().fingerprint()));
        assert!(agent.ssh_add(["-L"]).run().succeeds().stdout.starts_with(&key.public().line()));
        agent.signs(key.public()).run().succeeds();
        agent.ssh_add(["-d"]).arg(key.public().path()).run().succeeds();
        agent.signs(key.public()).run().fails();
        assert!(agent.listed().is_empty());
    }
}

#[test]
fn every_kind_of_token_key_is_listed_and_signs() {
    if stock_cannot("use Ed25519 keys on tokens before 10.1") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::Rsa2048, Key::P256, Key::P384, Key::P521, Key::Ed25519]);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    let listed = agent.ssh_add(["-L"]).run().succeeds();
    assert_eq!(listed.stdout.lines().count(), 5, "{}", listed.report());
    for key in token.publics() {
        assert!(listed.stdout.contains(&key.line()), "{} is not in {}", key.line(), listed.report());
        agent.signs(key).run().succeeds();
    }
}

#[test]
fn a_key_comes_from_standard_input() {
    let home = Home::new();
    let agent = Agent::start(&home);
    let key = KeyFile::new(&home, "piped");
    agent.ssh_add(["-"]).input(fs::read(key.path()).expect("key file")).run().succeeds();
    agent.signs(key.public()).run().succeeds();
}

#[test]
fn a_key_with_a_passphrase_is_opened_by_ssh_add() {
    let home = Home::new();
    let agent = Agent::start(&home);
    let askpass = Askpass::new(&home, &[Answer::Type("p$ss[1]\"x")]);
    let key = KeyFile::with(&home, "locked", &["-t", "ed25519"], "p$ss[1]\"x");
    agent.ssh_add([key.path()]).envs(askpass.environment()).run().succeeds();
    agent.signs(key.public()).run().succeeds();
}

#[test]
fn remove_all_leaves_nothing() {
    let home = Home::new();
    let agent = Agent::start(&home);
    for name in ["one", "two"] {
        agent.ssh_add([KeyFile::new(&home, name).path()]).run().succeeds();
    }
    assert_eq!(agent.listed().len(), 2);
    agent.ssh_add(["-D"]).run().succeeds();
    assert!(agent.listed().is_empty());
}

#[test]
fn a_certificate_is_listed_beside_its_key_and_logs_in() {
    let home = Home::new();
    let agent = Agent::start(&home);
    let authority = KeyFile::new(&home, "authority");
    let key = KeyFile::new(&home, "work");
    let user = home.command("id").arg("-un").run().succeeds().stdout;
    home.command("ssh-keygen")
        .args(["-q", "-I", "ada", "-n", user.trim(), "-s"])
        .arg(authority.path())
        .arg(key.public().path())
        .run()
        .succeeds();
    agent.ssh_add([key.path()]).run().succeeds();
    let types: Vec<String> = agent
        .ssh_add(["-L"])
        .run()
        .succeeds()
        .stdout
        .lines()
        .map(|line| line.split(' ').next().unwrap_or("").to_owned())
        .collect();
    assert_eq!(types, ["ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com"]);

    let trust = format!("TrustedUserCAKeys {}", authority.public().path().display());
    let sshd = Sshd::with(&home, "sshd", [], &trust);
    agent.ssh(&sshd).args(["box", "true"]).run().succeeds();
    assert!(sshd.log().contains("ED25519-CERT"), "{}", sshd.log());
}

//= RFC 9987 section 5.2.7.1: deleting it after the specified duration (in seconds) has elapsed from the time the key
//= was added to the agent
#[test]
fn a_lifetime_ends_a_key() {
    let home = Home::new();
    let agent = Agent::start(&home);
    let (short, long) = (KeyFile::new(&home, "short"), KeyFile::new(&home, "long"));
    agent.ssh_add(["-t", "2"]).arg(short.path()).run().succeeds();
    agent.ssh_add(["-t", "1h"]).arg(long.path()).run().succeeds();
    assert_eq!(agent.listed().len(), 2);
    assert!(until(SOON, || agent.listed().len() == 1), "the key outlives its 2 seconds");
    agent.signs(short.public()).run().fails();
    agent.signs(long.public()).run().succeeds();
}

#[test]
fn the_agent_s_own_lifetime_applies_to_keys_without_one() {
    let home = Home::new();
    let agent = Agent::with(&home).arg("-t").arg("2").start();
    let (short, long) = (KeyFile::new(&home, "short"), KeyFile::new(&home, "long"));
    agent.ssh_add([short.path()]).run().succeeds();
    agent.ssh_add(["-t", "1h"]).arg(long.path()).run().succeeds();
    assert!(until(SOON, || agent.listed().len() == 1), "the key outlives the agent's 2 seconds");
    agent.signs(long.public()).run().succeeds();
}

//= RFC 9987 section 5.2.7.2: require explicit user confirmation for each private key operation using the key
//= RFC 9987 section 5.6: is otherwise unable or unwilling to generate the signature
#[test]
fn a_key_added_with_confirm_signs_only_when_a_person_agrees() {
    let home = Home::new();
    let askpass = Askpass::new(&home, &[Answer::Ok, Answer::No, Answer::Type("yes"), Answer::Type("no")]);
    let agent = Agent::with(&home).envs(askpass.environment()).start();
    let key = KeyFile::new(&home, "careful");
    agent.ssh_add(["-c"]).arg(key.path()).run().succeeds();

    let test = || agent.signs(key.public()).run();
    test().succeeds();
    test().fails();
    test().succeeds();
    test().fails();
    let questions = askpass.questions();
    assert_eq!(questions.len(), 4);
    for question in questions {
        assert!(question.starts_with("[confirm] "), "{question}");
        assert!(question.contains("careful"), "the key is not named: {question}");
        assert!(question.contains(key.public().fingerprint()), "the key is not identified: {question}");
    }
}

#[test]
fn a_key_added_with_confirm_is_refused_when_nobody_can_be_asked() {
    let home = Home::new();
    let agent = Agent::with(&home).prompt("pinentry = '/nonexistent/pinentry'").start();
    let key = KeyFile::new(&home, "careful");
    agent.ssh_add(["-c"]).arg(key.path()).run().succeeds();
    agent.signs(key.public()).within(Duration::from_secs(10)).run().fails();
}

#[test]
fn a_locked_agent_shows_and_signs_nothing_until_unlocked() {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    let key = KeyFile::new(&home, "work");
    agent.ssh_add([key.path()]).run().succeeds();
    let passwords = ["open sesame", "open sesame", "wrong", "open sesame"].map(Answer::Type);
    let askpass = Askpass::new(&home, &passwords);

    agent.ssh_add(["-x"]).envs(askpass.environment()).run().succeeds();
    assert!(agent.listed().is_empty());
    agent.signs(key.public()).run().fails();
    agent.signs(token.public(Key::P256)).run().fails();
    agent.ssh_add([key.path()]).run().fails();

    agent.ssh_add(["-X"]).envs(askpass.environment()).run().fails();
    assert!(agent.listed().is_empty());
    agent.ssh_add(["-X"]).envs(askpass.environment()).run().succeeds();
    assert_eq!(agent.listed().len(), 2);
    agent.signs(key.public()).run().succeeds();
    agent.signs(token.public(Key::P256)).run().succeeds();
}
