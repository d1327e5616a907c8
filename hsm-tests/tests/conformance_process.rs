//! The agent as a process: who may connect, what others may learn of it, and how it ends.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hsm_tests::{
    Agent, Background, Body, Client, Home, Key, KeyFile, Pid, SOON, Signal, Task, Token, Wrapping, agent_binary,
    children, is_alive, is_stock, kill, signal, stock_cannot, until,
};

/// A user who is neither root nor the one who runs the tests.
const NOBODY: &str = "65534";

/// Whether the tests may change users; said in the output when not.
fn can_change_users() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can become another user");
    }
    is_root
}

fn as_nobody(home: &Home, program: impl AsRef<OsStr>) -> Task {
    let become_nobody = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    home.command("setpriv").args(become_nobody).arg(program)
}

/// A directory that everybody may enter, and nobody owns when `owned`.
fn public_directory(home: &Home, name: &str, owned: bool) -> PathBuf {
    let mode = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("change the mode");
    let directory = home.directory(name);
    mode(&home.path(""));
    mode(&directory);
    if owned {
        std::os::unix::fs::chown(&directory, Some(65534), Some(65534)).expect("change the owner");
    }
    directory
}

/// An agent of nobody's, on a socket of nobody's.
fn agent_of_nobody(home: &Home) -> (Background, PathBuf) {
    let directory = public_directory(home, "nobody", true);
    // The build directory may be closed to others; and the name tells stock from hardkey.
    let program = public_directory(home, "programs", false).join(agent_binary().file_name().expect("a name"));
    fs::copy(agent_binary(), &program).expect("copy the agent");
    let socket = directory.join("socket");
    let mut task = as_nobody(home, &program);
    if !is_stock() {
        let configuration = home.file("nobody/hardkey.toml", "preset = 'openssh'\ndiscover = false\n");
        fs::set_permissions(&configuration, fs::Permissions::from_mode(0o644)).expect("change the mode");
        task = task.arg("agent").arg("--config").arg(configuration);
    }
    let folders = ["HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "TMPDIR"].map(|name| (name, directory.clone()));
    let process = task.args(["-D", "-a"]).arg(&socket).envs(folders).start("nobody");
    assert!(until(SOON, || UnixStream::connect(&socket).is_ok()), "nobody listens\n{}", home.logs());
    (process, socket)
}

//= RFC 9987 section 6: Access to these endpoints SHOULD be controlled as discussed in Section 10.
/// The signals that end an agent. HUP ends stock, and has ours read its configuration again.
fn ending_signals() -> impl Iterator<Item = Signal> {
    [Signal::TERM, Signal::INT, Signal::HUP].into_iter().filter(|with| is_stock() || *with != Signal::HUP)
}

#[test]
fn another_user_is_hung_up_on_without_a_byte() {
    if !can_change_users() {
        return;
    }
    let home = Home::new();
    let directory = public_directory(&home, "public", false);
    let mut agent = Agent::with(&home).as_stock().start();
    // Whatever the modes of the files say, as after a mistake of their owner.
    let socket = directory.join("socket");
    fs::rename(agent.socket(), &socket).expect("move the socket");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).expect("change the mode");
    let script = "use Socket; $SIG{PIPE} = qq(IGNORE); socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ARGV[0])) or die qq(connect: $!); \
        syswrite(S, qq(\\0\\0\\0\\1\\x0b)); my $n = sysread(S, my $b, 100); print defined $n ? $n : qq(none), qq(\\n)";
    let ask = |task: Task| task.args(["-e", script]).arg(&socket).run().succeeds().stdout;
    let stranger = ask(as_nobody(&home, "perl"));
    assert!(["0\n", "none\n"].contains(&stranger.as_str()), "{stranger:?} bytes for another user");
    agent.wait_for_log("uid mismatch: peer euid 65534 != uid 0");
    assert_eq!(ask(home.command("perl")), "9\n", "the owner is served");
}

#[test]
fn root_is_served_by_everybody_s_agent() {
    if !can_change_users() {
        return;
    }
    let home = Home::new();
    let (_agent, socket) = agent_of_nobody(&home);
    // sshd asks a HostKeyAgent as root.
    assert_eq!(Client::connect(&socket).list().expect("a list"), []);
}

