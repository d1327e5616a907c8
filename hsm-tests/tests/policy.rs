//! The user's rules and the administrator's, as a running agent keeps them.

use std::fs;

use hsm_tests::{
    Agent, AgentBuilder, Answer, Home, Key, KeyFile, Module, Pinentry, SOON, Signal, Sshd, Token, signal, stock_cannot,
    until,
};

const RULES: &str = "read rules";

/// This very test: a program that no agent knows, and that relays nothing.
fn this_program() -> String {
    let path = std::env::current_exe().expect("a path").display().to_string();
    format!("[[process]]\nexe = '{path}'\nrelays = false")
}

/// The agent with a key in memory.
fn with_key(home: &Home, agent: AgentBuilder) -> (Agent, KeyFile) {
    let key = KeyFile::new(home, "key");
    let agent = agent.start();
    agent.ssh_add(["-q"]).arg(key.path()).run().succeeds();
    (agent, key)
}

fn signs(agent: &Agent, key: &KeyFile) -> bool {
    agent.client().sign(&key.public().blob(), b"data", 0).is_some()
}

/// Octets that a program logs in with. They are never sent to a server.
fn login(key: &KeyFile, user: &str) -> Vec<u8> {
    hsm_tests::login(b"session", user, key.public(), None)
}

#[test]
fn a_program_that_the_user_says_relays_nothing_logs_in_silently() {
    if stock_cannot(RULES) {
        return;
    }
    let home = Home::new();
    let (agent, key) = with_key(&home, Agent::with(&home).line(&this_program()));
    let data = login(&key, "dev");
    assert!(agent.client().sign(&key.public().blob(), &data, 0).is_some(), "{}", agent.log());
    assert!(!signs(&agent, &key), "data of unknown meaning are asked about, and nobody is there to ask");
    let others = Agent::with(&home).named("others").line(&this_program().replace("relays = false", "argv = ['none']"));
    let others = others.start();
    others.ssh_add(["-q"]).arg(key.path()).run().succeeds();
    assert!(others.client().sign(&key.public().blob(), &data, 0).is_none());
}

#[test]
fn a_rule_of_a_key_refuses_and_says_where_it_stands() {
    if stock_cannot(RULES) {
        return;
    }
    let home = Home::new();
    let key = KeyFile::new(&home, "work");
    let fingerprint = key.public().fingerprint().to_owned();
    let lines =
        format!("[[key]]\nmatch = '{fingerprint}'\nname = 'work'\n[[key.rule]]\nuser = 'nobody'\naction = 'deny'");
    let mut agent = Agent::with(&home).line(&this_program()).line(&lines).start();
    agent.ssh_add(["-q"]).arg(key.path()).run().succeeds();
    let blob = key.public().blob();
    assert!(agent.client().sign(&blob, &login(&key, "somebody"), 0).is_some(), "{}", agent.log());
    assert!(agent.client().sign(&blob, &login(&key, "nobody"), 0).is_none());
    agent.wait_for_log("rule 1 of key work");
    agent.wait_for_log("agent.toml:8");
}

#[test]
fn a_key_for_certain_hosts_is_offered_and_used_there_only() {
    if stock_cannot(RULES) {
        return;
    }
    let home = Home::new();
    let key = KeyFile::new(&home, "key");
    let sshd = Sshd::start(&home, [key.public()]);
    for (name, hosts, lets_in) in [("here", "sshd", true), ("elsewhere", "other.example", false)] {
        let lines = format!("[[key]]\nmatch = '*'\nhosts = ['{hosts}']");
        let agent = Agent::with(&home).named(name).line(&lines).start();
        agent.ssh_add(["-q"]).arg(key.path()).run().succeeds();
        let offered = agent.ssh(&sshd).args(["-v", "-o", "IdentityFile=none", "box", "true"]).run();
        assert_eq!(offered.status.success(), lets_in, "{}", offered.report());
        assert_eq!(offered.stderr.contains(key.public().fingerprint()), lets_in, "{}", offered.report());
        // A client that has the public key does not need the list.
        assert_eq!(sshd.login(&agent, key.public()).status.success(), lets_in, "{}", agent.log());
        assert_eq!(agent.listed().len(), 1, "a local list has every key");
        let signature = agent.signs(key.public()).run();
        assert!(!signature.status.success(), "nothing but logins: {}", agent.log());
    }
}

#[test]
fn forwarding_is_silent_where_the_user_wants_it_and_nowhere_else() {
    if stock_cannot(RULES) {
        return;
    }
    let home = Home::new();
    let key = KeyFile::new(&home, "key");
    let sshd = Sshd::start(&home, [key.public()]);
    let rule =
        |via: &str| format!("[[key]]\nmatch = 'key*'\n[[key.rule]]\nvia = '{via}'\nhost = 'sshd'\naction = 'notify'");
    for (name, lines, passes) in [
        ("named", format!("[forwarding]\nsilent = true\n{}", rule("sshd")), true),
        ("switched-off", rule("sshd"), false),
        ("other-hop", format!("[forwarding]\nsilent = true\n{}", rule("other")), false),
    ] {
        let mut agent = Agent::with(&home).named(name).line(&lines).start();
        agent.ssh_add(["-q"]).arg(key.path()).run().succeeds();
        let config = sshd.client_configuration().display().to_string();
        let there = format!("ssh -F {config} box echo arrived");
        let outcome = agent.ssh(&sshd).args(["-A", "box", &there]).run();
        assert_eq!(outcome.stdout.contains("arrived"), passes, "{name}: {}\n{}", outcome.report(), agent.log());
        if passes {
            agent.wait_for_log("forwarded-verified: log in as");
        }
    }
}

