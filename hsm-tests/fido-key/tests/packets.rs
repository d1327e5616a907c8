//! The program, with keys at sockets of packets.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use fido_key::packet::{BROADCAST, Message, REPORT, Report, command};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};

/// The program in a folder of its own.
struct Program {
    directory: PathBuf,
    process: Child,
}

impl Program {
    fn start(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a folder");
        let program = env!("CARGO_BIN_EXE_fido-key");
        let process = Command::new(program).arg("packets").arg(&directory).spawn().expect("start the program");
        let program = Self { directory, process };
        let start = Instant::now();
        while UnixStream::connect(program.directory.join("control")).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "the program does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        program
    }

    fn order(&self, line: &str) -> String {
        let mut connection = UnixStream::connect(self.directory.join("control")).expect("the program listens");
        writeln!(connection, "{line}").expect("say it");
        let mut answer = String::new();
        BufReader::new(connection).read_line(&mut answer).expect("an answer");
        answer.trim_end().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn open(path: &Path) -> OwnedFd {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a socket");
    connect(&socket, &SocketAddrUnix::new(path).expect("a short path")).expect("a key");
    socket
}

/// The next report; `None` at the end.
fn next(node: &OwnedFd) -> Option<Report> {
    let mut report = [0; REPORT];
    let (_, length) = recv(node, &mut report, RecvFlags::empty()).expect("a packet or the end");
    (length == REPORT).then_some(report)
}

#[test]
fn a_connection_is_an_open_node() {
    let program = Program::start("node");
    assert_eq!(program.order("new key"), "ok");
    let path = program.order("key plug");
    let path = Path::new(path.strip_prefix("ok ").expect("a path"));

    // The first is let in before the second speaks, because they are let in one after the other.
    let (other, one) = (open(path), open(path));
    let init = Message { channel: BROADCAST, command: command::INIT, payload: b"sequence".to_vec() };
    send(&one, &init.reports()[0], SendFlags::empty()).expect("send");
    let answer = next(&one).expect("an answer");
    assert_eq!(&answer[7..15], b"sequence");
    assert_eq!(next(&other), Some(answer), "everybody hears everything");

    assert_eq!(program.order("key unplug"), "ok");
    assert_eq!(next(&one), None);
    assert_eq!(next(&other), None);
    assert!(!path.exists());
    assert!(program.order("key plug").starts_with("ok "));
    open(path);
}

#[test]
fn what_is_not_understood_is_an_error_that_says_so() {
    let program = Program::start("orders");
    assert_eq!(program.order("key plug"), "error no key key");
    assert_eq!(program.order("new key"), "ok");
    for (order, error) in [
        ("new new", "error no name for a key: new"),
        ("new other blue", "error no such kind of key: blue"),
        ("key dance", "error no such order: dance"),
        ("key presence maybe", "error no such presence: maybe"),
        ("key fault getInfo status 1", "error not hexadecimal: 1"),
        ("key fault getInfo gap often", "error not understood: often"),
        ("key plug now", "error not understood: now"),
    ] {
        assert_eq!(program.order(order), error);
    }
}
