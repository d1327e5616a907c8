use std::ffi::OsStr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::time::Instant;

use super::*;
use crate::origin::testing::Scratch;

#[test]
fn a_real_client_is_known_by_its_program_arguments_and_parents() {
    let scratch = Scratch::new();
    let (mut child, _stream, peer) = accept(&scratch, "UNIX-CONNECT");
    let process = peer.process.expect("a living process");
    assert_eq!(peer.user, Some(rustix::process::getuid().as_raw()));
    assert_eq!(process.id.pid, i32::try_from(child.id()).expect("pid"));
    assert_eq!(process.executable.as_ref().expect("program").path, PathBuf::from("/usr/bin/socat"));
    assert_eq!(process.arguments.as_ref().expect("arguments")[0], "socat");
    assert_eq!(process.ancestors()[0].pid, i32::try_from(std::process::id()).expect("pid"));
    assert_eq!(process.namespaces(), ProcDir::own().expect("own").namespaces());
    assert!(!process.stat.forked_without_exec());
    assert!(process.age() < Duration::from_secs(60));
    assert_eq!(process.environment().expect("environment").value("SPICE"), Some(OsStr::new("mace=x")));
    end(&mut child);
    assert!(process.stat_now().is_err());
    assert!(process.environment().is_err());
}

#[test]
fn a_client_that_is_gone_before_we_look_is_unknown() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let listener = UnixListener::bind(&path).expect("bind");
    let mut child = connect(&path, "UNIX-CONNECT");
    let (stream, _) = listener.accept().expect("accept");
    end(&mut child);
    let peer = Peer::of(&stream);
    assert!(peer.process.is_err(), "{:?}", peer.process);
    assert_eq!(peer.user, Some(rustix::process::getuid().as_raw()));
}

#[test]
fn a_parent_is_no_younger_than_its_child() {
    let own = Process::of(i32::try_from(std::process::id()).expect("pid")).expect("ourselves").id;
    assert!(parent_of(own.pid, own.start).is_some());
    assert!(parent_of(own.pid, own.start - 1).is_none());
}

#[test]
fn without_a_peer_pidfd_the_start_time_stands_in() {
    let unsupported = || Err(std::io::Error::from_raw_os_error(libc::ENOPROTOOPT));
    let own = i32::try_from(std::process::id()).expect("pid");
    assert_eq!(Process::pin(own, unsupported()).expect("ourselves").id.pid, own);
    let mut child = Command::new("sleep").arg("600").spawn().expect("sleep");
    let pid = i32::try_from(child.id()).expect("pid");
    end(&mut child);
    assert!(Process::pin(pid, unsupported()).is_err());
}

#[test]
fn a_number_that_went_to_another_process_is_not_taken_for_the_peer() {
    // The kernel names ourselves, but the peer's descriptor is of a process that has ended: so the number was given away.
    let mut child = Command::new("sleep").arg("600").spawn().expect("sleep");
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
    end(&mut child);
    let own = i32::try_from(std::process::id()).expect("pid");
    let outcome = Process::pin(own, pidfd.map_err(Into::into));
    assert_eq!(outcome.expect_err("a stranger").reason(), "the process that connected has ended");
}

#[test]
fn a_process_out_of_sight_is_unknown() {
    assert!(Process::pin(0, Err(std::io::Error::other("none"))).is_err());
}

#[test]
fn a_later_process_with_the_same_number_is_another_process() {
    let own = ProcDir::own().expect("own").stat().expect("state");
    let pid = i32::try_from(std::process::id()).expect("pid");
    assert!(ProcessId { pid, start: own.start }.lives());
    assert!(!ProcessId { pid, start: own.start + 1 }.lives());
}

#[test]
fn the_environment_is_never_printed_and_only_wanted_variables_are_kept() {
    let environment = Environment::parse(
        ["DISPLAY=:0", "TOKEN=secret", "LD_PRELOAD=/evil.so", "nonsense", "HOME=/h", "HOME=/later"]
            .map(Into::into)
            .into(),
    );
    assert_eq!(format!("{environment:?}"), "Environment(5 variables)");
    assert_eq!(environment.wanted(), [("DISPLAY", OsStr::new(":0")), ("HOME", OsStr::new("/h"))]);
    assert!(environment.without_loader().all(|(name, _)| name != "LD_PRELOAD"));
    assert_eq!(environment.without_loader().count(), 4);
}

#[test]
fn terminals_are_called_what_people_call_them() {
    assert_eq!(terminal_name(0x8803), "pts/3");
    assert_eq!(terminal_name(0x8905), "pts/261");
    assert_eq!(terminal_name(0x0402), "tty2");
    assert_eq!(terminal_name(0x0440), "ttyS0");
    // Minor numbers above 255 continue above the major number.
    assert_eq!(terminal_name(0x0010_8801), "pts/257");
}

/// Not a test of correctness: prints what accepting a connection costs.
#[test]
fn reading_the_facts_is_cheap() {
    let (ours, theirs) = UnixStream::pair().expect("pair");
    let runs = 200;
    let start = Instant::now();
    for _ in 0..runs {
        assert!(Peer::of(&ours).process.is_ok());
    }
    let each = start.elapsed() / runs;
    drop(theirs);
    eprintln!("facts of a peer: {each:?}");
    // The budget is 150 µs on a quiet machine; a test machine is not quiet.
    assert!(each < Duration::from_millis(5));
}

fn accept(scratch: &Scratch, how: &str) -> (Child, UnixStream, Peer) {
    let path = scratch.path("socket");
    let listener = UnixListener::bind(&path).expect("bind");
    let child = connect(&path, how);
    let (stream, _) = listener.accept().expect("accept");
    let peer = Peer::of(&stream);
    (child, stream, peer)
}

fn connect(path: &std::path::Path, how: &str) -> Child {
    Command::new("socat")
        .args([&format!("{how}:{}", path.display()), "PIPE"])
        .env("SPICE", "mace=x")
        .spawn()
        .expect("socat")
}

fn end(child: &mut Child) {
    child.kill().expect("kill");
    child.wait().expect("wait");
}
