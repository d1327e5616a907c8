//! The configuration file: what is refused, what is said, what is selected.

use hsm_tests::{Agent, AgentBuilder, Home, Key, Module, Token, TokenKind as _, Tpm, agent_binary, stock_cannot};

const READ: &str = "read a configuration file";

/// The text with which an agent with this configuration refuses to start.
fn refusal(agent: &AgentBuilder) -> String {
    agent.command().run().fails().stderr
}

#[test]
fn an_unknown_key_is_refused_with_file_and_line() {
    if stock_cannot(READ) {
        return;
    }
    let home = Home::new();
    let agent = Agent::with(&home).line("# a comment").line("no-such-key = 1");
    let text = refusal(&agent);
    assert!(text.contains("agent.toml") && text.contains("no-such-key"), "{text}");
    assert!(text.contains(":3") || text.contains("line 3"), "{text}");
}

#[test]
fn an_unknown_key_of_a_module_is_refused_with_file_and_line() {
    if stock_cannot(READ) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).module(Module::of(&token).line("no-such-key = 1"));
    let line = 1 + agent
        .configuration()
        .lines()
        .position(|line| line.starts_with("no-such-key"))
        .expect("the line just added");
    let text = refusal(&agent);
    assert!(text.contains("agent.toml") && text.contains("no-such-key"), "{text}");
    assert!(text.contains(&format!(":{line}")) || text.contains(&format!("line {line}")), "{text}");
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    if stock_cannot(READ) {
        return;
    }
    let home = Home::new();
    let module = || Module::at("/usr/lib/module.so");
    for (what, agent) in [
        ("path", Agent::with(&home).module(Module::at("relative/module.so"))),
        ("timeout", Agent::with(&home).module(module().line("timeout = 'soon'"))),
        ("workers", Agent::with(&home).module(module().line("workers = 0"))),
        ("keys", Agent::with(&home).module(module().keys(&["pkcs11:no-such-attribute"]))),
        ("keys", Agent::with(&home).module(module().keys(&["neither uri nor fingerprint"]))),
        ("timeout", Agent::with(&home).prompt("timeout = 5")),
    ] {
        let text = refusal(&agent);
        assert!(text.contains("agent.toml"), "{what}: {text}");
    }
}

#[test]
fn a_file_that_was_named_must_exist() {
    if stock_cannot(READ) {
        return;
    }
    let home = Home::new();
    let missing = home.path("missing.toml");
    let start = || home.command(agent_binary()).args(["agent", "-D", "-a"]).arg(home.path("run/s"));
    for outcome in [start().arg("--config").arg(&missing).run(), start().env("HARDKEY_CONFIG", &missing).run()] {
        assert!(outcome.fails().stderr.contains("missing.toml"));
    }
}

#[test]
fn the_file_is_found_by_option_variable_and_default() {
    if stock_cannot(READ) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let content = Agent::with(&home).module(Module::of(&token)).configuration();
    let list = || home.command(agent_binary()).arg("agent");
    let command = ["--", "ssh-add", "-l"];

    let named = home.file("named.toml", &content);
    list().arg("--config").arg(&named).args(command).run().succeeds();
    list().env("HARDKEY_CONFIG", &named).args(command).run().succeeds();
    assert_eq!(
        list().env("HARDKEY_CONFIG", home.file("empty.toml", "discover = false\n")).args(command).run().code(),
        Some(1)
    );
    home.file("config/hardkey/config.toml", &content);
    list().args(command).run().succeeds();
}

#[test]
fn a_missing_module_is_named_and_the_rest_works() {
    if stock_cannot(READ) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let mut agent =
        Agent::with(&home).module(Module::at("/usr/lib/no-such-module.so")).module(Module::of(&token)).start();
    agent.wait_for_log("/usr/lib/no-such-module.so");
    assert_eq!(agent.comments().len(), 1, "{}", agent.log());
    agent.signs(token.public(Key::P256)).run().succeeds();
}

#[test]
fn modules_known_to_p11_kit_are_used_when_asked() {
    if stock_cannot(READ) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    home.directory("config/pkcs11/modules");
    home.file("config/pkcs11/modules/test.module", format!("module: {}\n", token.library().display()));
    let keys = |line: &str| {
        let file = home.file("discover.toml", format!("{line}\n"));
        let list = home.command(agent_binary()).arg("agent").arg("--config").arg(file).args(["--", "ssh-add", "-L"]);
        list.envs(token.environment()).run().stdout
    };
    let key = token.public(Key::P256).line();
    assert!(keys("discover = true").contains(&key));
    assert!(keys("").contains(&key), "discovery is the default");
    assert!(!keys("discover = false").contains(&key));
}

#[test]
fn a_tpm_is_found_by_what_its_package_installs() {
    if stock_cannot(READ) {
        return;
    }
    let home = Home::new();
    let tpm = Tpm::new(&home);
    let list = home.command(agent_binary()).args(["list", "--json"]);
    let file = home.file("discover.toml", "");
    let module = tpm.module();
    let listed = list.arg("--config").arg(file).envs(module.environment().iter().cloned()).run().succeeds().stdout;
    assert_eq!(listed.matches("libtpm2_pkcs11.so").count(), 4, "{listed}");
}

#[test]
fn keys_are_selected_by_label_id_type_and_fingerprint() {
    if stock_cannot("select keys") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &Key::USUAL);
    let fingerprint = token.public(Key::Ed25519).fingerprint();
    let by_token = format!("pkcs11:token={};id=%01", token.label());
    let everything: &[Key] = &Key::USUAL;
    let cases: &[(&[&str], &[Key])] = &[
        (&["pkcs11:"], everything),
        (&["pkcs11:object=p256"], &[Key::P256]),
        (&["pkcs11:id=%03"], &[Key::Ed25519]),
        (&[by_token.as_str()], &[Key::Rsa2048]),
        (&[fingerprint], &[Key::Ed25519]),
        (&["pkcs11:object=rsa", fingerprint], &[Key::Rsa2048, Key::Ed25519]),
        (&["pkcs11:token=another"], &[]),
        (&["pkcs11:object=p25"], &[]),
    ];
    for (number, (selectors, expected)) in cases.iter().enumerate() {
        let agent =
            Agent::with(&home).named(&format!("agent{number}")).module(Module::of(&token).keys(selectors)).start();
        let mut listed: Vec<Vec<u8>> =
            agent.client().list().expect("a list").into_iter().map(|(blob, _)| blob).collect();
        let mut wanted: Vec<Vec<u8>> = expected.iter().map(|key| token.public(*key).blob()).collect();
        listed.sort();
        wanted.sort();
        assert_eq!(listed, wanted, "{selectors:?}");
        for key in Key::USUAL {
            let outcome = agent.signs(token.public(key)).run();
            assert_eq!(outcome.status.success(), expected.contains(&key), "{selectors:?} {key:?} {}", outcome.report());
        }
    }
}
