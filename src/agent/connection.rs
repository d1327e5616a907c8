//! One client's connection: frames in, replies out in order, and an eye on the client while it waits.

use std::io;
use std::sync::Arc;

use tokio::net::UnixStream;

use super::Agent;
use super::handler::Handler;
use crate::origin::connection::Connection;
use crate::protocol::frame::{FrameBuffer, MAX_MESSAGE};
use crate::sys::HangUp;

/// Serves a connection until the client closes it or loses the frame.
pub(super) async fn serve(agent: &Arc<Agent>, stream: UnixStream, origin: Connection) {
    let mut handler = Handler::new(agent, origin);
    let mut frames = FrameBuffer::new(MAX_MESSAGE);
    let mut end = None;
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
                reply = handler.handle(frame) => reply,
                () = hung_up(&stream, &mut end) => {
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
        if frames.is_empty() && stream.readable().await.is_err() {
            return;
        }
        match receive(&stream, frames.space()).await {
            Ok(0) | Err(_) => return,
            Ok(count) => frames.filled(count),
        }
    }
}

/// Reads what is there, or waits for it.
async fn receive(stream: &UnixStream, space: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.try_read(space) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.readable().await?,
            result => return result,
        }
    }
}

/// Resolves when the client has closed the connection altogether. A client that only ended its sending still gets its replies, and
/// requests that wait behind the present one stay unread: so the end is watched through a descriptor of its own, made for the first request
/// that has to wait.
async fn hung_up(stream: &UnixStream, end: &mut Option<HangUp>) {
    if end.is_none() {
        *end = HangUp::of(stream).ok();
    }
    match end {
        Some(end) => end.wait().await,
        // It cannot be watched; the request then runs to its end.
        None => std::future::pending().await,
    }
}

async fn send_all(stream: &UnixStream, mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        match stream.try_write(octets) {
            Ok(count) => octets = &octets[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
