//! The sentences of a confirmation: where a request comes from, what it wants, with which key.
//!
//! Everything that came over the wire is escaped and cut: a user name must not be able to write a line of its own into the dialog.

use crate::origin::classify::{Judgement, Origin};
use crate::protocol::payload::Payload;
use crate::text;

/// What is asked when the agent judges origins.
pub(super) fn about(judgement: &Judgement, payload: &Payload<'_>, comment: &[u8], fingerprint: &str) -> String {
    let headline = match judgement.origin {
        Origin::LocalDirect | Origin::LocalTool => "LOCAL REQUEST",
        Origin::ForwardedVerified | Origin::ForwardedKnownHop => "FORWARDED REQUEST",
        Origin::ForwardedUnverified => "FORWARDED REQUEST - UNVERIFIED",
        Origin::Unknown => "UNVERIFIED REQUEST - may come from elsewhere",
    };
    format!(
        "{headline}\n{}\n{}\nAllow use of key {}?\nKey fingerprint {fingerprint}.",
        text::escape(judgement.reason.as_bytes()),
        wish(payload),
        text::excerpt(comment),
    )
}

/// What stock ssh-agent asks: the words that people and programs who switch over know.
pub(super) fn stock(payload: &Payload<'_>, is_restricted: bool, comment: &[u8], fingerprint: &str) -> String {
    let mut question = format!("Allow use of key {}?\nKey fingerprint {fingerprint}.", text::excerpt(comment));
    if let (true, Some(login)) = (is_restricted, payload.login()) {
        question +=
            &format!("\npublic key authentication request for user \"{}\" to listed host", text::excerpt(login.user));
    }
    question
}

/// What a signature is for, in a phrase for the dialogs of a token that wants its PIN or a touch.
pub(super) fn purpose(payload: &Payload<'_>) -> String {
    match payload {
        Payload::BoundLogin { login, .. } | Payload::Login(login) => {
            format!("log in as \"{}\"", text::excerpt(login.user))
        }
        Payload::SshSig { namespace } => format!("sign a message (namespace \"{}\")", text::excerpt(namespace)),
        Payload::Certificate(_) => "sign a certificate".to_owned(),
        Payload::Sudo(sudo) => format!("become another user by {}", text::excerpt(sudo.service)),
        Payload::HostKex { .. } => "answer for a server whose host key this is".to_owned(),
        Payload::Raw => "sign data of unknown meaning".to_owned(),
    }
}

fn wish(payload: &Payload<'_>) -> String {
    match payload {
        Payload::BoundLogin { login, .. } => {
            format!("wants to log in as \"{}\" at one host, whose key is in the request", text::excerpt(login.user))
        }
        Payload::Login(login) => {
            format!("wants to log in as \"{}\" at a host that is not known", text::excerpt(login.user))
        }
        Payload::SshSig { namespace } => format!("wants a signature (namespace \"{}\")", text::excerpt(namespace)),
        Payload::Certificate(certificate) => {
            let kind = if certificate.is_host { "host" } else { "user" };
            let principals = certificate.principals.join(&b',');
            format!("wants a {kind} certificate signed for \"{}\"", text::excerpt(&principals))
        }
        Payload::Sudo(sudo) => {
            let command = sudo.command.join(&b' ');
            format!(
                "wants to become another user by {} (claimed: \"{}\", of {} on {} in {})",
                text::excerpt(sudo.service),
                text::excerpt(&command),
                text::excerpt(sudo.caller),
                text::excerpt(sudo.hostname),
                text::excerpt(sudo.directory),
            )
        }
        Payload::HostKex { .. } => "wants to answer for a server whose host key this is".to_owned(),
        Payload::Raw => "wants a signature over data of unknown meaning".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::payload::Login;

    #[test]
    fn nothing_from_the_wire_makes_a_line_of_its_own() {
        let user = b"root\nThis is your own login - safe to allow.";
        let payload = Payload::Login(Login { session_id: b"s", user, algorithm: b"ssh-ed25519", key: b"k" });
        let judgement =
            Judgement { origin: Origin::Unknown, reason: "why".into(), findings: Vec::new(), first_hop_proved: false };
        let question = about(&judgement, &payload, b"key\r\nfine", "SHA256:x");
        assert_eq!(question.lines().count(), 5, "{question}");
        assert_eq!(stock(&payload, true, b"key\nfine", "SHA256:x").lines().count(), 3);
    }
}
