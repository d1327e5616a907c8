//! `hardkey rotate`: keys that are to come and keys that are to go.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hsm_tests::{Agent, Home, Key, KeyFile, Module, Outcome, Sshd, Token, stock_cannot};

const ROTATE: &str = "rotate keys";

/// Three keys in memory, the first of which is active.
fn three_keys(home: &Home) -> (Agent, Vec<KeyFile>) {
    let agent = Agent::start(home);
    let keys: Vec<KeyFile> = ["old", "new", "other"].map(|name| KeyFile::new(home, name)).into();
    keys.iter().for_each(|key| drop(agent.ssh_add([key.path()]).run().succeeds()));
    (agent, keys)
}

fn rotate(agent: &Agent, arguments: &[&str]) -> Outcome {
    agent.command("hardkey").arg("rotate").args(arguments).run()
}

/// The comment that `ssh-add` gives a key.
fn comment(agent: &Agent, key: &KeyFile) -> String {
    let listed = agent.client().list().expect("a list");
    let found = listed.into_iter().find(|(blob, _)| *blob == key.public().blob());
    found.expect("the key is listed").1
}

#[test]
fn next_keys_are_listed_last_and_retired_ones_to_those_who_name_them() {
    if stock_cannot(ROTATE) {
        return;
    }
    let home = Home::new();
    let (agent, keys) = three_keys(&home);
    let [old, new, _] = &keys[..] else { panic!("three keys") };
    let (old_comment, new_comment) = (comment(&agent, old), comment(&agent, new));
    rotate(&agent, &["set", &old_comment, "active", "--name", "work"]).succeeds();
    let file = rotate(&agent, &["set", new.public().fingerprint(), "next", "--name", "work"]).succeeds().stdout;
    assert_eq!(agent.comments().last(), Some(&new_comment));
    assert_eq!(fs::read_to_string(file.trim()).expect("the file"), format!("{} {new_comment}\n", new.public().line()));

    let sshd = Sshd::start(&home, [old.public(), new.public()]);
    sshd.login(&agent, old.public()).succeeds();
    sshd.accepted(old.public());
    agent.ssh(&sshd).arg("-i").arg(file.trim()).args(["-o", "IdentitiesOnly=yes", "box", "true"]).run().succeeds();
    sshd.accepted(new.public());

    let switched = rotate(&agent, &["set", new.public().fingerprint(), "active"]).succeeds();
    assert!(switched.stderr.contains("is retired"), "{}", switched.report());
    assert!(!agent.comments().contains(&old_comment), "{:?}", agent.comments());
    let only_old = Sshd::with(&home, "straggler", [old.public()], "");
    let log_in = |arguments: &[&str]| agent.ssh(&only_old).args(arguments).args(["box", "echo in"]).run();
    log_in(&["-o", "IdentityFile=none"]).fails();
    let retired = home.path("home/.ssh/hardkey/work-retired.pub").display().to_string();
    assert_eq!(log_in(&["-i", &retired]).succeeds().stdout, "in\n");
    agent.signs(old.public()).run().succeeds();

    let printed = agent.command("hardkey").arg("pub").run().succeeds().stdout;
    assert!(!printed.contains(&old.public().line()) && printed.contains(&new.public().line()), "{printed}");
    let listed = agent.command("hardkey").arg("list").run().succeeds().stdout;
    let line = listed.lines().find(|line| line.contains(old.public().fingerprint())).expect("the old key");
    assert!(line.contains("ready, retired"), "{line}");

    rotate(&agent, &["set", old.public().fingerprint(), "active"]).succeeds();
    assert!(agent.comments().contains(&old_comment) && !agent.comments().contains(&new_comment));
}

#[test]
fn what_cannot_be_meant_changes_nothing() {
    if stock_cannot(ROTATE) {
        return;
    }
    let home = Home::new();
    let (agent, keys) = three_keys(&home);
    let prints: Vec<&str> = keys.iter().map(|key| key.public().fingerprint()).collect();
    let says = |arguments: &[&str], text: &str| {
        let outcome = rotate(&agent, arguments).fails();
        assert!(outcome.stderr.contains(text), "no {text:?}: {}", outcome.report());
    };
    says(&["set", "nobody", "next"], "no key matches \"nobody\"");
    says(&["set", prints[0], "later"], "invalid value 'later'");
    says(&["set", prints[0], "active", "--name", "../x"], "cannot be the name of a file");
    says(&["forget", prints[0]], "nothing was said about the key");
    rotate(&agent, &["set", prints[0], "next", "--name", "work"]).succeeds();
    says(&["set", prints[1], "next", "--name", "work"], "work has a next key already, SHA256:");
    home.file("home/.ssh/hardkey/mine.pub", "mine");
    says(&["set", prints[1], "active", "--name", "mine"], "is not hardkey's; move it away");
    assert_eq!(fs::read_to_string(home.path("home/.ssh/hardkey/mine.pub")).expect("read"), "mine");
    let listed = rotate(&agent, &["list", "--json"]).succeeds().stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let named = listed.as_array().expect("a list").iter().filter(|key| key["name"].is_string()).count();
    assert_eq!((listed.as_array().map(Vec::len), named), (Some(3), 1), "{listed}");

    rotate(&agent, &["set", prints[0], "retired"]).succeeds();
    says(&["forget", prints[0]], "will offer it again");
    agent.command("hardkey").args(["rotate", "forget", prints[0]]).input("yes\n").run().succeeds();
    assert!(!home.path("home/.ssh/hardkey/work-retired.pub").exists());

    // A broken file is said, and what was retired stays so.
    rotate(&agent, &["set", prints[0], "retired", "--name", "work"]).succeeds();
    assert_eq!(agent.comments().len(), 2);
    home.file("state/hardkey/rotation.json", "{");
    assert_eq!(agent.comments().len(), 2);
    assert!(agent.log().contains("the states of keys stay as they were"), "{}", agent.log());
    says(&["list"], "rotation.json: EOF while parsing");
}