//= RFC 9987 section 10: prevent its memory from being read by other processes
#[test]
fn nobody_can_look_into_the_agent() {
    if !can_change_users() {
        return;
    }
    let home = Home::new();
    let (agent, socket) = agent_of_nobody(&home);
    assert_eq!(Client::connect(&socket).list().expect("a list"), []);
    // A process that may not be dumped belongs to root in /proc (proc(5)), and its owner can neither trace nor read it.
    let folder = format!("/proc/{}", agent.pid().as_raw_pid());
    for file in ["environ", "mem", "maps"] {
        let path = format!("{folder}/{file}");
        assert_eq!(fs::metadata(&path).expect("a process").uid(), 0, "{path}");
        as_nobody(&home, "head").args(["-c", "1"]).arg(&path).run().fails();
    }
}

#[test]
fn neither_the_agent_nor_its_workers_leave_core_files() {
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let agent = Agent::with(&home).module(hsm_tests::Module::of(&token)).start();
    agent.signs(token.public(Key::P256)).run().succeeds();
    let mut processes = children(agent.pid());
    assert!(!processes.is_empty(), "no worker");
    if is_stock() {
        // In the foreground stock may leave core files; its helper always may.
        return;
    }
    processes.push(agent.pid());
    for process in processes {
        let limits = fs::read_to_string(format!("/proc/{}/limits", process.as_raw_pid())).expect("limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit of core files");
        assert_eq!(core.split_ascii_whitespace().rev().take(3).collect::<Vec<_>>(), ["bytes", "0", "0"]);
    }
}

#[test]
fn everything_it_makes_is_its_owner_s_alone_whatever_the_umask() {
    let home = Home::new();
    let command = if is_stock() { "\"$0\"" } else { "\"$0\" agent" };
    let script = format!("umask 000; eval \"$({command} -a \"$1\")\"; ssh-add -T \"$2\"; echo $SSH_AGENT_PID");
    let socket = home.path("run/open-umask");
    let key = KeyFile::new(&home, "stranger");
    home.command("sh").args(["-c", &script]).arg(agent_binary()).arg(&socket).arg(key.public().path()).run().succeeds();
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o7777;
    assert_eq!(mode(&socket), 0o600);
    if is_stock() {
        return;
    }
    let log = home.path("state/hardkey/agent.log");
    assert!(until(SOON, || log.exists()), "no log");
    assert_eq!((mode(&log), mode(&home.path("state/hardkey"))), (0o600, 0o700));
}

#[test]
fn signals_end_it_with_status_2_and_without_its_socket() {
    for with in ending_signals() {
        let home = Home::new();
        let agent = Agent::start(&home);
        let socket = agent.socket().to_path_buf();
        assert_eq!(agent.end_with(with).code(), Some(2), "{with:?}");
        assert!(!socket.exists(), "{with:?}");
    }
}

#[test]
fn a_client_that_goes_away_with_its_answer_pending_ends_nothing() {
    let home = Home::new();
    let mut agent = Agent::with(&home).as_stock().start();
    let key = KeyFile::new(&home, "key");
    assert!(agent.client().succeeds(&Body::new(Client::ADD).raw(&key.as_added()).bytes()));
    signal(agent.pid(), Signal::PIPE);
    for _ in 0..200 {
        let mut client = agent.client();
        client.send_raw(&[0, 0, 0, 1, Client::LIST].repeat(50));
        drop(client);
    }
    assert_eq!(agent.client().list().expect("a list").len(), 1);
    assert!(!agent.has_ended());
}

#[test]
fn a_user_signal_empties_the_agent_and_leaves_it_running() {
    if stock_cannot("survive SIGUSR1 before 10.0") {
        return;
    }
    let home = Home::new();
    let token = Token::new(&home, "token", &[Key::P256]);
    let mut agent = Agent::with(&home).as_stock().module(hsm_tests::Module::of(&token)).start();
    let key = KeyFile::new(&home, "key");
    assert!(agent.client().succeeds(&Body::new(Client::ADD).raw(&key.as_added()).bytes()));
    assert_eq!(agent.client().list().expect("a list").len(), 2);
    signal(agent.pid(), Signal::USR1);
    assert!(until(SOON, || agent.client().list().expect("a list").is_empty()), "keys are left");
    assert!(!agent.has_ended());
}

