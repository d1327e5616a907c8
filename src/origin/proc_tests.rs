use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::origin::testing::Scratch;

#[test]
fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
    let line = "77 (a) b) R 1 2 3 34816 5 4194368 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0\n";
    let stat = Stat::parse(line).expect("a state line");
    assert_eq!((stat.state, stat.parent, stat.start), ('R', 1, 4242));
    assert!(stat.forked_without_exec());
}

#[test]
fn a_short_state_line_is_no_state() {
    assert_eq!(Stat::parse("77 (ssh) R 1 2 3"), None);
}

#[test]
fn a_pinned_directory_never_speaks_for_a_later_process() {
    let mut child = Command::new("sleep").arg("600").spawn().expect("sleep");
    let directory = proc_dir(&child);
    assert!(directory.stat().is_ok());
    end(&mut child);
    assert!(directory.stat().is_err());
    assert!(directory.arguments().is_err());
}

#[test]
fn an_ended_process_that_nobody_collected_counts_as_gone() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cat");
    let directory = proc_dir(&child);
    drop(child.stdin.take());
    // End of file on its output is the event that says it has closed everything; the exit follows at once.
    child.stdout.take().expect("stdout").read_to_end(&mut Vec::new()).expect("read");
    let pidfd =
        rustix::process::pidfd_open(rustix::process::Pid::from_child(&child), rustix::process::PidfdFlags::empty())
            .expect("pidfd");
    let mut events = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut events, None).expect("poll");
    assert_eq!(directory.stat(), Err(Unknown::new("the process has ended")));
    child.wait().expect("wait");
}

#[test]
fn arguments_come_back_octet_for_octet() {
    let odd = OsString::from_vec(b"\x1b[31m\xff two".to_vec());
    let mut child = Command::new("sh")
        .args(["-c", "echo; read forever", ""])
        .arg(&odd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh");
    // A process whose start is not complete yet has no arguments; one that has spoken is complete.
    child.stdout.take().expect("stdout").read_exact(&mut [0]).expect("a line");
    let directory = proc_dir(&child);
    let arguments = directory.arguments().expect("arguments");
    end(&mut child);
    let expected = ["sh".into(), "-c".into(), "echo; read forever".into(), OsString::new(), odd];
    assert_eq!(arguments, expected);
}

#[test]
fn a_listening_socket_is_noticed() {
    let scratch = Scratch::new();
    let path = scratch.path("listener");
    let mut socat = socat(format!("UNIX-LISTEN:{},fork", path.display()));
    crate::origin::testing::connects(&path);
    assert_eq!(proc_dir(&socat).listens(), Ok(true));
    end(&mut socat);
}

#[test]
fn a_connected_socket_is_not_taken_for_a_listening_one() {
    let scratch = Scratch::new();
    let path = scratch.path("listener");
    let listener = UnixListener::bind(&path).expect("bind");
    let mut socat = socat(format!("UNIX-CONNECT:{}", path.display()));
    let connection = listener.accept().expect("socat connects");
    assert_eq!(proc_dir(&socat).listens(), Ok(false));
    end(&mut socat);
    drop(connection);
}

fn socat(address: String) -> Child {
    Command::new("socat").args([&address, "EXEC:cat"]).spawn().expect("socat")
}

fn proc_dir(child: &Child) -> ProcDir {
    ProcDir::open(i32::try_from(child.id()).expect("pid")).expect("a living process")
}

fn end(child: &mut Child) {
    child.kill().expect("kill");
    child.wait().expect("wait");
}
