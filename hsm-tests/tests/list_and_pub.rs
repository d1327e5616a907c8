//! `hardkey list` and `hardkey pub`.

use hsm_tests::{Agent, Home, Key, KeyFile, Module, Token, stock_cannot};

const COMMAND: &str = "run hardkey's own commands";

#[test]
fn list_names_every_key_of_the_agent() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &Key::USUAL);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    let software = KeyFile::new(&home, "software");
    agent.ssh_add([software.path()]).run().succeeds();
    for arguments in [&["list"][..], &["list", "--json"]] {
        let listed = agent.command("hardkey").args(arguments).run().succeeds().stdout;
        for fingerprint in token.publics().chain([software.public()]).map(|key| key.fingerprint()) {
            assert!(listed.contains(fingerprint), "{fingerprint} is not in {listed}");
        }
    }
}

//= RFC 9987 section 3: clients of the agent SHOULD be prepared to fail gracefully if any operation is refused
#[test]
fn list_without_an_agent_looks_at_the_modules() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &Key::USUAL);
    home.file("config/hardkey/config.toml", Agent::with(&home).module(Module::of(&token)).configuration());
    let listed = home.command("hardkey").arg("list").run().succeeds().stdout;
    for key in token.publics() {
        assert!(listed.contains(key.fingerprint()), "{listed}");
    }
}

#[test]
fn json_is_json() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &Key::USUAL);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    let listed = agent.command("hardkey").args(["list", "--json"]).run().succeeds().stdout;
    serde_json::from_str::<serde_json::Value>(&listed).expect("JSON");
}

#[test]
fn pub_prints_lines_that_authorized_keys_takes() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &Key::USUAL);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    let printed = agent.command("hardkey").arg("pub").run().succeeds().stdout;
    assert_eq!(printed.lines().count(), 3, "{printed}");
    for key in token.publics() {
        assert!(printed.lines().any(|line| line.starts_with(&key.line())), "{printed}");
    }
}

#[test]
fn pub_selects_by_uri_fingerprint_and_comment() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &Key::USUAL);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    let wanted = token.public(Key::Ed25519);
    let listed = agent.client().list().expect("a list");
    let comment = &listed.iter().find(|(blob, _)| *blob == wanted.blob()).expect("the Ed25519 key").1;
    for selector in ["pkcs11:object=ed25519", wanted.fingerprint(), comment] {
        let printed = agent.command("hardkey").args(["pub", selector]).run().succeeds().stdout;
        assert_eq!(printed.lines().count(), 1, "{selector}: {printed}");
        assert!(printed.starts_with(&wanted.line()), "{selector}: {printed}");
    }
    agent.command("hardkey").args(["pub", "no such key"]).run().fails();
}

#[test]
fn a_label_cannot_smuggle_in_a_line() {
    if stock_cannot(COMMAND) {
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
        "nice\nssh-ed25519 AAAA evil",
        "--usage-sign",
    ]);
    let agent = Agent::with(&home).module(Module::of(&token)).start();
    for (program, arguments) in [("hardkey", &["pub"][..]), ("ssh-add", &["-L"])] {
        let printed = agent.command(program).args(arguments).run().succeeds().stdout;
        assert_eq!(printed.lines().count(), 2, "{printed}");
        assert!(printed.lines().all(|line| line.starts_with("ecdsa-sha2-nistp256 ")), "{printed}");
    }
}
