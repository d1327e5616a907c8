//! Framing: the same messages come out however the stream is cut, and the limit is kept.

use hardkey::protocol::frame::{FrameBuffer, TooLong};

const HEADER: usize = 4;
/// What a buffer may hold beyond its limit: it reads a page at least.
const PAGE: usize = 4096;

/// Input: two octets for the limit, one for the number of cuts, that many octets for the lengths of the pieces, then the stream.
pub fn check(input: &[u8]) {
    let Some((&[high, low, count], rest)) = input.split_first_chunk::<3>() else { return };
    let limit = 1 + usize::from(u16::from_be_bytes([high, low]));
    let (cuts, stream) = rest.split_at(rest.len().min(count.into()));
    let expected = split_at_once(stream, limit);
    assert_eq!(through_a_buffer(stream, cuts, limit), expected, "cut into {cuts:?}");
    if stream.len() <= 512 {
        assert_eq!(through_a_buffer(stream, &[1], limit), expected, "octet by octet");
    }
}

/// The messages, and how the stream ends.
type Split = (Vec<Vec<u8>>, Result<(), TooLong>);

fn split_at_once(mut stream: &[u8], limit: usize) -> Split {
    let mut frames = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<HEADER>() {
        let announced = u32::from_be_bytes(*length) as usize;
        if announced > limit {
            return (frames, Err(TooLong { announced, limit }));
        }
        let Some((frame, rest)) = rest.split_at_checked(announced) else { break };
        frames.push(frame.to_vec());
        stream = rest;
    }
    (frames, Ok(()))
}

fn through_a_buffer(mut stream: &[u8], cuts: &[u8], limit: usize) -> Split {
    let mut buffer = FrameBuffer::new(limit);
    let mut frames = Vec::new();
    let mut pieces = cuts.iter().map(|cut| usize::from(*cut).max(1)).cycle();
    let (mut given, mut taken) = (0, 0);
    loop {
        loop {
            match buffer.next_frame() {
                Ok(Some(frame)) => {
                    taken += HEADER + frame.len();
                    frames.push(frame.to_vec());
                }
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        if stream.is_empty() {
            return (frames, Ok(()));
        }
        // Only some of the time, as a connection does it that is not always idle.
        if frames.len() % 2 == 0 {
            buffer.release_if_idle();
        }
        let space = buffer.space();
        assert!(!space.is_empty(), "no room for what comes next");
        assert!(space.len() <= (HEADER + limit).max(PAGE), "{} octets of room with a limit of {limit}", space.len());
        let count = pieces.next().unwrap_or(usize::MAX).min(stream.len()).min(space.len());
        space[..count].copy_from_slice(&stream[..count]);
        buffer.filled(count);
        stream = &stream[count..];
        given += count;
        assert_eq!(buffer.is_empty(), given == taken, "{given} octets given, {taken} taken");
    }
}
