//! A connected Unix socket, of a client or of a worker, that wakes its task only when there is something to know.
//!
//! The runtime's own streams wait for both directions at once, so that each reply which the other side takes in wakes the agent for
//! nothing; and they have to try in vain before they believe that nothing more has come. Each costs about as much as a request.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::watch;

/// A connected stream socket that blocks nobody.
#[derive(Debug)]
pub struct Stream(AsyncFd<OwnedFd>);

impl Stream {
    /// Takes a socket that is non-blocking.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        watch(socket, Interest::READABLE).map(Self)
    }

    /// Waits until there may be something to read, which may be the end.
    ///
    /// # Errors
    /// The runtime is ending.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.ready(Interest::READABLE).await.map(drop)
    }

    /// Reads what has come, 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has, or as recv(2).
    pub fn try_read(&self, space: &mut [u8]) -> io::Result<usize> {
        let count = self.0.try_io(Interest::READABLE, |socket| Ok(recv(socket, &mut *space, RecvFlags::empty())?.0))?;
        if (1..space.len()).contains(&count) {
            // There was no more, and what comes from now on announces itself.
            let _: io::Result<()> = self.0.try_io(Interest::READABLE, |_| Err(io::ErrorKind::WouldBlock.into()));
        }
        Ok(count)
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// As send(2), without its signal.
    pub async fn write_all(&self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            match send(&self.0, octets, SendFlags::NOSIGNAL) {
                Ok(count) => octets = &octets[count..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return self.write_slowly(octets).await,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Resolves when the other side has closed the connection altogether, not only ended its sending. What else it sends stays unread.
    pub async fn hung_up(&self) {
        // Readiness to write is not waited for, so nothing but the end is ever told of that side.
        if self.0.ready(Interest::WRITABLE).await.is_err() {
            // It cannot be watched.
            std::future::pending::<()>().await;
        }
    }

    /// Through a descriptor of its own, which waits for room only as long as there is none.
    async fn write_slowly(&self, mut octets: &[u8]) -> io::Result<()> {
        let writer = watch(self.0.get_ref().try_clone()?, Interest::WRITABLE)?;
        while !octets.is_empty() {
            let attempt = |socket: &OwnedFd| Ok(send(socket, octets, SendFlags::NOSIGNAL)?);
            let count = writer.async_io(Interest::WRITABLE, attempt).await?;
            octets = &octets[count..];
        }
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::task::Poll;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn pair() -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("non-blocking");
        (Stream::new(ours.into()).expect("a stream"), theirs)
    }

    async fn is_readable(stream: &Stream) -> bool {
        timeout(Duration::from_secs(5), stream.readable()).await.is_ok()
    }

    /// What the kernel has to tell is told; nothing is waited for.
    async fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(future);
        for _ in 0..3 {
            tokio::task::yield_now().await;
            if let Poll::Ready(output) = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
                return Some(output);
            }
        }
        None
    }

    #[tokio::test]
    async fn what_comes_after_a_short_read_is_told_and_nothing_else() {
        let (stream, mut other) = pair();
        for text in [b"one", b"two"] {
            other.write_all(text).expect("room");
            assert!(is_readable(&stream).await);
            let mut space = [0; 16];
            assert_eq!(stream.try_read(&mut space).expect("octets"), text.len());
            assert_eq!(&space[..text.len()], text);
            assert!(now(stream.readable()).await.is_none());
        }
    }

    #[tokio::test]
    async fn what_did_not_fit_is_there_at_once() {
        let (stream, mut other) = pair();
        other.write_all(b"onetwo").expect("room");
        assert!(is_readable(&stream).await);
        let mut space = [0; 3];
        for text in [b"one", b"two"] {
            assert_eq!(stream.try_read(&mut space).expect("octets"), 3);
            assert_eq!(&space, text);
            assert!(now(stream.readable()).await.is_some());
        }
        assert_eq!(stream.try_read(&mut space).expect_err("nothing").kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn the_end_is_read_even_when_it_comes_with_the_last_octets() {
        let (stream, mut other) = pair();
        other.write_all(b"one").expect("room");
        drop(other);
        let mut space = [0; 16];
        assert!(is_readable(&stream).await);
        assert_eq!(stream.try_read(&mut space).expect("octets"), 3);
        assert!(is_readable(&stream).await);
        assert_eq!(stream.try_read(&mut space).expect("the end"), 0);
    }

    #[tokio::test]
    async fn only_the_end_of_both_directions_is_a_hang_up() {
        let (stream, mut other) = pair();
        other.write_all(b"one").expect("room");
        other.shutdown(std::net::Shutdown::Write).expect("shutdown");
        assert!(now(stream.hung_up()).await.is_none());
        drop(other);
        assert!(timeout(Duration::from_secs(5), stream.hung_up()).await.is_ok());
    }

    #[tokio::test]
    async fn more_than_fits_is_written_as_the_other_side_reads() {
        let (stream, mut other) = pair();
        let octets: Vec<u8> = (0..4 << 20).map(|number: u32| number.to_le_bytes()[1]).collect();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            other.read_to_end(&mut all).map(|_| all)
        });
        stream.write_all(&octets).await.expect("written");
        drop(stream);
        assert!(reading.join().expect("a thread").expect("read") == octets);
    }

    #[tokio::test]
    async fn who_hung_up_is_not_written_to() {
        let (stream, other) = pair();
        drop(other);
        assert_eq!(stream.write_all(b"one").await.expect_err("nobody").kind(), io::ErrorKind::BrokenPipe);
    }
}
