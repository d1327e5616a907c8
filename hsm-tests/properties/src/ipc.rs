//! Messages between agent and worker: the agent survives whatever a worker answers, and what it understood is one value.

use hardkey::backend::pkcs11::uri::Uri;
use hardkey::ipc::{self, Answer, Call, TokenSeen};
use hardkey::text;

const HEADER: usize = 4;

/// Input: the body of a frame from a worker.
pub fn check(input: &[u8]) {
    if let Ok(answer) = ipc::decode::<Answer>(input) {
        // Numbers may be written with too many octets, so the way back need not give the input; but it ends there.
        let octets = ipc::encode(&answer).expect("an answer that was short enough to come");
        assert!(octets.len() - HEADER <= input.len(), "{} octets out of {}", octets.len(), input.len());
        let again: Answer = ipc::decode(&octets[HEADER..]).expect("an own message");
        assert_eq!(ipc::encode(&again).expect("an own message"), octets);
        match &answer {
            Answer::Tokens { tokens, .. } => tokens.iter().for_each(understood),
            Answer::LoggedIn(token) => understood(token),
            Answer::Done
            | Answer::Signature(_)
            | Answer::Assertion { .. }
            | Answer::Failed(_)
            | Answer::Glanced { .. }
            | Answer::Fido(_)
            | Answer::Token(_)
            | Answer::WaitsForTouch(_) => {}
        }
    }
    if let Ok(call) = ipc::decode::<Call>(input) {
        let octets = ipc::encode(&call).expect("a call that was short enough to come");
        assert!(ipc::decode::<Call>(&octets[HEADER..]).is_ok());
    }
}

/// What the agent does with each token and key: it makes a URI that selects the key, and a text for people.
fn understood(token: &TokenSeen) {
    for key in &token.keys {
        let uri = Uri::of_key(&token.name, key);
        assert_eq!(Uri::parse(&uri.to_string()).as_ref(), Ok(&uri));
        assert!(uri.matches_key(key), "a key's own URI does not select it");
        assert!(uri.matches_token(token), "a token's own URI does not select it");
        assert!(!text::escape(&key.label).chars().any(char::is_control));
        let _ = ipc::material(&key.public);
    }
}
