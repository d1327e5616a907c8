//! The kernel calls that no safe interface offers.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zeroize::Zeroize as _;

/// Which side of a fork this is.
pub enum Forked {
    /// The process that called.
    Parent {
        /// The child's process id.
        child: i32,
    },
    /// The new process.
    Child,
}

/// Forks this process.
///
/// # Errors
/// The system's limit of processes is reached.
///
/// # Panics
/// More than one thread runs: what the others hold would stay locked in the child for ever.
pub fn fork() -> io::Result<Forked> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    assert_eq!(threads, 1, "fork needs a process with one thread");
    // SAFETY: there is one thread (checked above), so the child's copy of every lock and of the heap is consistent, and both sides may go on
    // as if nothing had happened.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        child => Ok(Forked::Parent { child }),
    }
}

/// Closes every descriptor above standard error but those to keep: an agent that lives on must not hold a stranger's pipe open.
///
/// Meant for the moment after [`fork`], when nothing but these and the standard streams is owned by anything in this process.
pub fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|descriptor| u32::try_from(*descriptor).ok()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for kept in keep {
        close_range(first, kept.saturating_sub(1));
        first = first.max(kept + 1);
    }
    close_range(first, u32::MAX);
}

/// Keeps every descriptor above standard error from the processes that this one will start.
pub fn keep_from_children() {
    // SAFETY: sets a flag on open descriptors and closes none; whoever owns them keeps them.
    unsafe { libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
}

fn close_range(first: u32, last: u32) {
    if first <= last {
        // SAFETY: closes descriptors that no object of this process owns, as the caller of `close_all_but` promises; a range without open
        // descriptors is fine. An old kernel answers ENOSYS and nothing is closed, which leaves things as they were.
        unsafe { libc::close_range(first, last, 0) };
    }
}

/// Takes over a descriptor that the parent process passed on purpose, and keeps it from this process's own children.
///
/// # Errors
/// The descriptor is not open.
pub fn adopt_passed(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks for the descriptor's flags, which is harmless for any number.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open (checked), and by the protocol with the parent (sd_listen_fds(3)) it is this caller's alone: nothing else in this
    // process was told its number.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// Watches a descriptor for this, and for its end, in the runtime of this thread.
///
/// # Errors
/// The descriptor cannot be watched, or there is no runtime.
pub fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names one open descriptor for as long as it lives, and `AsyncFd` deregisters it before dropping it.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(Into::into)
}

/// Gives memory that is allocated and free back to the system, as far as the C library can tell: malloc_trim(3).
///
/// The library also keeps for each thread a few free pieces of each small size, which that call passes over. After a crowd they lie
/// scattered over the heap, each on a page of its own. So they are taken out first, and put back where others have taken their places.
pub fn return_free_memory() {
    /// The sizes of glibc's pieces for threads, in octets, and how many it keeps of each.
    const PIECES: (std::ops::RangeInclusive<usize>, usize) = (24..=1032, 7);
    let pieces = || -> Vec<Vec<u8>> {
        let (sizes, count) = PIECES;
        let of_size = |size| (0..count).map(move |_| std::hint::black_box(Vec::with_capacity(size)));
        sizes.step_by(16).flat_map(of_size).collect()
    };
    let scattered = pieces();
    trim();
    drop(pieces());
    drop(scattered);
    trim();
}

fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches only what the allocator itself holds, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

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

/// Octets in pages of their own: never written to swap as far as the system's limit of locked memory allows, in no core file, overwritten
/// when dropped.
pub struct LockedOctets {
    start: std::ptr::NonNull<u8>,
    pages: usize,
    length: usize,
}

impl LockedOctets {
    /// Copies octets there.
    ///
    /// # Errors
    /// There is no memory. That it cannot be locked is no error: a PIN that cannot be kept would be asked for at each use.
    pub fn new(octets: &[u8]) -> io::Result<Self> {
        let pages = octets.len().max(1);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: asks for new pages anywhere; nothing that exists is touched.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), pages, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
        let start = if start == libc::MAP_FAILED { None } else { std::ptr::NonNull::new(start.cast::<u8>()) };
        let start = start.ok_or_else(io::Error::last_os_error)?;
        // SAFETY: these pages were mapped just now, with this length.
        unsafe { libc::mlock(start.as_ptr().cast(), pages) };
        // SAFETY: as above.
        unsafe { libc::madvise(start.as_ptr().cast(), pages, libc::MADV_DONTDUMP) };
        let mut locked = Self { start, pages, length: octets.len() };
        locked.all().copy_from_slice(octets);
        Ok(locked)
    }

    /// The octets.
    pub fn expose(&self) -> &[u8] {
        // SAFETY: the pages are mapped as long as this value lives, and `length` of their octets were written.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    fn all(&mut self) -> &mut [u8] {
        // SAFETY: the pages are mapped as long as this value lives, nobody else knows of them, and new pages are zero.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for LockedOctets {
    fn drop(&mut self) {
        self.all().zeroize();
        // SAFETY: mapped by `new` with this length, and borrowed by nobody any more. Unmapping unlocks.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.pages) };
    }
}

// SAFETY: the pages belong to this value alone, and are written only while it is borrowed mutably.
unsafe impl Send for LockedOctets {}
// SAFETY: as above; shared borrows only read.
unsafe impl Sync for LockedOctets {}
