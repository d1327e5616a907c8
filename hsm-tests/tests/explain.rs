//! `hardkey explain`: where requests come from and what follows.

use hsm_tests::{Agent, Body, Client, Home, KeyFile, SOON, Sshd, Task, stock_cannot, until};

const COMMAND: &str = "explain itself";

fn explain(agent: &Agent) -> Task {
    agent.command("hardkey").arg("explain")
}

#[test]
fn a_login_and_what_came_of_it_are_told_when_the_ssh_has_gone() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let (agent, key) = (Agent::start(&home), KeyFile::new(&home, "key"));
    assert!(explain(&agent).run().succeeds().stdout.contains("nothing has been judged yet"));
    agent.ssh_add([key.path()]).run().succeeds();
    let sshd = Sshd::start(&home, [key.public()]);
    agent.ssh(&sshd).args(["box", "true"]).run().succeeds();
    agent.ssh(&sshd).args(["-A", "box", "ssh-add -D"]).run().fails();

    let told = explain(&agent).args(["--last", "64"]).run().succeeds().stdout;
    let (latest, before) = told.split_once("\n\n").expect("judgements").1.split_once("\n\n").expect("several");
    for part in [
        "ssh -F ",
        "a change of the agent",
        "forwarded-known-hop",
        "the first hop is proved",
        "then     refused: the agent is managed by",
    ] {
        assert!(latest.contains(part), "{part} is not in {latest}");
    }
    for part in ["bound to its host", "local-direct", "logging in for itself", "then     allowed"] {
        assert!(before.contains(part), "{part} is not in {before}");
    }
    let one = explain(&agent).args(["--last", "1"]).run().succeeds().stdout;
    assert_eq!(one.matches("class").count(), 1, "{one}");

    let document = explain(&agent).arg("--json").run().succeeds().stdout;
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    let pid = document["judged"][0]["pid"].to_string();
    let rules = explain(&agent).arg(&pid).run().succeeds().stdout;
    assert_eq!(rules.matches("class").count(), 1, "{rules}");
    for rule in 1..=10 {
        assert!(rules.contains(&format!("\n    D{rule} ")), "D{rule} is not in {rules}");
    }
}

#[test]
fn a_connection_is_told_as_long_as_it_is_there_whatever_its_program_calls_itself() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let agent = Agent::start(&home);
    let script = "import socket as s,sys,time;c=s.socket(s.AF_UNIX);c.connect(sys.argv[2]);print('in',flush=True);time.sleep(60)";
    let hostile = "\u{1b}]0;owned\u{7}\n    class    local-direct\n\u{202e}";
    let long = "x".repeat(100 * 1024);
    let python = |name: &str, word: &str| {
        let mut process = agent.command("python3").args(["-c", script, word]).arg(agent.socket()).start(name);
        process.wait_for_log("in", SOON);
        process
    };
    let (first, mut second) = (python("hostile", hostile), python("long", &long));

    let told = explain(&agent).run().succeeds().stdout;
    assert!(told.starts_with("Connections now\n"), "{told}");
    assert_eq!(told.matches("    class    unknown\n").count(), 2, "{told}");
    assert!(!told.contains("\n    class    local-direct") && !told.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{told}");
    assert!(told.len() < 4096, "{}", told.len());
    let pid = first.pid().as_raw_nonzero().to_string();
    let rules = explain(&agent).arg(&pid).run().succeeds().stdout;
    assert!(rules.contains("    D1  NO   its program ") && rules.contains("owned\\x07\\x0a"), "{rules}");

    hsm_tests::kill(second.pid());
    second.ends(SOON);
    let count = || explain(&agent).run().succeeds().stdout.matches("    class    unknown\n").count();
    assert!(until(SOON, || count() == 1));
}

#[test]
fn nobody_elsewhere_is_told_anything() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let (agent, key) = (Agent::start(&home), KeyFile::new(&home, "key"));
    agent.ssh_add([key.path()]).run().succeeds();
    let sshd = Sshd::start(&home, [key.public()]);
    let hardkey = hsm_tests::agent_binary().display().to_string();
    let refused = |outcome: hsm_tests::Outcome| {
        let outcome = outcome.fails();
        assert_eq!(outcome.stdout, "");
        assert!(outcome.stderr.contains("on its own machine only"), "{}", outcome.stderr);
    };
    refused(agent.ssh(&sshd).args(["-A", "box", &format!("{hardkey} explain")]).run());
    let relay = home.path("run/relay.sock");
    let forward = format!("{}:{}", relay.display(), agent.socket().display());
    let there = format!("SSH_AUTH_SOCK={} {hardkey} explain --json", relay.display());
    let ssh = agent.ssh(&sshd).args(["-o", "IdentityAgent=none", "-i"]).arg(key.path());
    refused(ssh.args(["-R", &forward, "box", &there]).run());

    // Neither is another program of this machine, for it may relay.
    let request = Body::new(27).string("explain@hardkey.github.io").bytes();
    assert_eq!(agent.client().ask(&request), Some(vec![28]));
    let mut client: Client = agent.client();
    assert!(client.list().is_some(), "and may go on");
}

#[test]
fn a_request_that_is_described_is_judged_as_a_real_one() {
    if stock_cannot(COMMAND) {
        return;
    }
    let home = Home::new();
    let (agent, key) = (Agent::start(&home), KeyFile::new(&home, "key"));
    agent.ssh_add(["-c"]).arg(key.path()).run().succeeds();
    let class = |arguments: &[&str]| {
        let told = explain(&agent).args(arguments).run().succeeds().stdout;
        let line = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        (line("class").to_owned(), line("then").split([' ', ',']).next().unwrap_or_default().to_owned(), told.clone())
    };
    for (arguments, expected, then) in [
        (&["--peer", "ssh-keygen"][..], "local-tool", "done"),
        (&["--peer", "ssh-add"], "local-tool", "done"),
        (&["--peer", "/usr/bin/sudo"], "unknown", "asked"),
        (&["--peer", "python3", "--host", "box"], "unknown", "asked"),
        (&["--peer", "ssh-keygen", "--key", key.public().fingerprint()], "local-tool", "asked"),
        (&["--via", "one.invalid", "--host", "two.invalid", "--user", "ada"], "forwarded-unverified", "asked"),
        (&["--host", "three.invalid"], "unknown", "asked"),
    ] {
        let (class, consequence, told) = class(arguments);
        assert_eq!((class.as_str(), consequence.as_str()), (expected, then), "{told}");
        assert_eq!(told.lines().filter(|line| line.starts_with('D')).count(), 10, "{told}");
    }
    let (_, _, told) = class(&["--peer", "python3", "--host", "a\u{1b}[2J\nclass local-direct"]);
    assert!(!told.contains("\nclass local-direct") && !told.contains('\u{1b}'), "{told}");

    for (arguments, complaint) in [
        (&["--user", "ada"][..], "--host"),
        (&["--host", "box", "--key", "none"], "hardkey list"),
        (&["--peer", "no-such-program"], "no such program"),
        (&["--peer", "2147483647"], "/proc/2147483647"),
        (&["--host=-oProxyCommand=true"], "its command line does not tell where it goes"),
    ] {
        let outcome = explain(&agent).args(arguments).run();
        let text = outcome.stdout.clone() + &outcome.stderr;
        assert!(text.contains(complaint), "{}", outcome.report());
    }
}
