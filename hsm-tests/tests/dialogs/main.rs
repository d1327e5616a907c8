//! What a person reads before saying yes: every kind of dialog, as a data file.
//!
//! `HARDKEY_GOLDEN=write` writes the files in `tests/golden` anew; look at the difference before you commit it.

mod approvals;
mod lab;
mod muted;
mod relays;
mod screens;
mod tokens;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use hsm_tests::{Agent, Answer, Askpass, Home, KeyFile, stock_cannot};
use lab::Lab;

/// What `pam_ssh_agent_auth` asks for, recorded.
const SUDO: &[u8] = include_bytes!("../../../src/protocol/payload/sudo.bin");

/// Compares a dialog with its file.
fn compare(name: &str, dialog: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("HARDKEY_GOLDEN").is_some_and(|value| value == "write") {
        return fs::write(&file, dialog).expect("write the file");
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(dialog, expected, "{} says otherwise", file.display());
}

/// Lets something be asked for, and compares the one dialog that it opens.
fn shows(lab: &Lab, name: &str, ask: impl FnOnce()) {
    let before = lab.pinentry.descriptions().len();
    ask();
    let dialogs = lab.pinentry.descriptions();
    assert_eq!(dialogs.len(), before + 1, "{name}: {:#?}\n{}", &dialogs[before..], lab.home.logs());
    compare(name, &lab.normal(&dialogs[before]));
}

#[test]
fn dialogs_about_local_requests_tell_program_file_and_key() {
    if stock_cannot("say more than the key") {
        return;
    }
    let lab = Lab::new();
    let local: PathBuf = lab.agent.socket().into();
    let run = |script: &str| drop(lab.script(&local, script).run().succeeds());
    shows(&lab, "local-login", || run("ssh -F $CONFIG -i $PUBLIC/careful.pub hosta true"));
    shows(&lab, "local-file", || {
        run("echo 'Dear all,' >letter && ssh-keygen -q -Y sign -n file -f $PUBLIC/careful.pub letter");
    });
    shows(&lab, "local-commit", || {
        run("git init -q . && git -c user.name=n -c user.email=e@example.org -c gpg.format=ssh \
             -c user.signingkey=$PUBLIC/careful.pub commit -q -S --allow-empty -m 'Mend the roof'");
    });
    shows(&lab, "local-stdin", || {
        run("echo text | ssh-keygen -q -Y sign -n file -f $PUBLIC/careful.pub >/dev/null");
    });
    shows(&lab, "local-certificate", || {
        run("cp $PUBLIC/work.pub user.pub && ssh-keygen -q -Us $PUBLIC/careful.pub -I ann -n root,ann user.pub");
    });
    let copy = "cp /usr/bin/ssh ssh && ./ssh -F $CONFIG -i $PUBLIC/work.pub hosta true";
    shows(&lab, "unknown-login", || run(copy));
    let unbound =
        "cp /usr/bin/ssh ssh && ./ssh -F $CONFIG -o PubkeyAuthentication=unbound -i $PUBLIC/work.pub hosta true";
    shows(&lab, "unknown-login-unbound", || run(unbound));
    shows(&lab, "unknown-raw", || {
        assert!(lab.agent.client().sign(&lab.work.public().blob(), b"anything", 0).is_some());
    });
    shows(&lab, "unknown-sudo", || {
        assert!(lab.agent.client().sign(&lab.work.public().blob(), SUDO, 0).is_some());
    });
}

#[test]
fn dialogs_about_forwarded_requests_tell_the_way_and_the_destination() {
    if stock_cannot("say more than the key") {
        return;
    }
    let mut lab = Lab::new();
    let local: PathBuf = lab.agent.socket().into();
    let first = lab.way(&local, "hosta", "-A");
    let second = lab.way(&first, "hostb", "-A");
    let third = lab.way(&second, "hostc", "-A");
    let relay = format!("-R {0}:{1}", lab.home.path("tmp/relay.sock").display(), local.display());
    lab.way(&local, "hosta", &relay);
    let relayed = lab.home.path("tmp/relay.sock");
    let run = |agent: &Path, script: &str| drop(lab.script(agent, script).run().succeeds());
    let login = |host: &str| format!("ssh -F $CONFIG -i $PUBLIC/work.pub {host} true");
    shows(&lab, "forwarded-1-hop", || run(&first, &login("hostb")));
    shows(&lab, "forwarded-2-hops", || run(&second, &login("hostc")));
    shows(&lab, "forwarded-3-hops", || run(&third, &login("hosta")));
    let unbound = "ssh -F $CONFIG -o PubkeyAuthentication=unbound -i $PUBLIC/work.pub hostb true";
    shows(&lab, "forwarded-unbound", || run(&first, unbound));
    shows(&lab, "forwarded-file", || {
        run(&first, "echo text >text && ssh-keygen -q -Y sign -n file -f $PUBLIC/work.pub text");
    });
    shows(&lab, "forwarded-commit", || {
        run(
            &first,
            "git init -q . && git -c user.name=n -c user.email=e@example.org -c gpg.format=ssh \
             -c user.signingkey=$PUBLIC/work.pub commit -q -S --allow-empty -m 'Mend the roof'",
        );
    });
    shows(&lab, "forwarded-sudo", || {
        assert!(hsm_tests::Client::connect(&first).sign(&lab.work.public().blob(), SUDO, 0).is_some());
    });
    shows(&lab, "relayed-login", || run(&relayed, &login("hostb")));
    assert!(hsm_tests::Client::connect(&first).sign(&lab.work.public().blob(), b"anything", 0).is_none());
}

#[test]
fn askpass_shows_the_same_words() {
    if stock_cannot("say more than the key") {
        return;
    }
    let home = Home::new();
    let askpass = Askpass::new(&home, &[Answer::Ok]);
    let agent = Agent::with(&home).envs(askpass.environment()).start();
    let key = KeyFile::new(&home, "work");
    agent.ssh_add([key.path()]).run().succeeds();
    assert!(agent.client().sign(&key.public().blob(), b"anything", 0).is_some());
    let question = &askpass.questions()[0];
    let golden = include_str!("../golden/unknown-raw.txt");
    for line in golden.lines().filter(|line| !line.starts_with(['f', 'r', 'w', 'K'])) {
        assert!(question.contains(line), "{line:?} is not in {question}");
    }
    assert!(question.contains(key.public().fingerprint()), "{question}");
}
