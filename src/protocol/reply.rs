//! Replies as they go out, length field included (RFC 9987 section 5).

use super::session_bind;
use super::wire::Put;

const IDENTITIES_ANSWER: u8 = 12;
const SIGN_RESPONSE: u8 = 14;
const EXTENSION_RESPONSE: u8 = 29;

/// `SSH_AGENT_FAILURE`
//= RFC 9987 section 5.1: On failure, the agent MUST reply with the single-byte response: byte SSH_AGENT_FAILURE
pub const FAILURE: &[u8] = &[0, 0, 0, 1, 5];
/// `SSH_AGENT_SUCCESS`
//= RFC 9987 section 5.1: On success, the agent MUST reply either with the single-byte response: byte SSH_AGENT_SUCCESS
pub const SUCCESS: &[u8] = &[0, 0, 0, 1, 6];
/// `SSH_AGENT_EXTENSION_FAILURE`: the extension is known and failed.
//= RFC 9987 section 5.8: Extension failure SHOULD be signaled using an SSH_AGENT_EXTENSION_FAILURE message
pub const EXTENSION_FAILURE: &[u8] = &[0, 0, 0, 1, 28];

/// `SSH_AGENT_IDENTITIES_ANSWER` (RFC 9987 section 5.5): each identity's blob and comment.
pub fn identities<'a>(identities: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    //= RFC 9987 section 5.5: The agent MUST reply with a message with the following preamble: byte
    //= SSH_AGENT_IDENTITIES_ANSWER uint32 nkeys
    let mut frame = open(IDENTITIES_ANSWER);
    let count_at = frame.len();
    frame.put_u32(0);
    let mut count = 0_u32;
    for (blob, comment) in identities {
        frame.put_string(blob);
        frame.put_string(comment);
        count += 1;
    }
    frame[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
    close(frame)
}

/// `SSH_AGENT_SIGN_RESPONSE` (RFC 9987 section 5.6) around a signature blob.
pub fn signature(blob: &[u8]) -> Vec<u8> {
    //= RFC 9987 section 5.6: On success, the agent MUST reply with: byte SSH_AGENT_SIGN_RESPONSE string signature
    let mut frame = open(SIGN_RESPONSE);
    frame.put_string(blob);
    close(frame)
}

/// The answer to `query` (RFC 9987 section 5.8.1): the names of the extensions that this agent serves.
pub fn query() -> Vec<u8> {
    let mut frame = open(EXTENSION_RESPONSE);
    //= RFC 9987 section 5.8: Where the "extension type" is the same as that in the request.
    frame.put_string(b"query");
    //= RFC 9987 section 5.8.1: it SHOULD reply with a list of supported extension names
    frame.put_string(session_bind::NAME.as_bytes());
    close(frame)
}

/// The answer to one of this program's own extensions: one document, as JSON.
pub fn document(extension: &str, document: &[u8]) -> Vec<u8> {
    let mut frame = open(EXTENSION_RESPONSE);
    frame.put_string(extension.as_bytes());
    frame.put_string(document);
    close(frame)
}

fn open(kind: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, kind]
}

fn close(mut frame: Vec<u8>) -> Vec<u8> {
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_is_nine_octets() {
        assert_eq!(identities(std::iter::empty()), [0, 0, 0, 5, 12, 0, 0, 0, 0]);
    }

    #[test]
    fn a_list_counts_its_identities() {
        let two = [(&b"k1"[..], &b"c"[..]), (b"k2", b"")];
        assert_eq!(identities(two.into_iter())[4..9], [12, 0, 0, 0, 2]);
    }
}
