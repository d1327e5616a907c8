//! The command line of ssh-agent(1), called by that name.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;

use hsm_tests::{
    Agent, Body, Client, Home, Key, Outcome, SOON, Signal, Task, Token, agent_binary, is_stock, stock_cannot, until,
};

/// The agent under test, by the name of OpenSSH's.
fn ssh_agent(home: &Home) -> Task {
    let link = home.path("bin/ssh-agent");
    if !link.exists() {
        symlink(agent_binary(), &link).expect("link the agent");
    }
    home.command(link).env("SHELL", "/bin/sh")
}

fn fails_with(home: &Home, arguments: &[&str], status: i32) -> Outcome {
    let outcome = ssh_agent(home).args(arguments).run().fails();
    assert_eq!(outcome.code(), Some(status), "{arguments:?}: {}", outcome.report());
    assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{}", outcome.report());
    outcome
}

#[test]
fn wrong_usage_is_status_1_and_starts_nothing() {
    let home = Home::new();
    for arguments in [
        &["-x"][..],
        &["--nonsense"],
        &["-c", "-s"],
        &["-D", "-d"],
        &["-t"],
        &["-a"],
        &["-s", "true"],
        &["-c", "true"],
        &["-D", "true"],
        &["-d", "true"],
        &["-k", "true"],
    ] {
        fails_with(&home, arguments, 1);
    }
    let sockets = fs::read_dir(home.path("home")).expect("the home").count();
    assert_eq!(sockets, 0, "something was made");
}

#[test]
fn a_bad_lifetime_is_named() {
    let home = Home::new();
    for lifetime in ["soon", "", "1x", "1h-5", "99999999999999999999"] {
        let outcome = fails_with(&home, &["-t", lifetime], 1);
        assert!(outcome.stderr.contains("Invalid lifetime"), "{lifetime:?}: {}", outcome.report());
    }
    for lifetime in ["5", "0", "90s", "1m", "1H", "1w2d3h4m5s"] {
        ssh_agent(&home).args(["-t", lifetime, "true"]).run().succeeds();
        ssh_agent(&home).arg(format!("-t{lifetime}")).arg("true").run().succeeds();
    }
}

#[test]
fn what_openssh_calls_fatal_is_status_255() {
    let home = Home::new();
    fails_with(&home, &["-E", "crc32"], 255);
    fails_with(&home, &["-P", "/usr/lib/*", "-P", "/opt/*"], 255);
    fails_with(&home, &["-O", "nonsense"], 255);
}

#[test]
fn options_end_where_the_command_begins() {
    let home = Home::new();
    for (arguments, printed) in [
        (&["echo", "-d"][..], "-d\n"),
        (&["-P/*", "echo", "-s"], "-s\n"),
        (&["-t1h", "echo", "-k", "--", "-c"], "-k -- -c\n"),
        (&["--", "echo", "--", "-x"], "-- -x\n"),
        (&["-E", "md5", "sh", "-c", "echo $0 $1", "-a", "-b"], "-a -b\n"),
    ] {
        assert_eq!(ssh_agent(&home).args(arguments).run().succeeds().stdout, printed, "{arguments:?}");
    }
}

#[test]
fn an_agent_is_killed_by_its_pid_only() {
    let home = Home::new();
    let gone = home.command("sh").args(["-c", "echo $$"]).run().succeeds().stdout;
    for (pid, text) in [
        (None, "SSH_AGENT_PID not set, cannot kill agent"),
        (Some("me"), "SSH_AGENT_PID=\"me\", which is not a good PID"),
        (Some("1"), "SSH_AGENT_PID=\"1\", which is not a good PID"),
        (Some("-7"), "SSH_AGENT_PID=\"-7\", which is not a good PID"),
        (Some("99999999999"), "which is not a good PID"),
        (Some(gone.trim()), "No such process"),
    ] {
        let task = ssh_agent(&home).arg("-k");
        let outcome = match pid {
            Some(pid) => task.env("SSH_AGENT_PID", pid).run(),
            None => task.run(),
        };
        assert_eq!(outcome.code(), Some(1), "{}", outcome.report());
        assert!(outcome.stderr.contains(text), "{pid:?}: {}", outcome.report());
        assert!(outcome.stdout.is_empty(), "{}", outcome.report());
    }
}

#[test]
fn in_the_foreground_it_tells_its_socket_and_pid() {
    let home = Home::new();
    for (name, option) in [("quiet", "-D"), ("chatty", "-d")] {
        let socket = home.path("run").join(name);
        let mut process = ssh_agent(&home).arg(option).arg("-a").arg(&socket).start(name);
        process.wait_for_log("echo Agent pid", SOON);
        let pid = process.pid().as_raw_pid();
        let expected = format!("SSH_AUTH_SOCK={0}; export SSH_AUTH_SOCK;\necho Agent pid {pid};\n", socket.display());
        assert!(process.log().contains(&expected), "{}", process.log());
        assert!(!process.log().contains("SSH_AGENT_PID="), "{}", process.log());
    }
}

