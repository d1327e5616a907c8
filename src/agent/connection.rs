//! One client's connection: frames in, replies out in order, and an eye on the client while it waits.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::Agent;
use super::handler::Handler;
use crate::origin::connection::Connection;
use crate::protocol::frame::{FrameBuffer, MAX_MESSAGE};

/// Serves a connection until the client closes it or loses the frame.
pub(super) async fn serve(agent: &Agent, stream: UnixStream, origin: Connection) {
    let mut handler = Handler::new(agent, origin);
    let mut frames = FrameBuffer::new(MAX_MESSAGE);
    loop {
        loop {
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "connection closed");
                    return;
                }
            };
            let reply = tokio::select! {
                biased;
                reply = handler.handle(frame) => reply,
                () = hung_up(&stream) => {
                    tracing::debug!("client went away while its request was pending");
                    return;
                }
            };
            if let Err(error) = send_all(&stream, reply.as_ref()).await {
                tracing::debug!(%error, "client went away before its reply");
                return;
            }
        }
        frames.release_if_idle();
        if frames.is_empty() && wait_readable(&stream).await.is_err() {
            return;
        }
        match receive(&stream, frames.space()).await {
            Ok(0) | Err(_) => return,
            Ok(count) => frames.filled(count),
        }
    }
}

/// Waits without holding a buffer, so that idle connections cost next to nothing.
async fn wait_readable(stream: &UnixStream) -> io::Result<()> {
    if is_ready(stream, PollFlags::IN | PollFlags::HUP) {
        return Ok(());
    }
    stream
        .async_io(Interest::READABLE, || match is_ready(stream, PollFlags::IN | PollFlags::HUP) {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        })
        .await
}

/// Reads what is there. The kernel is asked before the runtime: [`hung_up`] takes readiness away from it.
async fn receive(stream: &UnixStream, space: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(stream, &mut *space, RecvFlags::DONTWAIT) {
            Ok((count, _)) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_readable(stream).await?,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn send_all(stream: &UnixStream, mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        match send(stream, octets, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => octets = &octets[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let attempt =
                    || send(stream, octets, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map_err(io::Error::from);
                let count = stream.async_io(Interest::WRITABLE, attempt).await?;
                octets = &octets[count..];
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Resolves when the client has closed the connection altogether. A client that only ended its sending still gets its replies, and
/// requests that wait behind the present one stay unread.
async fn hung_up(stream: &UnixStream) {
    let closed = || match is_ready(stream, PollFlags::HUP) {
        true => Ok(()),
        false => Err(io::ErrorKind::WouldBlock.into()),
    };
    // An error means that the descriptor cannot be watched; the request then runs to its end.
    if stream.async_io(Interest::READABLE, closed).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn is_ready(stream: &UnixStream, flags: PollFlags) -> bool {
    let mut fds = [PollFd::new(stream, flags)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|count| count > 0) && fds[0].revents().intersects(flags | PollFlags::ERR)
}
