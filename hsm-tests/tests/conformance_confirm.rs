//! Keys that are used with consent only (`ssh-add -c`): what askpass is told, and what counts as a yes.

use std::fs;

use hsm_tests::{Agent, AgentBuilder, Body, Client, Home, KeyFile, SOON, is_stock, stock_cannot, until};

/// An agent that finds no dialog program but the askpass it is told of.
fn agent(home: &Home) -> AgentBuilder {
    Agent::with(home).as_stock().env("PATH", home.path("bin"))
}

/// A key that has to be confirmed, in the agent.
fn careful_key(home: &Home, agent: &Agent) -> Vec<u8> {
    // A test may have made one for another agent.
    let _ = fs::remove_file(home.path("home/careful"));
    let key = KeyFile::new(home, "careful");
    let request = Body::new(Client::ADD_CONSTRAINED).raw(&key.as_added()).raw(&[2]).bytes();
    assert!(agent.client().succeeds(&request));
    key.public().blob()
}

/// An askpass that writes down how it is called, prints `output` and ends with `status`.
fn askpass(home: &Home, output: &str, status: u8) -> std::path::PathBuf {
    let output = home.file("output", output);
    let script = format!(
        "#!/bin/sh\necho \"$# ${{SSH_ASKPASS_PROMPT-unset}}\" >>'{called}'\nprintf '%s' \"$1\" >'{text}'\n/bin/cat '{output}'\nexit {status}\n",
        called = home.path("called").display(),
        text = home.path("text").display(),
        output = output.display(),
    );
    home.program("askpass", script)
}

fn calls(home: &Home) -> Vec<String> {
    fs::read_to_string(home.path("called")).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_yes_is_exit_status_0_with_yes_or_nothing() {
    let home = Home::new();
    let program = askpass(&home, "", 0);
    let agent = agent(&home).env("SSH_ASKPASS", &program).env("SSH_ASKPASS_REQUIRE", "force").start();
    let key = careful_key(&home, &agent);
    for (output, status, allowed) in [
        ("", 0, true),
        ("\n", 0, true),
        ("yes", 0, true),
        ("yes\n", 0, true),
        ("YES\n", 0, true),
        ("Yes\r\n", 0, true),
        ("yes\nno\n", 0, true),
        ("no\n", 0, false),
        ("y\n", 0, false),
        ("yes please\n", 0, false),
        (" yes\n", 0, false),
        ("true\n", 0, false),
        ("\u{ff59}es\n", 0, false),
        ("yes\n", 1, false),
        ("", 1, false),
        ("", 255, false),
    ] {
        askpass(&home, output, status);
        let signed = agent.client().sign(&key, b"data", 0).is_some();
        assert_eq!(signed, allowed, "{output:?} with status {status}");
    }
}

#[test]
fn the_question_names_the_key_in_the_words_of_stock() {
    for (arguments, kind) in [(&[][..], "SHA256"), (&["-E", "md5"], "MD5"), (&["-E", "sha256"], "SHA256")] {
        let home = Home::new();
        let program = askpass(&home, "", 0);
        let builder = agent(&home).env("SSH_ASKPASS", &program).env("SSH_ASKPASS_REQUIRE", "force");
        let agent = arguments.iter().fold(builder, |builder, argument| builder.arg(*argument)).start();
        let key = careful_key(&home, &agent);
        assert!(agent.client().sign(&key, b"data", 0).is_some());
        assert_eq!(calls(&home), ["1 confirm"], "one argument, and the hint that it is a question");
        let described = home.command("ssh-keygen").args(["-l", "-E", kind, "-f"]).arg(home.path("home/careful.pub"));
        let described = described.run().succeeds().stdout;
        let fingerprint = described.split(' ').nth(1).expect("a fingerprint");
        assert!(fingerprint.starts_with(&format!("{kind}:")), "{fingerprint}");
        let text = fs::read_to_string(home.path("text")).expect("the question");
        assert_eq!(text, format!("Allow use of key careful?\nKey fingerprint {fingerprint}."));
    }
}

#[test]
fn a_comment_cannot_make_the_question_say_something_else() {
    if stock_cannot("keep a comment on its line") {
        return;
    }
    let home = Home::new();
    let program = askpass(&home, "", 0);
    let agent = agent(&home).env("SSH_ASKPASS", &program).env("SSH_ASKPASS_REQUIRE", "force").start();
    let key = KeyFile::new(&home, "key");
    let added = key.as_added();
    let request = Body::new(Client::ADD_CONSTRAINED)
        .raw(&added[..added.len() - 7])
        .string("key?\nThis is fine\u{202e}")
        .raw(&[2]);
    assert!(agent.client().succeeds(&request.bytes()));
    assert!(agent.client().sign(&key.public().blob(), b"data", 0).is_some());
    let text = fs::read_to_string(home.path("text")).expect("the question");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.is_ascii(), "{text}");
}

