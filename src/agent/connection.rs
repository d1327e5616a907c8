//! One client's connection: frames in, replies out in order, and an eye on the client while it waits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use super::Agent;
use super::handler::Handler;
use crate::origin::connection::Connection;
use crate::protocol::frame::{FrameBuffer, MAX_MESSAGE};
use crate::stream::Stream;

/// The largest piece of memory that the system's allocator has at hand, in octets; a larger one makes it tidy up first, at each request.
const QUICKLY_FOUND: usize = 1032;

/// Apart, because what passes through a variable here has room in every idle connection.
fn quickly_boxed<F: Future>(future: F) -> Pin<Box<F>> {
    debug_assert!(size_of::<F>() <= QUICKLY_FOUND, "{} octets: box what is rare in it", size_of::<F>());
    Box::pin(future)
}

/// Serves a connection until the client closes it or loses the frame. One that waits for its client's next request holds one descriptor
/// and little memory.
pub(super) async fn serve(agent: &Arc<Agent>, stream: Arc<Stream>, origin: Box<Connection>) {
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
                reply = quickly_boxed(handler.handle(frame)) => reply,
                () = stream.hung_up() => {
                    tracing::debug!("client went away while its request was pending");
                    return;
                }
            };
            if let Err(error) = stream.write_all(reply.as_ref()).await {
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
