//! Where ssh-agent listens when it is not told, and how it clears up after others.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hsm_tests::{
    Client, Home, Outcome, Pid, SOON, Signal, Task, agent_binary, is_alive, is_stock, signal, stock_cannot, until,
};
use sha2::{Digest, Sha512};

const LATER: &str = "keep its sockets in ~/.ssh/agent before 10.1";

fn ssh_agent(home: &Home) -> Task {
    let link = home.path("bin/ssh-agent");
    if !link.exists() {
        symlink(agent_binary(), &link).expect("link the agent");
    }
    home.command(link).env("SHELL", "/bin/sh")
}

/// Socket and process out of the lines for a shell.
fn started(outcome: &Outcome) -> (PathBuf, Pid) {
    let after =
        |text: &str| outcome.stdout.split_once(text).and_then(|(_, rest)| rest.split(';').next()).expect("a line");
    let pid = after("SSH_AGENT_PID=").parse().expect("a number");
    (after("SSH_AUTH_SOCK=").into(), Pid::from_raw(pid).expect("a process id"))
}

fn end((socket, pid): &(PathBuf, Pid)) {
    // Stock tells its pid before it minds its signals.
    assert!(Client::connect(socket).list().is_some());
    signal(*pid, Signal::TERM);
    assert!(until(SOON, || !is_alive(*pid) && !socket.exists()), "the socket is left behind");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}

/// The part of a socket's name by which agents know their own host: ten of the bytes of its name's hash, as letters and digits.
fn host_tag() -> String {
    let alphabet: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    Sha512::digest(name.trim_end()).iter().take(10).map(|byte| alphabet[usize::from(*byte) % 62]).collect()
}

/// A socket that nobody listens at any more, last touched two hours ago.
fn abandoned(path: &Path) {
    drop(UnixListener::bind(path).expect("make a socket"));
    age(path);
}

fn age(path: &Path) {
    let status = std::process::Command::new("touch").args(["-h", "-d", "2 hours ago"]).arg(path).status();
    assert!(status.expect("run touch").success());
}

/// ~/.ssh/agent, with mode.
fn sockets(home: &Home) -> PathBuf {
    home.directory("home/.ssh/agent")
}

//= RFC 9987 section 6: such as a default per-user location
#[test]
fn the_socket_is_in_the_home_under_a_name_that_tells_the_host() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let agents = [started(&ssh_agent(&home).run().succeeds()), started(&ssh_agent(&home).run().succeeds())];
    let folder = home.path("home/.ssh/agent");
    assert_eq!((mode(&folder), mode(&home.path("home/.ssh"))), (0o700, 0o700));
    for (socket, _) in &agents {
        assert_eq!(socket.parent(), Some(&*folder));
        assert_eq!(mode(socket), 0o600);
        let name = socket.file_name().expect("a name").to_string_lossy().into_owned();
        let rest = name.strip_prefix(&format!("s.{}.agent.", host_tag())).unwrap_or_else(|| panic!("{name}"));
        assert!(rest.len() == 10 && rest.chars().all(|letter| letter.is_ascii_alphanumeric()), "{name}");
    }
    assert_ne!(agents[0].0, agents[1].0);
    agents.iter().for_each(end);
    assert!(folder.exists(), "the folder is for the next one");
}

#[test]
fn the_old_place_is_a_folder_of_its_own_that_goes_with_the_agent() {
    let home = Home::new();
    let option: &[&str] = if is_stock() { &[] } else { &["-T"] };
    let agent = started(&ssh_agent(&home).args(option).run().succeeds());
    let folder = agent.0.parent().expect("a folder").to_path_buf();
    // Stock minds $TMPDIR from 10.1 on.
    let expected = if is_stock() { PathBuf::from("/tmp") } else { home.path("tmp") };
    assert_eq!(folder.parent(), Some(&*expected));
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(name.strip_prefix("ssh-").is_some_and(|random| random.len() >= 10), "{name}");
    assert_eq!((mode(&folder), mode(&agent.0)), (0o700, 0o600));
    let socket = agent.0.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(socket.strip_prefix("agent.").is_some_and(|pid| pid.parse::<u32>().is_ok()), "{socket}");
    end(&agent);
    assert!(!folder.exists(), "the folder is left behind");
}