#[test]
fn a_path_is_quoted_so_that_the_shell_reads_it_back() {
    if stock_cannot("quote paths before 10.3") {
        return;
    }
    let home = Home::new();
    let directory = home.directory("run/it's a \"path\" of $HOME;&`x`\\!");
    let socket = directory.join("s");
    let script = "eval \"$(\"$0\" -s -a \"$1\")\" >/dev/null && printf '%s' \"$SSH_AUTH_SOCK\" && \"$0\" -k >/dev/null";
    let link = home.path("bin/ssh-agent");
    symlink(agent_binary(), &link).expect("link the agent");
    let outcome = home.command("sh").args(["-c", script]).arg(link).arg(&socket).run().succeeds();
    assert_eq!(outcome.stdout, socket.to_string_lossy(), "{}", outcome.report());
}

#[test]
fn a_path_of_107_bytes_is_the_longest() {
    let home = Home::new();
    let folder = home.path("run");
    let longest = 107 - folder.as_os_str().len() - 1;
    let fits = folder.join("x".repeat(longest));
    let mut process = ssh_agent(&home).args(["-D", "-a"]).arg(&fits).start("fits");
    process.wait_for_log("echo Agent pid", SOON);
    assert!(until(SOON, || Client::connect(&fits).list().is_some()));
    let too_long = folder.join("y".repeat(longest + 1));
    fails_with(&home, &["-a", &too_long.to_string_lossy()], 1);
    assert!(!too_long.exists());
}

#[test]
fn the_version_is_told_on_standard_error() {
    if stock_cannot("tell its version before 10.4") {
        return;
    }
    let home = Home::new();
    let outcome = ssh_agent(&home).arg("-V").run().succeeds();
    assert!(outcome.stdout.is_empty() && outcome.stderr.starts_with("hardkey "), "{}", outcome.report());
}

#[test]
fn only_modules_that_the_patterns_allow_are_loaded() {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let real = fs::canonicalize(token.library()).expect("the library's own path");
    let copy = home.path("copy.so");
    fs::copy(&real, &copy).expect("copy the library");
    let link_to_real = home.path("link-to-real.so");
    symlink(&real, &link_to_real).expect("link");
    let (real, copy, link) =
        (real.display().to_string(), copy.display().to_string(), link_to_real.display().to_string());
    let all_but = |path: &str| format!("/*,!{path}");
    // The path's links are resolved before it is compared.
    let cases: [(Option<String>, &str, bool); 11] = [
        (None, &real, true),
        (None, &copy, false),
        (None, &link, true),
        (Some(copy.clone()), &copy, true),
        (Some(link.clone()), &link, false),
        (Some(real.clone()), &link, true),
        (Some("/*".into()), &copy, true),
        (Some(all_but(&copy)), &copy, false),
        (Some(all_but(&copy)), &real, true),
        (Some("nonsense".into()), &real, false),
        (Some("*.so".into()), "libsofthsm2.so", false),
    ];
    for (index, (patterns, path, allowed)) in cases.into_iter().enumerate() {
        let builder = Agent::with(&home).as_stock().named(&format!("agent-{index}")).envs(token.environment());
        let agent = match &patterns {
            Some(patterns) => builder.arg("-P").arg(patterns).start(),
            None => builder.start(),
        };
        let added = agent.client().succeeds(&Body::new(20).string(path).string(token.pin()).bytes());
        assert_eq!(added, allowed, "{patterns:?}: {path}\n{}", agent.log());
        if !allowed && !is_stock() {
            let reasons = ["is not below an allowed folder", "No such file"];
            assert!(reasons.iter().any(|reason| agent.log().contains(reason)), "{}", agent.log());
        }
    }
}

#[test]
fn a_service_manager_s_socket_is_used_and_left_alone() {
    if stock_cannot("be started by its socket before 10.0") {
        return;
    }
    let home = Home::new();
    let socket = home.path("run/activated");
    // What systemd does, in Perl: a listening socket as descriptor 3, told of by two variables.
    let script = "use Socket; use POSIX; $^F = 99; socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un($ARGV[0])) or die; listen(S, 5); \
        POSIX::dup2(fileno(S), 3); $ENV{LISTEN_PID} = $$ + ($ARGV[2] // 0); $ENV{LISTEN_FDS} = $ARGV[3] // 1; \
        exec $ARGV[1], qw(-D)";
    let link = home.path("bin/ssh-agent");
    symlink(agent_binary(), &link).expect("link the agent");
    let start = |more: [&str; 2], name: &str| {
        let _ = fs::remove_file(&socket);
        home.command("perl").args(["-e", script]).arg(&socket).arg(&link).args(more).start(name)
    };
    let mut process = start(["0", "1"], "activated");
    assert!(until(SOON, || UnixStream::connect(&socket).is_ok()));
    assert_eq!(Client::connect(&socket).list().expect("a list"), []);
    assert!(!process.log().contains("SSH_AUTH_SOCK"), "who opened the socket knows where it is: {}", process.log());
    hsm_tests::signal(process.pid(), Signal::TERM);
    assert_eq!(process.ends(SOON).code(), Some(0), "the service would count as failed");
    assert!(socket.exists(), "the socket is not the agent's own");

    let promised = ["sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" -D 3<&-"];
    let outcome = home.command(promised[0]).args(&promised[1..]).arg(&link).run();
    assert_eq!(outcome.code(), Some(255), "a socket that was promised and not passed: {}", outcome.report());
    for (name, more) in [("for-another", ["1", "1"]), ("two-sockets", ["0", "2"]), ("no-number", ["0", "x"])] {
        assert_eq!(start(more, name).ends(SOON).code(), Some(255), "{name}");
    }
}