#[test]
fn a_touch_that_nobody_can_demand_is_a_refusal_that_says_so() {
    if stock_cannot(RULES) {
        return;
    }
    let home = Home::new();
    let rule = "[[rule]]\nkind = 'raw'\naction = 'touch'";
    let (mut agent, key) = with_key(&home, Agent::with(&home).line(rule));
    agent.signs(key.public()).run().fails();
    agent.wait_for_log("not on a device");
}

#[test]
fn a_pin_that_a_rule_demands_is_typed_for_each_signature_and_costs_no_try() {
    if stock_cannot(RULES) {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]).spied();
    let wrong = Answer::Type("000000");
    let right = Answer::Type(token.pin());
    let pinentry = Pinentry::new(&home, &[right, right, wrong, Answer::Cancel]);
    let agent =
        Agent::with(&home).line("[[rule]]\naction = ['pin']").module(Module::of(&token)).pinentry(&pinentry).start();
    for (asked, signs) in [(1, true), (2, true), (3, false), (4, false)] {
        let outcome = agent.signs(token.public(Key::P256)).run();
        assert_eq!((outcome.status.success(), pinentry.pins_asked()), (signs, asked), "{}", agent.log());
    }
    assert_eq!(token.calls("C_Login"), 1, "the wrong PIN was never presented");
}

#[test]
fn a_rule_serves_no_more_often_than_it_says() {
    if stock_cannot(RULES) {
        return;
    }
    let home = Home::new();
    let rule = "[[rule]]\nkind = 'raw'\naction = 'allow'\nrate = { count = 2, per = '1h' }";
    let (mut agent, key) = with_key(&home, Agent::with(&home).line(rule));
    agent.signs(key.public()).run().succeeds();
    agent.signs(key.public()).run().succeeds();
    agent.signs(key.public()).run().fails();
    agent.wait_for_log("2 signatures in 3600 s are served");
}

#[test]
fn a_new_file_counts_at_once_and_a_broken_one_not_at_all() {
    if stock_cannot(RULES) {
        return;
    }
    let home = Home::new();
    let (mut agent, key) = with_key(&home, Agent::with(&home));
    let signs = |agent: &Agent| agent.signs(key.public()).run().status.success();
    assert!(signs(&agent));
    let file = home.path("agent.toml");
    let deny = "discover = false\n[[rule]]\naction = 'deny'\n";
    fs::write(&file, deny).expect("write");
    agent.wait_for_log("a new policy is in force");
    assert!(!signs(&agent));
    for broken in ["[[rule]]\naction = 'allow it'\n", "[[rule]\n", "\u{0}", &"#".repeat(2 << 20)] {
        fs::write(home.path("next.toml"), broken).expect("write");
        let complaints = || agent.log().matches("the earlier policy stays in force").count();
        let before = complaints();
        fs::rename(home.path("next.toml"), &file).expect("rename");
        assert!(until(SOON, || complaints() > before), "{}", agent.log());
        assert!(!signs(&agent));
    }
    fs::remove_file(&file).expect("remove");
    signal(agent.pid(), Signal::HUP);
    assert!(until(SOON, || signs(&agent)), "without a file the defaults are in force: {}", agent.log());
}

#[test]
fn hang_up_reads_the_file_again() {
    if stock_cannot(RULES) {
        return;
    }
    let home = Home::new();
    let folder = home.directory("real");
    let (mut agent, key) = with_key(&home, Agent::with(&home));
    // Where the file is a link, what it leads to may be in a folder that appeared later.
    fs::write(folder.join("policy.toml"), "[[rule]]\naction = 'deny'\n").expect("write");
    fs::remove_file(home.path("agent.toml")).expect("remove");
    std::os::unix::fs::symlink(folder.join("policy.toml"), home.path("agent.toml")).expect("link");
    signal(agent.pid(), Signal::HUP);
    agent.wait_for_log("a new policy is in force");
    agent.signs(key.public()).run().fails();
    fs::write(folder.join("policy.toml"), "").expect("write");
    assert!(until(SOON, || agent.signs(key.public()).run().status.success()), "{}", agent.log());
    assert!(!agent.has_ended());
}

#[test]
fn users_add_to_the_administrators_rules_and_take_nothing_away() {
    if stock_cannot(RULES) {
        return;
    }
    let home = Home::new();
    let floor = home.file("floor.toml", "[[rule]]\nkind = 'raw'\naction = 'deny'\n");
    let (mut agent, key) =
        with_key(&home, Agent::with(&home).as_stock().line("[[rule]]\naction = 'allow'").env("HARDKEY_FLOOR", &floor));
    assert!(!signs(&agent, &key));
    agent.wait_for_log("administrator's rule 1");
    assert!(agent.client().sign(&key.public().blob(), &login(&key, "dev"), 0).is_some(), "{}", agent.log());
}

#[test]
fn a_floor_that_cannot_be_read_stops_everything_and_is_told() {
    if stock_cannot(RULES) {
        return;
    }
    let home = Home::new();
    let floor = home.file("floor.toml", "[[rule]]\naction = 'dney'\n");
    let (mut agent, key) = with_key(&home, Agent::with(&home).as_stock().env("HARDKEY_FLOOR", &floor));
    agent.wait_for_log("nothing is signed: the administrator's file");
    agent.signs(key.public()).run().fails();
    agent.wait_for_log("floor.toml cannot be used: line 2");
}