#[test]
fn the_environment_decides_whether_anybody_can_be_asked() {
    for (variables, asked, asked_by_stock) in [
        (&[][..], false, false),
        (&[("DISPLAY", ":0")], true, true),
        (&[("DISPLAY", "")], false, false),
        // Stock knows Wayland from 9.8 on.
        (&[("WAYLAND_DISPLAY", "wayland-0")], true, false),
        (&[("SSH_ASKPASS_REQUIRE", "force")], true, true),
        (&[("SSH_ASKPASS_REQUIRE", "FORCE")], true, true),
        (&[("SSH_ASKPASS_REQUIRE", "prefer")], false, false),
        (&[("DISPLAY", ":0"), ("SSH_ASKPASS_REQUIRE", "prefer")], true, true),
        (&[("DISPLAY", ":0"), ("SSH_ASKPASS_REQUIRE", "never")], false, false),
        (&[("DISPLAY", ":0"), ("SSH_ASKPASS_REQUIRE", "nonsense")], true, true),
    ] {
        let home = Home::new();
        // Where it is not forced, a yes needs a moment to be meant.
        let program = home.program(
            "unhurried",
            format!("#!/bin/sh\n/bin/sleep 0.8\nexec '{}' \"$@\"\n", askpass(&home, "", 0).display()),
        );
        let agent = agent(&home).env("SSH_ASKPASS", &program).envs(variables.iter().copied()).start();
        let key = careful_key(&home, &agent);
        let expected = if is_stock() { asked_by_stock } else { asked };
        assert_eq!(agent.client().sign(&key, b"data", 0).is_some(), expected, "{variables:?}\n{}", agent.log());
        assert_eq!(calls(&home).len(), usize::from(expected), "{variables:?}");
    }
}

#[test]
fn no_program_is_no_consent() {
    let home = Home::new();
    for program in [home.path("nonexistent"), home.file("not-executable", "#!/bin/sh\n"), home.directory("directory")] {
        let agent = agent(&home)
            .named(&program.file_name().expect("a name").to_string_lossy())
            .env("SSH_ASKPASS", &program)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .start();
        let key = careful_key(&home, &agent);
        assert_eq!(agent.client().sign(&key, b"data", 0), None, "{}", program.display());
    }
}

#[test]
fn a_program_that_is_killed_is_no_consent() {
    let home = Home::new();
    let program = home.program("askpass", "#!/bin/sh\necho yes\nkill -9 $$\n");
    let agent = agent(&home).env("SSH_ASKPASS", &program).env("SSH_ASKPASS_REQUIRE", "force").start();
    let key = careful_key(&home, &agent);
    assert_eq!(agent.client().sign(&key, b"data", 0), None);
}

