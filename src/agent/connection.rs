//! One client's connection: frames in, replies out in order, and an eye on the client while it waits.

use std::io;
use std::sync::Arc;

use rustix::net::{SendFlags, send};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::Agent;
use super::handler::Handler;
use crate::origin::connection::Connection;
use crate::protocol::frame::{FrameBuffer, MAX_MESSAGE};

/// Serves a connection until the client closes it or loses the frame. One that waits for its client's next request holds one descriptor
/// and little memory.
pub(super) async fn serve(agent: &Arc<Agent>, stream: Arc<UnixStream>, origin: Box<Connection>) {
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
            //= RFC 9987 section 3: At no time does the agent send messages except in response to a client request.
            //= Replies are sent in order.
            let reply = tokio::select! {
                biased;
                // Boxed, so that its many states need room only while there is a request.
                reply = Box::pin(handler.handle(frame)) => reply,
                () = hung_up(&stream) => {
                    tracing::debug!("client went away while its request was pending");
                    return;
                }
            };
            if let Err(error) = send_all(&stream, reply.as_ref()).await {
                tracing::debug!(%error, "client went away before its reply");
                return;
            }
            // A client that always has another request waiting takes its turn like the others.
            tokio::task::consume_budget().await;
        }
        frames.release_if_idle();
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(frames.space()) {
            Ok(0) => return,
            Ok(count) => frames.filled(count),
            // Not readable after all; round again, lest the wait holds the room for what does not come.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Resolves when the client has closed the connection altogether. A client that only ended its sending still gets its replies, and
/// requests that wait behind the present one stay unread, so what tells is that nothing can be written any more. The socket is nearly always
/// ready to be written to; that is denied here until there is something new to know of it.
async fn hung_up(stream: &UnixStream) {
    loop {
        match stream.ready(Interest::WRITABLE).await {
            Ok(ready) if ready.is_write_closed() => return,
            Ok(_) => {
                let _: io::Result<()> = stream.try_io(Interest::WRITABLE, || Err(io::ErrorKind::WouldBlock.into()));
            }
            // It cannot be watched; the request then runs to its end.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Tries before it waits for readiness, which [`hung_up`] may have denied.
async fn send_all(stream: &UnixStream, mut octets: &[u8]) -> io::Result<()> {
    let mut attempt = || {
        let count = send(stream, octets, SendFlags::NOSIGNAL)?;
        octets = &octets[count..];
        io::Result::Ok(octets.is_empty())
    };
    loop {
        match attempt() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stream.async_io(Interest::WRITABLE, &mut attempt).await? {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
}