#[test]
fn a_daemon_is_not_ended_by_the_ctrl_c_of_its_terminal() {
    let home = Home::new();
    let pid = daemon(&home, &["-s"]);
    let socket = home.path("run/daemon");
    // Stock tells its pid before it minds its signals.
    assert!(Client::connect(&socket).list().is_some());
    signal(pid, Signal::INT);
    assert!(Client::connect(&socket).list().is_some());
    signal(pid, Signal::TERM);
    assert!(until(SOON, || !is_alive(pid) && !socket.exists()));
}

#[test]
fn a_killed_agent_leaves_its_socket_and_no_later_one_takes_the_place_unasked() {
    let home = Home::new();
    let pid = daemon(&home, &["-s"]);
    let socket = home.path("run/daemon");
    kill(pid);
    assert!(until(SOON, || !is_alive(pid)));
    assert!(socket.exists());
    let outcome = agent(&home).arg("-a").arg(&socket).run().fails();
    assert_eq!(outcome.code(), Some(1), "{}", outcome.report());
    assert!(outcome.stderr.contains("Address already in use"), "{}", outcome.report());
    assert!(socket.exists(), "the socket was removed unasked");
}

#[test]
fn a_wrapped_command_keeps_exit_status_pid_input_and_environment() {
    let home = Home::new();
    for wrapping in Wrapping::all(&home) {
        let shell = |script: &str| wrapping.around(&["sh", "-c", script]);
        assert_eq!(shell("exit 7").run().code(), Some(7), "{wrapping}");
        assert_eq!(shell("kill -TERM $$").run().ended_by(), Some(15), "{wrapping}");
        assert_eq!(wrapping.around(&["cat"]).input("passed on").run().succeeds().stdout, "passed on", "{wrapping}");
        assert_eq!(wrapping.around(&["printf", "%s\n", "-d", "--", "-k"]).run().succeeds().stdout, "-d\n--\n-k\n");
        let finds = shell("ssh-add -l; test $? = 1 && kill -0 $SSH_AGENT_PID && echo $GREETING");
        let outcome = finds.env("GREETING", "hello").env("SSH_AUTH_SOCK", "/nonexistent").run().succeeds();
        assert!(outcome.stdout.ends_with("hello\n"), "{}", outcome.report());

        let mut wrapped = shell("echo pid $$; exec sleep 1000").start("wrapped");
        let expected = format!("pid {}\n", wrapped.pid().as_raw_pid());
        wrapped.wait_for_log(&expected, SOON);
        signal(wrapped.pid(), Signal::INT);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&wrapped.ends(SOON)), Some(2), "{wrapping}");
    }
}

#[test]
fn a_wrapped_command_finds_everything_as_its_caller_left_it() {
    let home = Home::new();
    // What an agent changes of itself, and must not pass on: limits, mask, signals, descriptors, session, folder, and that nobody may look.
    let script = "ulimit -Sa; ulimit -Ha; umask; pwd; grep -E '^(Sig(Blk|Ign)|NoNewPrivs|Seccomp):' /proc/self/status; \
        for fd in /proc/$$/fd/*; do echo ${fd##*/}; done; cut -d' ' -f5,6 /proc/$$/stat; stat -c %u /proc/$$/environ; \
        env | grep -vE '^(SSH_AUTH_SOCK|SSH_AGENT_PID|_)=' | sort";
    let prepared = format!(
        "umask 027; ulimit -S -n 100; ulimit -S -c 0; ulimit -H -c 7 2>&1; cd /usr; exec \"$@\" sh -c '{}'",
        script.replace('\'', r"'\''")
    );
    let run = |words: &[&OsStr]| home.command("sh").args(["-c", &prepared, "sh"]).args(words).run().succeeds().stdout;
    let without = run(&["env".as_ref()]);
    // OpenSSH's agent is a set-group-ID program, to which the loader does not pass on everything (ld.so(8)).
    let lost = |line: &&str| is_stock() && line.starts_with("TMPDIR=");
    let without: Vec<&str> = without.lines().filter(|line| !lost(line)).collect();
    for wrapping in Wrapping::all(&home) {
        let words: Vec<&OsStr> = wrapping.words().collect();
        assert_eq!(run(&words).lines().collect::<Vec<_>>(), without, "{wrapping}");
    }
}

