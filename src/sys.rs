//! System calls that no safe crate wraps yet, one function each, with the argument why it is sound.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The pidfd of the process that called `connect` on the other end of a Unix socket: `SO_PEERPIDFD`, unix(7), Linux 6.5.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 6.5; `ESRCH`, `EINVAL` or `ENODATA` when the process is gone or out of sight.
pub(crate) fn peer_pidfd(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut fd: RawFd = -1;
    let expected = size_of::<RawFd>();
    let mut length = libc::socklen_t::try_from(expected).map_err(io::Error::other)?;
    // SAFETY: the socket is open for as long as `socket` is borrowed; `fd` and `length` are live locals, and `length` tells
    // the kernel that it may write no more than the size of `fd`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if fd < 0 {
        return Err(io::Error::other("the kernel gave no peer pidfd"));
    }
    // SAFETY: on success the kernel has installed a new descriptor, close-on-exec, that nobody else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
