//! How the agent starts, hands over and ends.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use hsm_tests::{
    Agent, Home, KeyFile, Pid, SOON, Signal, Task, agent_binary, is_alive, is_stock, signal, stock_cannot, until,
};

/// How the agent is called in shell code.
fn agent_words() -> &'static str {
    if is_stock() { "\"$AGENT\"" } else { "\"$AGENT\" agent" }
}

/// Shell code in which `{agent}` is the agent's command.
fn shell(home: &Home, code: &str) -> Task {
    home.command("sh").args(["-c", &code.replace("{agent}", agent_words())]).env("AGENT", agent_binary())
}

/// The agent's command line, without the arguments.
fn agent(home: &Home) -> Task {
    let task = home.command(agent_binary());
    if is_stock() { task } else { task.arg("agent") }
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().unwrap_or_else(|_| panic!("{text:?} is no number")))
        .unwrap_or_else(|| panic!("{text:?} is no process id"))
}

/// Takes `before` and `after` away, which must be there.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    text.strip_prefix(before)
        .and_then(|text| text.strip_suffix(after))
        .unwrap_or_else(|| panic!("{text:?} is not {before:?} … {after:?}"))
}

/// The signals that end an agent. HUP ends stock, and has ours read its configuration again.
fn ending_signals() -> impl Iterator<Item = Signal> {
    [Signal::TERM, Signal::INT, Signal::HUP].into_iter().filter(|with| is_stock() || *with != Signal::HUP)
}

#[test]
fn a_shell_evaluates_what_the_agent_prints() {
    let home = Home::new();
    let key = KeyFile::new(&home, "work");
    let outcome = shell(&home, "eval \"$({agent})\" && ssh-add -q \"$1\" && ssh-add -l && echo $SSH_AUTH_SOCK && echo $SSH_AGENT_PID && eval \"$({agent} -k)\"")
        .arg("sh")
        .arg(key.path())
        .run()
        .succeeds();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let [started, listed, socket, number, ended] = lines.as_slice() else { panic!("{}", outcome.report()) };
    assert_eq!(*started, format!("Agent pid {number}"));
    assert!(listed.contains(key.public().fingerprint()));
    assert_eq!(*ended, format!("Agent pid {number} killed"));
    assert!(until(SOON, || !is_alive(pid(number))), "the agent survives -k");
    assert!(until(SOON, || !Path::new(socket).exists()), "the socket is left behind");
}

#[test]
fn the_lines_are_those_every_script_knows() {
    let home = Home::new();
    let bourne = agent(&home).arg("-s").run().succeeds().stdout;
    let lines: Vec<&str> = bourne.lines().collect();
    let [socket, number, echo] = lines.as_slice() else { panic!("{bourne}") };
    let socket = between(socket, "SSH_AUTH_SOCK=", "; export SSH_AUTH_SOCK;");
    let number = between(number, "SSH_AGENT_PID=", "; export SSH_AGENT_PID;");
    assert_eq!(*echo, format!("echo Agent pid {number};"));
    assert!(Path::new(socket).exists());

    let ended = agent(&home).arg("-k").env("SSH_AGENT_PID", number).run().succeeds().stdout;
    assert_eq!(ended, format!("unset SSH_AUTH_SOCK;\nunset SSH_AGENT_PID;\necho Agent pid {number} killed;\n"));
}

#[test]
fn the_lines_are_those_of_csh_when_asked() {
    let home = Home::new();
    for (arguments, shell) in [(&["-c"][..], "/bin/sh"), (&[][..], "/bin/csh")] {
        let csh = agent(&home).args(arguments).env("SHELL", shell).run().succeeds().stdout;
        let lines: Vec<&str> = csh.lines().collect();
        let [socket, number, echo] = lines.as_slice() else { panic!("{csh}") };
        assert!(Path::new(between(socket, "setenv SSH_AUTH_SOCK ", ";")).exists());
        let number = between(number, "setenv SSH_AGENT_PID ", ";");
        assert_eq!(*echo, format!("echo Agent pid {number};"));
        let ended = agent(&home)
            .args(arguments)
            .arg("-k")
            .env("SHELL", shell)
            .env("SSH_AGENT_PID", number)
            .run()
            .succeeds()
            .stdout;
        assert_eq!(
            ended,
            format!("unsetenv SSH_AUTH_SOCK;\nunsetenv SSH_AGENT_PID;\necho Agent pid {number} killed;\n")
        );
    }
}

#[test]
fn an_agent_is_gone_when_its_end_is_told() {
    if stock_cannot("wait for the end of the agent it kills") {
        return;
    }
    let home = Home::new();
    // At the user's one fixed place, the next agent must not be taken for the one that is just ending.
    for _ in 0..20 {
        let outcome = shell(&home, "eval \"$({agent})\" && {agent} -k && test ! -e \"$SSH_AUTH_SOCK\"").run();
        outcome.succeeds();
    }
}

#[test]
fn there_is_nothing_to_kill_without_a_pid() {
    let home = Home::new();
    assert_eq!(agent(&home).arg("-k").run().code(), Some(1));
    for nonsense in ["", "me", "0", "1", "-1"] {
        let outcome = agent(&home).arg("-k").env("SSH_AGENT_PID", nonsense).run();
        assert_eq!(outcome.code(), Some(1), "{nonsense:?}: {}", outcome.report());
        assert!(!outcome.stderr.is_empty());
    }
}

