//! Message framing: a `uint32` length, then that many octets (RFC 9987 section 5).
//!
//! The buffer hands out one frame at a time, so no frame can read into the next, and refuses an announced length above its limit
//! before a single octet of it is stored. What it held is overwritten when it is dropped or grows: frames carry private keys and PINs.

use std::cell::Cell;

use zeroize::{Zeroize as _, Zeroizing};

/// The longest message an agent accepts, in octets without the length field; OpenSSH's limit too.
pub const MAX_MESSAGE: usize = 256 * 1024;

const HEADER: usize = 4;
const FIRST_READ: usize = 4096;
/// How many times as much as has arrived a message may get room for.
const GROWTH: usize = 4;

/// A peer announced a message longer than the limit. Its end cannot be found without swallowing it, so the stream is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("announced a message of {announced} octets, {limit} are allowed")]
pub struct TooLong {
    /// The announced length in octets.
    pub announced: usize,
    /// The limit in octets.
    pub limit: usize,
}

thread_local! {
    /// A buffer of [`FIRST_READ`] zeros that was given back: almost every message needs such a one, and for a moment only.
    static SPARE: Cell<Option<Vec<u8>>> = const { Cell::new(None) };
}

/// Collects octets from a stream and yields whole messages.
#[derive(Debug)]
pub struct FrameBuffer {
    octets: Zeroizing<Vec<u8>>,
    consumed: usize,
    filled: usize,
    /// Behind this there has been nothing but zeros.
    touched: usize,
    limit: usize,
}

impl FrameBuffer {
    /// An empty buffer for messages of at most `limit` octets. Allocates nothing yet, so that an idle connection costs nothing.
    pub fn new(limit: usize) -> Self {
        Self { octets: Zeroizing::new(Vec::new()), consumed: 0, filled: 0, touched: 0, limit }
    }

    /// Room for the next read from the stream; never empty. Tell how much of it was used with [`Self::filled`].
    pub fn space(&mut self) -> &mut [u8] {
        let pending = self.filled - self.consumed;
        let whole = self.announced().map_or(FIRST_READ, |length| HEADER + length.min(self.limit));
        // Not all at once: who announces much and sends little gets little.
        let wanted = whole.min(FIRST_READ.max(GROWTH * pending)).max(pending + 1);
        if self.octets.len() < wanted {
            let spare = if wanted <= FIRST_READ { SPARE.take() } else { None };
            // A plain `resize` may move the octets and leave the old ones behind.
            let mut larger = Zeroizing::new(spare.unwrap_or_else(|| vec![0; wanted.max(FIRST_READ)]));
            larger[..pending].copy_from_slice(&self.octets[self.consumed..self.filled]);
            self.octets = larger;
            (self.consumed, self.filled, self.touched) = (0, pending, pending);
        } else if self.octets.len() - self.consumed < wanted {
            self.octets.copy_within(self.consumed..self.filled, 0);
            (self.consumed, self.filled) = (0, pending);
        }
        &mut self.octets[self.filled..]
    }

    /// Notes that the stream put `count` octets into [`Self::space`].
    pub fn filled(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.octets.len());
        self.touched = self.touched.max(self.filled);
    }

    /// Takes the next whole message out of the buffer, without its length field.
    ///
    /// # Errors
    /// The announced length is above the limit; the connection has to be closed.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let Some(length) = self.announced() else { return Ok(None) };
        if length > self.limit {
            return Err(TooLong { announced: length, limit: self.limit });
        }
        let start = self.consumed + HEADER;
        if self.filled - start < length {
            return Ok(None);
        }
        self.consumed = start + length;
        Ok(Some(&self.octets[start..start + length]))
    }

    /// Whether nothing is pending.
    pub const fn is_empty(&self) -> bool {
        self.consumed == self.filled
    }

    /// Gives the memory back once nothing is pending, so that ten thousand idle connections stay cheap.
    pub fn release_if_idle(&mut self) {
        if self.is_empty() {
            if self.octets.len() == FIRST_READ {
                self.octets[..self.touched].zeroize();
                SPARE.set(Some(std::mem::take(&mut *self.octets)));
            } else {
                self.octets = Zeroizing::new(Vec::new());
            }
            (self.consumed, self.filled, self.touched) = (0, 0, 0);
        }
    }

    fn announced(&self) -> Option<usize> {
        let header = self.octets[self.consumed..self.filled].first_chunk::<HEADER>()?;
        Some(u32::from_be_bytes(*header) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(buffer: &mut FrameBuffer, mut octets: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while !octets.is_empty() {
            let space = buffer.space();
            let count = octets.len().min(step).min(space.len());
            space[..count].copy_from_slice(&octets[..count]);
            buffer.filled(count);
            octets = &octets[count..];
            while let Some(frame) = buffer.next_frame().expect("within the limit") {
                frames.push(frame.to_vec());
            }
        }
        frames
    }

    fn message(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes()[..], body].concat()
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let bodies: [&[u8]; 4] = [b"a", b"", &[7; 9000], b"end"];
        let stream: Vec<u8> = bodies.iter().flat_map(|body| message(body)).collect();
        for step in [1, 2, 3, 5, 4096, usize::MAX] {
            assert_eq!(feed(&mut FrameBuffer::new(MAX_MESSAGE), &stream, step), bodies);
        }
    }

    #[test]
    fn the_limit_itself_is_accepted_and_one_more_is_not() {
        assert_eq!(feed(&mut FrameBuffer::new(10), &message(&[1; 10]), 4096), [[1; 10]]);
        let mut buffer = FrameBuffer::new(10);
        buffer.space()[..4].copy_from_slice(&11_u32.to_be_bytes());
        buffer.filled(4);
        assert_eq!(buffer.next_frame(), Err(TooLong { announced: 11, limit: 10 }));
    }

    #[test]
    fn an_announced_length_reserves_no_more_than_the_limit() {
        let mut buffer = FrameBuffer::new(10_000);
        buffer.space()[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        buffer.filled(4);
        assert!(buffer.space().len() <= 10_004);
    }

    #[test]
    fn a_long_message_gets_room_as_it_arrives() {
        let mut buffer = FrameBuffer::new(MAX_MESSAGE);
        buffer.space()[..4].copy_from_slice(&(MAX_MESSAGE as u32).to_be_bytes());
        buffer.filled(4);
        buffer.space();
        assert!(buffer.octets.capacity() <= FIRST_READ);
        assert_eq!(feed(&mut FrameBuffer::new(MAX_MESSAGE), &message(&[7; MAX_MESSAGE]), 5000), [[7; MAX_MESSAGE]]);
    }

    #[test]
    fn an_idle_buffer_holds_no_memory() {
        let mut buffer = FrameBuffer::new(MAX_MESSAGE);
        feed(&mut buffer, &message(b"x"), 4096);
        buffer.release_if_idle();
        assert_eq!(buffer.octets.capacity(), 0);
    }

    #[test]
    fn a_buffer_that_another_connection_gets_holds_nothing_of_the_first() {
        let mut first = FrameBuffer::new(MAX_MESSAGE);
        // The second message moves to the front when there is no room behind it.
        feed(&mut first, &[message(&[7; 3000]), message(&[8; 2000])].concat(), 4096);
        let place = first.octets.as_ptr();
        first.release_if_idle();
        let mut second = FrameBuffer::new(MAX_MESSAGE);
        let space = second.space();
        assert!(space.iter().all(|octet| *octet == 0));
        assert_eq!(space.as_ptr(), place, "it was not used again");
    }
}
