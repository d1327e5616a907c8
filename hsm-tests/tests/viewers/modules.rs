//! Modules that turn against the agent: their workers run its own program, and are nobody to consent.

use faulty_module::{Entry, Outcome, hexadecimal, octets};
use hsm_tests::{FaultyToken, login};

use super::*;

/// A frame around a message.
fn frame(message: &[u8]) -> Vec<u8> {
    Body::nothing().string(message).bytes()
}

/// What one of our own extensions is asked, in a frame.
fn own(extension: &str, content: &[u8]) -> Vec<u8> {
    frame(&Body::new(Client::EXTENSION).string(format!("{extension}@hardkey.github.io")).raw(content).bytes())
}

/// Has the module do its mischief within a signature; what came of it.
fn within_a_signature(agent: &Agent, token: &FaultyToken, fault: &str) -> String {
    token.forget_calls();
    token.set(&format!("C_Sign {fault}"));
    agent.signs(token.public(Key::P256)).run().succeeds();
    token.clear();
    let came = |entry: &Entry| match &entry.outcome {
        Outcome::Fault(fault) => fault.split_once(':').map(|(_, octets)| octets.to_owned()),
        Outcome::Returned(_) => None,
    };
    let entries = token.calls.entries().expect("the calls");
    entries.iter().find_map(came).unwrap_or_else(|| panic!("{fault}: nothing came of it: {entries:?}"))
}

/// What a command printed that the module ran.
fn printed(agent: &Agent, token: &FaultyToken, command: &str) -> String {
    let came = within_a_signature(agent, token, &format!("run {command}"));
    String::from_utf8_lossy(&octets(&came).expect("hexadecimal")).into_owned()
}

#[test]
fn a_module_neither_sees_nor_answers_questions_nor_learns_of_approvals() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "hostile", &[Key::P256]);
    let agent = bare(&home).module(token.module()).start();
    let key = careful_key(&home, &agent);
    let pane = viewer(&home, &agent, "viewer");
    let mut asking = asking(&agent, &key, "asking");
    pane.shows(READY);
    let number = listed(&agent)[0]["number"].as_u64().expect("a number");
    let yes = Body::nothing().string("answer").raw(&number.to_be_bytes()).string("allow").bytes();
    let attempts = [
        own("prompts", &yes),
        own("prompts", &Body::nothing().string("list").bytes()),
        own("prompts", &Body::nothing().string("watch").raw(&[0; 8]).bytes()),
        own("approvals", &Body::nothing().string("list").bytes()),
        own("explain", &[]),
        own("release", &[]),
    ];
    let refused = hexadecimal(&frame(&[Client::EXTENSION_FAILURE]));
    for from in ["", " forked", " orphaned"] {
        for attempt in &attempts {
            let fault = format!("tell {} {}{from}", agent.socket().display(), hexadecimal(attempt));
            assert_eq!(within_a_signature(&agent, &token, &fault), refused, "{fault}");
        }
    }
    assert!(is_alive(asking.pid()) && waiting(&agent) == 1, "the module's yes counted");
    pane.types(&["yes", "Enter"]);
    assert!(asking.ends(SOON).success(), "{}", agent.log());
}

#[test]
fn a_module_that_may_run_programs_is_not_hardkey_by_running_it() {
    if stock_cannot(COMMAND) {
        return;
    }
    // Out of its sandbox or in one in which it may run programs.
    ["sandbox = { run = true }", "sandbox = \"off\""].into_iter().for_each(runs_hardkey);
}

fn runs_hardkey(sandbox: &str) {
    let home = Home::new();
    let token = FaultyToken::new(&home, "hostile", &[Key::P256]);
    let agent = bare(&home).module(token.module().line(sandbox)).start();
    let (socket, hardkey) = (agent.socket().display(), agent_binary());
    for around in [("", ""), ("(", ")"), ("/usr/bin/setsid ", ""), ("/usr/bin/setsid -f ", " 2>&1 | /bin/cat")] {
        let command = format!("{}{} approvals{}", around.0, hardkey.display(), around.1);
        let said = printed(&agent, &token, &format!("export SSH_AUTH_SOCK={socket}; {command}"));
        assert!(said.contains("to hardkey on its own machine only"), "{sandbox} {around:?}: {said}");
    }
    // The same from where a person types it.
    let own = agent.command("hardkey").arg("approvals").run().succeeds();
    assert_eq!(own.stdout, "no approvals\n");
}

#[test]
fn what_a_module_wants_signed_is_asked_about_until_it_is_silenced_whatever_it_runs_for_that() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let token = FaultyToken::new(&home, "hostile", &[Key::P256]);
    let key = KeyFile::new(&home, "software");
    let pinentry = Pinentry::new(&home, &[Answer::No; 4]);
    let allowed = "[[process]]\nexe = \"*/hardkey\"\nrelays = false\naction = \"allow\"";
    let token_rule = "[[rule]]\nkey = \"P256*\"\naction = \"allow\"";
    let agent = Agent::with(&home)
        .module(token.module().line("sandbox = { run = true }"))
        .pinentry(&pinentry)
        .line(allowed)
        .line(token_rule)
        .start();
    agent.ssh_add([key.path()]).run().succeeds();
    let login = login(b"session", "root", key.public(), None);
    let request = frame(&Body::new(Client::SIGN).string(key.public().blob()).string(login).u32(0).bytes());
    let refused = hexadecimal(&frame(&[Client::FAILURE]));
    for (asked, from) in ["", " forked", " orphaned"].into_iter().enumerate() {
        let fault = format!("tell {} {}{from}", agent.socket().display(), hexadecimal(&request));
        assert_eq!(within_a_signature(&agent, &token, &fault), refused, "{fault}\n{}", agent.log());
        assert_eq!(pinentry.confirms_asked(), asked + 1, "{}", agent.log());
    }
    let sign = format!(
        "echo data | SSH_AUTH_SOCK={} ssh-keygen -Y sign -n file -f {} 2>&1",
        agent.socket().display(),
        key.public().path().display()
    );
    let said = printed(&agent, &token, &sign);
    assert!(!said.contains("BEGIN SSH SIGNATURE"), "{said}");
    let dialogs = pinentry.descriptions();
    eprintln!("{}", dialogs.join("\n\n"));
    assert_eq!(dialogs.len(), 3, "another program is no other source");
    let refusal = agent.log();
    let refusal = refusal.lines().find(|line| line.contains("the last requests were denied")).expect("a refusal");
    assert!(refusal.contains("the module of a token started it"), "{refusal}");
    assert!(dialogs.iter().all(|text| text.starts_with("UNVERIFIED REQUEST - may come from elsewhere\n")));
}