#[test]
fn what_agents_of_this_host_left_behind_is_cleared_away() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let folder = sockets(&home);
    let own = |name: &str| folder.join(format!("s.{}.{name}", host_tag()));
    let stale = [own("agent.aaaaaaaaaa"), own("sshd.bbbbbbbbbb")];
    stale.iter().for_each(|path| abandoned(path));
    let others = folder.join("s.otherhost0.agent.cccccccccc");
    abandoned(&others);
    let foreign = folder.join("precious.sock");
    abandoned(&foreign);
    let young = own("agent.dddddddddd");
    drop(UnixListener::bind(&young).expect("make a socket"));
    let alive = own("agent.eeeeeeeeee");
    let _listener = UnixListener::bind(&alive).expect("make a socket");
    age(&alive);
    let file = own("agent.ffffffffff");
    fs::write(&file, "no socket").expect("write");
    age(&file);
    let link = own("agent.gggggggggg");
    symlink(&others, &link).expect("link");
    age(&link);
    let kept = [&others, &foreign, &young, &alive, &file, &link];

    end(&started(&ssh_agent(&home).arg("-U").run().succeeds()));
    assert!(stale.iter().chain(kept).all(|path| path.symlink_metadata().is_ok()), "-U means that nothing is touched");

    end(&started(&ssh_agent(&home).run().succeeds()));
    for path in &stale {
        assert!(!path.exists(), "{} is still there", path.display());
    }
    for path in kept {
        assert!(path.symlink_metadata().is_ok(), "{} is gone", path.display());
    }
}

#[test]
fn clearing_up_can_be_asked_for_alone_and_for_all_hosts() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let folder = sockets(&home);
    let (own, others) = (folder.join(format!("s.{}.agent.x", host_tag())), folder.join("s.otherhost0.agent.x"));
    abandoned(&own);
    abandoned(&others);
    let outcome = ssh_agent(&home).arg("-u").run().succeeds();
    assert_eq!(outcome.stdout, "Deleted stale agent sockets in ~/.ssh/agent\n");
    assert_eq!((own.exists(), others.exists()), (false, true));
    ssh_agent(&home).arg("-uu").run().succeeds();
    assert!(!others.exists());
    assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 0, "an agent was started");
}

#[test]
fn a_socket_whose_owner_is_stuck_does_not_stop_the_next_agent() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let path = sockets(&home).join(format!("s.{}.agent.stuck", host_tag()));
    let _listener = UnixListener::bind(&path).expect("make a socket");
    age(&path);
    // Nobody is accepted until the queue is full; then connecting waits.
    let waiting = fill(&path);
    let agent = started(&ssh_agent(&home).within(Duration::from_secs(5)).run().succeeds());
    assert!(path.exists(), "its owner may come back to life");
    end(&agent);
    let outcome = ssh_agent(&home).arg("-a").arg(&path).within(Duration::from_secs(5)).run().fails();
    assert!(outcome.stderr.contains("Address already in use: an agent is listening there"), "{}", outcome.report());
    drop(waiting);
}

/// Connects until the listener's queue is full.
fn fill(path: &Path) -> Vec<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let address = SocketAddrUnix::new(path).expect("an address");
    let mut waiting = Vec::new();
    loop {
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).expect("a socket");
        match connect(&socket, &address) {
            Ok(()) => waiting.push(socket.into()),
            Err(rustix::io::Errno::AGAIN) => return waiting,
            Err(error) => panic!("fill the queue: {error}"),
        }
    }
}

#[test]
fn a_home_that_cannot_be_written_to_is_named() {
    if stock_cannot(LATER) {
        return;
    }
    let home = Home::new();
    let in_the_way = home.file("home/.ssh", "no directory");
    let outcome = ssh_agent(&home).run().fails();
    assert_eq!(outcome.code(), Some(1), "{}", outcome.report());
    assert!(outcome.stderr.contains(&*in_the_way.to_string_lossy()), "{}", outcome.report());
    let outcome = ssh_agent(&home).without_env("HOME").env("HOME", "").run();
    // The password database knows another home then, or none: either way it is no socket in the current directory.
    assert!(
        !home.path("home/agent").exists() && !outcome.stdout.contains("SSH_AUTH_SOCK=agent"),
        "{}",
        outcome.report()
    );
    if let Some(0) = outcome.code() {
        end(&started(&outcome));
    }
}

#[test]
fn a_socket_file_is_a_socket() {
    let home = Home::new();
    let agent = started(&ssh_agent(&home).arg("-a").arg(home.path("run/here")).run().succeeds());
    assert!(fs::symlink_metadata(&agent.0).expect("the socket").file_type().is_socket());
    end(&agent);
}