#[test]
fn a_wrapped_command_s_agent_ends_with_it_at_once() {
    if stock_cannot("notice the command's end in less than ten seconds") {
        return;
    }
    let home = Home::new();
    for wrapping in Wrapping::all(&home) {
        for ending in ["exit 0", "kill -KILL $$"] {
            let script = format!("echo $SSH_AUTH_SOCK; echo $SSH_AGENT_PID; {ending}");
            let outcome = wrapping.around(&["sh", "-c", &script]).run();
            let told = outcome.stdout.trim().split_once('\n');
            let (socket, number) = told.unwrap_or_else(|| panic!("{}", outcome.report()));
            let ended = Instant::now();
            assert!(until(SOON, || !is_alive(pid(number))), "{wrapping}: the agent outlives its command");
            assert!(ended.elapsed() < Duration::from_secs(1), "{wrapping}: it took {:?}", ended.elapsed());
            assert!(!Path::new(socket).exists(), "{wrapping}: the socket is left behind");
        }
    }
}

#[test]
fn a_wrapped_command_s_agent_is_as_closed_as_any_other() {
    let home = Home::new();
    for wrapping in Wrapping::all(&home) {
        let open = "umask 000; ulimit -c unlimited; exec \"$@\"";
        let script = "stat -c %a \"$SSH_AUTH_SOCK\"; grep '^Max core' /proc/$SSH_AGENT_PID/limits; \
            cut -d' ' -f6 /proc/$SSH_AGENT_PID/stat; echo $SSH_AGENT_PID; ls -l /proc/$SSH_AGENT_PID/cwd";
        let shell = home.command("sh").args(["-c", open, "sh"]).args(wrapping.words());
        let outcome = shell.args(["sh", "-c", script]).run().succeeds();
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        let [mode, core, session, number, folder] = lines.as_slice() else { panic!("{}", outcome.report()) };
        assert_eq!(*mode, "600", "{wrapping}");
        assert!(core.split_ascii_whitespace().any(|word| word == "0"), "{wrapping}: {core}");
        assert!(folder.ends_with(" -> /"), "{wrapping}: {folder}");
        if !is_stock() {
            assert_eq!(session, number, "{wrapping}: Ctrl-C and the terminal's end are the command's");
        }
    }
}

#[test]
fn a_wrapped_command_outlives_its_agent() {
    let home = Home::new();
    for wrapping in Wrapping::all(&home) {
        let script =
            "kill $SSH_AGENT_PID; while [ -e $SSH_AUTH_SOCK ]; do sleep 0.02; done; ssh-add -l; exit $((40 + $?))";
        let outcome = wrapping.around(&["sh", "-c", script]).run();
        assert_eq!(outcome.code(), Some(42), "{wrapping}: {}", outcome.report());
    }
}

#[test]
fn a_wrapped_command_that_is_not_there_is_named_and_no_agent_stays() {
    let home = Home::new();
    for wrapping in Wrapping::all(&home) {
        let outcome = wrapping.around(&["/nonexistent/command"]).run().fails();
        assert_eq!(outcome.code(), Some(1), "{}", outcome.report());
        let says = |text| outcome.stderr.contains(text);
        assert!(says("/nonexistent/command") && says("No such file"), "{}", outcome.report());
    }
    if is_stock() {
        // It stays for up to ten seconds.
        return;
    }
    let own = rustix::process::getpid();
    let none_left = || children(own).into_iter().all(|child| !is_alive(child));
    assert!(until(SOON, none_left), "an agent without a command is left");
}

/// The agent's command line, without the arguments.
fn agent(home: &Home) -> Task {
    let task = home.command(agent_binary());
    if is_stock() { task } else { task.arg("agent") }
}

/// An agent in the background that listens at run/daemon.
fn daemon(home: &Home, arguments: &[&str]) -> Pid {
    let outcome = agent(home).args(arguments).arg("-a").arg(home.path("run/daemon")).run().succeeds();
    let text = outcome.stdout.split_once("SSH_AGENT_PID=").and_then(|(_, rest)| rest.split(';').next());
    pid(text.expect("a pid"))
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().expect("a number")).expect("a process id")
}