/// The shell commands of the document, each block by itself.
fn steps() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rotation.md");
    let text = fs::read_to_string(page).expect("the document");
    let blocks = text.split("```sh\n").skip(1);
    blocks.map(|block| block.split_once("```").expect("the end of a block").0.to_owned()).collect()
}

/// A client's configuration with the servers of the document, and the lines that the document wants there.
fn configuration(home: &Home, servers: &[(&str, &Sshd)]) -> PathBuf {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rotation.md");
    let text = fs::read_to_string(page).expect("the document");
    let block = text.split_once("```ssh_config\n").expect("lines for ssh_config").1;
    let lines = block.split_once("```").expect("the end of the lines").0;
    let lines = lines.replace("~/", &format!("{}/", home.path("home").display()));
    let hosts: String = servers
        .iter()
        .map(|(name, sshd)| {
            let alias = name.trim_start_matches("old-");
            let known = home.path(alias).join("known_hosts");
            let port = sshd.port();
            format!(
                "Host {name}\n HostName 127.0.0.1\n Port {port}\n HostKeyAlias {alias}\n UserKnownHostsFile {}\n",
                known.display()
            )
        })
        .collect();
    home.file("ssh_config", format!("{hosts}{lines}    BatchMode yes\n    LogLevel VERBOSE\n"))
}

#[test]
fn the_document_s_steps_replace_a_key_on_every_server() {
    if stock_cannot(ROTATE) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    token.change(&[
        "--keypairgen",
        "--key-type",
        "EC:prime256v1",
        "--id",
        "0a",
        "--label",
        "work-2026",
        "--usage-sign",
    ]);
    let builder =
        Agent::with(&home).module(Module::of(&token).keys(&["pkcs11:object=work-2026", "pkcs11:object=work-2027"]));
    home.file("config/hardkey/config.toml", builder.configuration());
    let agent = builder.start();
    let pin = format!("{}\n", token.pin());
    // Both servers read the list of the one home that there is.
    let authorized = home.directory("home/.ssh").join("authorized_keys");
    let file = format!("AuthorizedKeysFile {}", authorized.display());
    let server = Sshd::with(&home, "server", [], &file);
    let straggler = Sshd::with(&home, "straggler", [], "");
    let old = agent.command("hardkey").args(["pub", "work-2026"]).run().succeeds().stdout;
    fs::write(&authorized, &old).expect("prepare the server");
    fs::write(home.path("straggler/authorized_keys"), &old).expect("prepare the forgotten server");
    let ssh_config = configuration(&home, &[("server", &server), ("old-straggler", &straggler)]);
    home.program("bin/ssh", format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", ssh_config.display()));
    home.file("home/servers", "server\n");

    let steps = steps();
    let run = |step: &str| {
        let step = step.replace("old-server", "old-straggler");
        let task = agent.command("sh").args(["-euc", &step]).input(pin.clone());
        task.within(Duration::from_secs(60)).run().succeeds()
    };
    let [name, make, prepare, prove, switch, named, log, clean, list] = &steps[..] else {
        panic!("the document has other steps: {steps:#?}")
    };
    let may_log_in = |server: &str| agent.command("ssh").args(["-n", server, "echo in"]).run().code() == Some(0);
    run(name);
    assert!(may_log_in("server") && may_log_in("old-straggler"));
    run(make);
    assert!(may_log_in("server") && may_log_in("old-straggler"));
    run(prepare);
    let proved = run(prove).stdout;
    assert!(proved.lines().any(|line| line.starts_with("[server]")) && !proved.contains("straggler"), "{proved}");
    run(switch);
    assert!(may_log_in("server") && !may_log_in("old-straggler"), "{}", home.logs());
    run(named);
    let used = run(log).stdout;
    assert!(used.lines().any(|line| line.starts_with("[straggler]")), "{used}");
    run(clean);
    let left = fs::read_to_string(&authorized).expect("the list of keys");
    assert!(left.lines().count() == 1 && !left.contains(old.trim()), "{left}");
    assert!(may_log_in("server"));
    let listed = run(list).stdout;
    assert!(listed.lines().any(|line| line.starts_with("work ") && line.contains("retired")), "{listed}");
}
