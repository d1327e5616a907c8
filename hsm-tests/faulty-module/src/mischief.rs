//! What a module should never do: speak to sockets and run programs that are none of its business.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use rustix::process::{DumpableBehavior, Pid, WaitOptions, getpid, getppid, set_dumpable_behavior, setsid, waitpid};

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
