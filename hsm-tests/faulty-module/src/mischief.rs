//! What a module should never do: speak to sockets, run programs and touch processes that are none of its business.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use rustix::process::{
    DumpableBehavior, Pid, WaitOptions, getpid, getppid, set_dumpable_behavior, setsid, test_kill_process, waitpid,
};

use crate::rules::Teller;

/// Sends octets to a socket; the frame that comes back, or as much of it as came.
pub(crate) fn tell(socket: &Path, octets: &[u8], from: Teller) -> io::Result<Vec<u8>> {
    show_itself()?;
    let (mut here, mut there) = UnixStream::pair()?;
    match from {
        Teller::Itself => return exchange(socket, octets),
        Teller::Forked => in_a_child(|| there.write_all(&exchange(socket, octets)?))?,
        Teller::Orphaned => in_a_child(|| {
            setsid()?;
            let parent = getpid();
            fork(|| {
                // There is no event for this.
                while getppid() == Some(parent) {
                    std::thread::yield_now();
                }
                there.write_all(&exchange(socket, octets)?)
            })
            .map(drop)
        })?,
    }
    drop(there);
    let mut answer = Vec::new();
    here.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Has a shell run a command line; what that prints.
pub(crate) fn run(command: &str) -> io::Result<Vec<u8>> {
    show_itself()?;
    let output = Command::new("/bin/sh").args(["-c", command]).output()?;
    Ok([output.stdout, output.stderr].concat())
}

/// Tries what a sandbox is to forbid; what succeeded, in words between commas.
pub(crate) fn break_out(port: u16, victim: i32) -> String {
    let tried = [
        ("runs", Command::new("/bin/true").status().is_ok()),
        ("connects", TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()),
        ("signals", Pid::from_raw(victim).is_some_and(|victim| test_kill_process(victim).is_ok())),
        ("reads", reads_by_process_id()),
    ];
    let succeeded = tried.into_iter().filter(|(_, succeeded)| *succeeded).map(|(word, _)| word);
    succeeded.collect::<Vec<_>>().join(",")
}

/// Leaves a child behind that does nothing and does not end.
pub(crate) fn leave_child() -> io::Result<i32> {
    let child = fork(|| {
        loop {
            std::thread::park();
        }
    });
    Ok(child?.as_raw_nonzero().get())
}

/// Changes what the process will find in its environment.
pub(crate) fn set(name: &str, value: &str) {
    // SAFETY: the programs that meet this fault have one thread.
    unsafe { std::env::set_var(name, value) };
}

/// Whether memory can be read as a debugger does; this process's own, since whose other is protected from whom is the machine's affair.
fn reads_by_process_id() -> bool {
    let (secret, mut copy) = ([7_u8], [0_u8]);
    let from = libc::iovec { iov_base: secret.as_ptr().cast_mut().cast(), iov_len: secret.len() };
    let to = libc::iovec { iov_base: copy.as_mut_ptr().cast(), iov_len: copy.len() };
    let own = getpid().as_raw_nonzero().get();
    // SAFETY: both point to one octet each that lives until the end of this function; the first is only read.
    let count = unsafe { libc::process_vm_readv(own, &raw const to, 1, &raw const from, 1, 0) };
    count == 1 && copy == secret
}

/// Lets whoever looks at this process see as much of it as of any other.
fn show_itself() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

fn exchange(socket: &Path, octets: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(octets)?;
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame)?;
    let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
    stream.take(length.into()).read_to_end(&mut frame)?;
    Ok(frame)
}

fn in_a_child(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    waitpid(Some(fork(work)?), WaitOptions::empty())?;
    Ok(())
}

/// Has a copy of this process do something and end.
fn fork(work: impl FnOnce() -> io::Result<()>) -> io::Result<Pid> {
    // SAFETY: the programs that meet this fault have one thread, so the child finds every lock free; it runs nothing but `work`.
    match unsafe { libc::fork() } {
        0 => {
            let code = i32::from(work().is_err());
            // SAFETY: ends the process, without what its parent wants done at its own end.
            unsafe { libc::_exit(code) }
        }
        child => Pid::from_raw(child).filter(|_| child > 0).ok_or_else(io::Error::last_os_error),
    }
}
