//! A record as one line for people: in `hardkey log`, and as the message of journald.

use std::fmt::Write as _;

use super::record::{Consented, Event, Outcome, Record};

/// The sentence; all of its parts were made safe to show when the record was.
#[must_use]
pub fn of(record: &Record) -> String {
    let mut text = match record.outcome {
        Outcome::Done => done(record).to_owned(),
        Outcome::Refused => format!("REFUSED to {}", deed(record)),
        Outcome::Withdrawn | Outcome::Other => format!("did not {}, as the client went away", deed(record)),
    };
    if let Some(what) = what(record) {
        let _ = write!(text, ": {what}");
    }
    if let Some(key) = &record.key {
        let name = key.comment.as_deref().filter(|comment| !comment.is_empty()).unwrap_or(&key.fingerprint);
        let _ = write!(text, "; key {name}");
    }
    let hops: Vec<&str> = record.via.iter().map(|hop| hop.host.as_deref().unwrap_or(hop.host_key.as_str())).collect();
    if !hops.is_empty() {
        let _ = write!(text, "; via {}", hops.join(" -> "));
    }
    if let Some(origin) = &record.origin {
        let _ = write!(text, "; {origin}");
    }
    if let Some(program) = record.peer.as_ref().and_then(|peer| peer.program.as_deref()) {
        let _ = write!(text, "; by {program}");
    }
    match record.consent {
        Some(Consented::Once) => text += "; a person said yes",
        Some(Consented::ForAWhile) => text += "; a person said yes for a while",
        Some(Consented::Earlier) => text += "; under an earlier yes",
        Some(Consented::No | Consented::Other) | None => {}
    }
    if let Some(more) = record.more {
        let _ = write!(text, "; the last of {more} like this");
    }
    if let (Some(reason), false) = (&record.reason, record.outcome == Outcome::Withdrawn) {
        let _ = write!(text, " ({reason})");
    }
    text
}

fn done(record: &Record) -> &'static str {
    match record.event {
        Event::Sign => "signed",
        Event::Add => "added",
        Event::Remove | Event::RemoveAll => "removed",
        Event::ProviderAdd => "added the keys of a provider",
        Event::ProviderRemove => "removed the keys of a provider",
        Event::Lock => "locked",
        Event::Unlock => "unlocked",
        Event::Pin => "accepted a PIN",
        Event::Approval => "approved for a while",
        Event::ApprovalEnd => "ended an approval",
        Event::Lost => "lost records, as the log could not be written",
        Event::Other => "did what this version does not know",
    }
}

fn deed(record: &Record) -> &'static str {
    match record.event {
        Event::Sign => "sign",
        Event::Add => "add a key",
        Event::Remove | Event::RemoveAll => "remove keys",
        Event::ProviderAdd => "add a provider",
        Event::ProviderRemove => "remove a provider",
        Event::Lock => "lock",
        Event::Unlock => "unlock",
        Event::Pin => "accept a PIN",
        Event::Approval => "approve for a while",
        Event::ApprovalEnd | Event::Lost | Event::Other => "do what this version does not know",
    }
}

fn what(record: &Record) -> Option<String> {
    if let Some(request) = &record.request {
        return Some(match request.kind.as_str() {
            "bound-login" | "login" => {
                let user = request.user.as_deref().unwrap_or("?");
                format!("login {user} @ {}", record.host().unwrap_or("unknown host"))
            }
            "sshsig" => format!("signature (namespace {})", request.namespace.as_deref().unwrap_or("?")),
            "certificate" => format!("certificate for {}", request.principals.join(",")),
            "sudo" => format!("sudo {}", request.command.as_deref().unwrap_or_default()),
            other => other.to_owned(),
        });
    }
    let token = record.token.as_ref().map(|token| format!("token {} ({})", token.label, token.serial));
    let count = record.count.map(|count| count.to_string());
    record.provider.clone().or(token).or(count)
}