#[test]
fn a_daemon_writes_its_log_where_the_state_belongs() {
    if stock_cannot("log to a file") {
        return;
    }
    let home = Home::new();
    let key = KeyFile::new(&home, "stranger");
    shell(&home, "eval \"$({agent})\"; ssh-add -T \"$0\"").arg(key.public().path()).run().fails();
    let log = home.path("state/hardkey/agent.log");
    let refusal = || fs::read_to_string(&log).is_ok_and(|text| text.contains("refused"));
    assert!(until(SOON, refusal), "no refusal in {}\n{}", log.display(), home.logs());
}

#[test]
fn the_socket_is_private_and_goes_with_the_agent() {
    for with in ending_signals() {
        let home = Home::new();
        let agent = Agent::start(&home);
        let socket = agent.socket().to_path_buf();
        assert_eq!(fs::metadata(&socket).expect("the socket").permissions().mode() & 0o777, 0o600);
        agent.end_with(with);
        assert!(!socket.exists(), "the socket is left behind after {with:?}");
    }
}

#[test]
fn a_socket_path_that_is_taken_is_left_alone() {
    let home = Home::new();
    let taken = home.file("taken", "precious");
    let outcome = agent(&home).arg("-a").arg(&taken).run().fails();
    assert_eq!(outcome.code(), Some(1), "{}", outcome.report());
    assert!(!outcome.stderr.is_empty());
    assert_eq!(fs::read_to_string(&taken).expect("the file"), "precious");

    let first = Agent::start(&home);
    agent(&home).arg("-a").arg(first.socket()).run().fails();
    assert_eq!(first.comments().len(), 0, "the first agent no longer answers");
}

#[test]
fn a_socket_path_that_is_too_long_is_an_error() {
    let home = Home::new();
    let path = home.path("x".repeat(120));
    let outcome = agent(&home).arg("-a").arg(&path).run().fails();
    let says_why = ["too long", "107"].iter().any(|text| outcome.stderr.contains(text));
    assert!(says_why, "{}", outcome.report());
    assert!(!path.exists());
}

#[test]
fn a_socket_in_a_directory_that_others_may_write_to_is_refused() {
    if stock_cannot("see that a directory is open to others") {
        return;
    }
    let home = Home::new();
    let directory = home.directory("open");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("change the mode");
    let outcome = agent(&home).arg("-a").arg(directory.join("socket")).run().fails();
    assert!(outcome.stderr.contains(&*directory.to_string_lossy()), "{}", outcome.report());
    assert!(!directory.join("socket").exists());
}

#[test]
fn a_wrong_argument_is_an_error_and_starts_nothing() {
    let home = Home::new();
    for arguments in [&["--no-such-option"][..], &["-t", "soon"], &["-E", "crc32"]] {
        let outcome = agent(&home).args(arguments).run().fails();
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{}", outcome.report());
    }
}

#[test]
fn under_the_name_ssh_agent_it_is_ssh_agent() {
    let home = Home::new();
    symlink(agent_binary(), home.path("bin/ssh-agent")).expect("link");
    assert_eq!(
        home.command("ssh-agent").args(["sh", "-c", "ssh-add -l >/dev/null; exit $((40 + $?))"]).run().code(),
        Some(41)
    );
    let outcome = home
        .command("sh")
        .args(["-c", "eval \"$(ssh-agent -s)\" && { ssh-add -l; eval \"$(ssh-agent -k)\"; }"])
        .run()
        .succeeds();
    assert!(outcome.stdout.contains("no identities") && outcome.stdout.ends_with(" killed\n"), "{}", outcome.report());

    let socket = home.path("run/s");
    let mut foreground = home.command("ssh-agent").args(["-D", "-a"]).arg(&socket).start("foreground");
    assert!(until(SOON, || socket.exists()), "no socket\n{}", home.logs());
    signal(foreground.pid(), Signal::TERM);
    foreground.ends(SOON);
    assert!(!socket.exists());
}

#[test]
fn a_second_shell_finds_the_agent_of_the_first() {
    if stock_cannot("listen at a fixed place") {
        return;
    }
    let home = Home::new();
    let lines = || home.command(agent_binary()).arg("agent").run().succeeds().stdout;
    let first = lines();
    assert!(first.contains("SSH_AGENT_PID="), "{first}");
    assert_eq!(lines(), first, "the same socket and the same process");
    let pid = first.split("SSH_AGENT_PID=").nth(1).and_then(|rest| rest.split(';').next()).expect("a process id");
    home.command(agent_binary()).args(["agent", "-k"]).env("SSH_AGENT_PID", pid).run().succeeds();
    assert!(until(SOON, || !is_alive(self::pid(pid))), "it was another process");
}

#[test]
fn an_agent_that_nobody_was_told_of_does_not_stay() {
    if stock_cannot("notice that its lines were not read") {
        return;
    }
    let home = Home::new();
    let socket = home.path("run/unknown");
    let script = "exec \"$0\" agent -s -a \"$1\" >/dev/full";
    home.command("sh").args(["-c", script]).arg(agent_binary()).arg(&socket).run().fails();
    assert!(until(SOON, || !socket.exists()), "the agent is still there\n{}", home.logs());
}

#[test]
fn an_agent_that_cannot_begin_leaves_no_socket() {
    if stock_cannot("begin with so few files") {
        return;
    }
    let home = Home::new();
    let socket = home.path("run/stillborn");
    // Enough for the caller, too few for the agent.
    let script = "ulimit -n 8; exec \"$0\" agent -s -a \"$1\"";
    let outcome = home.command("sh").args(["-c", script]).arg(agent_binary()).arg(&socket).run().fails();
    assert!(outcome.report().contains("ended before it was ready"), "{}", outcome.report());
    assert!(!socket.exists(), "the socket is still there");
}