#[test]
fn a_program_that_talks_without_end_does_not_fill_the_memory() {
    let home = Home::new();
    let program = home.program("askpass", "#!/bin/sh\nexec /usr/bin/yes\n");
    let agent = agent(&home).env("SSH_ASKPASS", &program).env("SSH_ASKPASS_REQUIRE", "force").start();
    let key = careful_key(&home, &agent);
    let before = hsm_tests::resident_memory(agent.pid());
    let _ = agent.client().sign(&key, b"data", 0);
    assert!(hsm_tests::resident_memory(agent.pid()) < before + (10 << 20));
}

#[test]
fn an_open_question_holds_up_nobody_and_closes_with_its_client() {
    if stock_cannot("serve others while a question is open") {
        return;
    }
    let home = Home::new();
    // Waits until it is killed, as somebody does who is not at the desk.
    let program = home.program(
        "askpass",
        format!("#!/bin/sh\necho $$ >>'{}'\nexec /bin/sleep 1000\n", home.path("called").display()),
    );
    let agent = agent(&home).env("SSH_ASKPASS", &program).env("SSH_ASKPASS_REQUIRE", "force").start();
    let careful = careful_key(&home, &agent);
    let careless = KeyFile::new(&home, "careless");
    assert!(agent.client().succeeds(&Body::new(Client::ADD).raw(&careless.as_added()).bytes()));

    let sign = Body::new(Client::SIGN).string(&careful).string("data").u32(0).bytes();
    let (mut first, mut second) = (agent.client(), agent.client());
    first.send(&sign);
    assert!(until(SOON, || calls(&home).len() == 1), "no question is asked");
    second.send(&sign);
    assert_eq!(agent.client().list().expect("a list").len(), 2);
    assert!(agent.client().sign(&careless.public().blob(), b"data", 0).is_some());
    assert_eq!(calls(&home).len(), 1, "two questions are open at once");

    drop(first);
    assert!(until(SOON, || calls(&home).len() == 2), "the second question is not asked after the first");
    let pid = |line: &String| hsm_tests::Pid::from_raw(line.parse().expect("a number")).expect("a process id");
    assert!(!hsm_tests::is_alive(pid(&calls(&home)[0])), "the first question outlives its client");
    drop(second);
    assert!(until(SOON, || !hsm_tests::is_alive(pid(&calls(&home)[1]))), "the second question outlives its client");
}

#[test]
fn a_question_closes_with_the_agent_even_if_that_is_killed() {
    if stock_cannot("close its questions when it is killed") {
        return;
    }
    let home = Home::new();
    // A shell that waits for another program, as many an askpass is.
    let script = format!("#!/bin/sh\n/bin/sleep 1000 &\necho $$ $! >>'{}'\nwait\n", home.path("called").display());
    let program = home.program("askpass", script);
    let agent = agent(&home).env("SSH_ASKPASS", &program).env("SSH_ASKPASS_REQUIRE", "force").start();
    let careful = careful_key(&home, &agent);
    let mut client = agent.client();
    client.send(&Body::new(Client::SIGN).string(&careful).string("data").u32(0).bytes());
    assert!(until(SOON, || calls(&home).len() == 1), "no question is asked");
    hsm_tests::kill(agent.pid());
    let pid = |number: &str| hsm_tests::Pid::from_raw(number.parse().expect("a number")).expect("a process id");
    let shown: Vec<_> = calls(&home)[0].split(' ').map(pid).collect();
    assert!(until(SOON, || !shown.iter().any(|pid| hsm_tests::is_alive(*pid))), "the question outlives the agent");
}

#[test]
fn an_askpass_that_is_not_there_is_named_in_the_log() {
    if stock_cannot("say so") {
        return;
    }
    let home = Home::new();
    let mut agent = agent(&home).env("SSH_ASKPASS", "/nonexistent/askpass").env("SSH_ASKPASS_REQUIRE", "force").start();
    let careful = careful_key(&home, &agent);
    assert_eq!(agent.client().sign(&careful, b"data", 0), None);
    agent.wait_for_log("/nonexistent/askpass: No such file or directory");
}
