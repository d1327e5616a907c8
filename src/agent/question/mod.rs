//! The text of a confirmation: where a request comes from, what it wants, with which key, and what comes next.
//!
//! The first line says where it comes from. What is certain is stated; what somebody says who may lie is marked as a claim. Everything that came from
//! elsewhere is a field of its own, escaped and cut: a user name must not be able to write a line into the dialog.

pub(super) mod file;

use crate::backend::Place;
use crate::errand::Demands;
use crate::field::{ends, field, line, quoted};
use crate::origin::classify::{Judgement, Origin};
use crate::origin::facts::{Certainty, Facts, Hop, Host};
use crate::protocol::payload::{Payload, Sudo};
use crate::protocol::public_key::PublicKey;
use crate::text;
use file::SignedFile;

/// The longest chain of programs and command line, in characters.
const LONGEST_CHAIN: usize = 90;
/// The longest reason, in characters.
const LONGEST_REASON: usize = 130;
/// Hops that are named; of more the last ones are counted.
const MOST_HOPS: usize = 3;
/// What fits a dialog of pinentry, in octets as they are sent. Beyond this less important lines are left out.
const ROOM: usize = 880;

/// Everything that the text is made of.
pub(super) struct Case<'a> {
    pub(super) judgement: &'a Judgement,
    pub(super) facts: &'a Facts,
    pub(super) payload: &'a Payload<'a>,
    /// What a local program signs, if that was found.
    pub(super) file: Option<SignedFile>,
    pub(super) key: KeyLine<'a>,
    /// What the button for a longer yes means, where there is one.
    pub(super) longer: Option<String>,
}

/// The key, as far as it is shown.
pub(super) struct KeyLine<'a> {
    pub(super) public: &'a PublicKey,
    pub(super) comment: &'a [u8],
    pub(super) fingerprint: &'a str,
    pub(super) place: Place,
    /// What its device demands before it signs.
    pub(super) demands: Demands,
}

/// A line and how badly it is needed; 0 is never left out.
struct Line {
    text: String,
    spare: u8,
}

impl Case<'_> {
    /// The text.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![Line::needed(self.headline())];
        match self.judgement.origin {
            Origin::LocalDirect | Origin::LocalTool | Origin::Unknown => self.programs(&mut lines),
            _ => self.hops(&mut lines),
        }
        self.wish(&mut lines);
        if matches!(self.judgement.origin, Origin::Unknown | Origin::ForwardedUnverified) {
            let reason = &self.judgement.reason;
            // The headline says so already.
            let reason = reason.strip_prefix("may come from elsewhere: ").unwrap_or(reason).replace('"', "'");
            lines.push(Line::spare(1, format!("why   {}", line(&reason, LONGEST_REASON))));
        }
        self.key(&mut lines);
        fit(lines)
    }

    /// What the signature is for, in a phrase for the dialogs of a token that wants its PIN or a touch.
    pub(super) fn purpose(&self) -> String {
        match self.payload {
            Payload::BoundLogin { login, .. } | Payload::Login(login) => {
                format!("log in as {} at {}", quoted(login.user), self.place())
            }
            other => purpose(other),
        }
    }

    fn headline(&self) -> String {
        let is_signature = matches!(self.payload, Payload::SshSig { .. } | Payload::Certificate(_));
        match (self.judgement.origin, self.payload) {
            (Origin::LocalDirect | Origin::LocalTool, _) => "LOCAL REQUEST",
            (Origin::Unknown, _) => "UNVERIFIED REQUEST - may come from elsewhere",
            (Origin::ForwardedUnverified, _) => "FORWARDED REQUEST - NOT VERIFIED",
            (_, Payload::Sudo(_)) => "FORWARDED SUDO",
            (Origin::ForwardedKnownHop, Payload::BoundLogin { .. } | Payload::Login(_)) if self.target().is_none() => {
                "FORWARDED REQUEST - DESTINATION UNKNOWN"
            }
            _ if is_signature => "FORWARDED SIGNATURE",
            _ => "FORWARDED REQUEST",
        }
        .to_owned()
    }

    /// Who asks on this machine.
    fn programs(&self, lines: &mut Vec<Line>) {
        let Ok(asker) = &self.facts.asker else {
            lines.push(Line::needed("from  a program that cannot be seen".to_owned()));
            return;
        };
        let terminal = asker.terminal.as_ref().map(|terminal| format!("  ({})", field(terminal.name.as_bytes())));
        // Not with arrows: some askpass programs take `<` for markup.
        let chain = asker.chain();
        let (own, above) = chain.split_once(" <- ").unwrap_or((&chain, ""));
        let above =
            if above.is_empty() { String::new() } else { format!(", called by {}", above.replace(" <- ", ", ")) };
        let chain = line(&format!("{own}{above}"), LONGEST_CHAIN);
        lines.push(Line::needed(format!("from  {chain}{}", terminal.unwrap_or_default())));
        let command = ends(&asker.command(), LONGEST_CHAIN);
        lines.push(Line::spare(2, format!("run   {command}  (pid {})", asker.pid)));
    }

    /// The way it came.
    fn hops(&self, lines: &mut Vec<Line>) {
        if let Some(label) = &self.facts.label {
            lines.push(Line::spare(2, format!("at    {}", field(label.as_bytes()))));
        }
        if self.facts.hops.is_empty() {
            lines.push(Line::needed("via   a host that is not named".to_owned()));
        }
        let mut before = "this machine's ssh".to_owned();
        for (at, hop) in self.facts.hops.iter().take(MOST_HOPS).enumerate() {
            let name = host(&hop.host);
            let how = match (hop.certainty, at) {
                (Certainty::Proved, _) => "verified".to_owned(),
                (Certainty::Claimed, 0) => "not verified".to_owned(),
                (Certainty::Claimed, _) => format!("claimed by {before}"),
            };
            let begin = if at == 0 { "via   " } else { "      then " };
            lines.push(Line { text: format!("{begin}{name} ({how})"), spare: if at == 0 { 0 } else { 1 } });
            before = name;
        }
        if let Some(more) = self.facts.hops.len().checked_sub(MOST_HOPS).filter(|more| *more > 0) {
            lines.push(Line::spare(1, format!("      then {more} more (claimed)")));
        }
    }

    fn wish(&self, lines: &mut Vec<Line>) {
        match self.payload {
            Payload::BoundLogin { login, .. } | Payload::Login(login) => {
                lines.push(Line::needed(format!("login {} at {}", quoted(login.user), self.place())));
                // A host without a name is known by its key alone, so that is never left out.
                if let Some(host) = self.target().map(|target| &target.host).filter(|host| host.names.is_empty()) {
                    lines.push(Line::needed(format!("      whose host key is {}", host.fingerprint)));
                }
                if let Some(claimed) = self.facts.target.as_ref().filter(|_| self.target().is_none()) {
                    lines.push(Line::spare(1, format!("      (claimed: {})", host(&claimed.host))));
                }
            }
            Payload::SshSig { namespace } => {
                let what = match &self.file {
                    // git names a file of its own, which says nothing.
                    Some(_) if *namespace == b"git" => "a commit or tag".to_owned(),
                    Some(file) => format!("the file {}", quoted(&file.name)),
                    None => "something that cannot be seen from here".to_owned(),
                };
                lines.push(Line::needed(format!("sign  {what} (namespace {})", quoted(namespace))));
                if let Some(file) = &self.file {
                    lines.push(Line::spare(1, format!("      which begins {}", quoted(&file.title))));
                }
            }
            Payload::Certificate(certificate) => {
                let kind = if certificate.is_host { "host" } else { "user" };
                let principals = match certificate.principals.is_empty() {
                    true => "ANYBODY".to_owned(),
                    false => quoted(&certificate.principals.join(&b',')),
                };
                lines.push(Line::needed(format!("sign  a {kind} certificate for {principals}")));
                lines.push(Line::spare(1, format!("      called {}", quoted(certificate.key_id))));
            }
            Payload::Sudo(sudo) => self.sudo(sudo, lines),
            Payload::HostKex { .. } => {
                lines.push(Line::needed("sign  as a server whose host key this is".to_owned()));
            }
            Payload::Raw => lines.push(Line::needed("sign  data of UNKNOWN meaning".to_owned())),
        }
    }

    fn sudo(&self, sudo: &Sudo<'_>, lines: &mut Vec<Line>) {
        let command = quoted(&sudo.command.join(&b' '));
        lines.push(Line::needed(format!("sudo  {command} (claimed)")));
        let (user, host) = (quoted(sudo.caller), quoted(sudo.hostname));
        lines.push(Line::needed(format!("      by {user} on {host} (claimed)")));
        lines.push(Line::spare(2, format!("      in {} (claimed)", quoted(sudo.directory))));
    }

    fn key(&self, lines: &mut Vec<Line>) {
        let KeyLine { public, comment, fingerprint, place, .. } = &self.key;
        let kind = public.material().short_name();
        let token = match (place.token.as_str(), place.serial.as_deref()) {
            ("memory", _) => "in memory".to_owned(),
            (token, Some(serial)) => format!("on {} ({})", field(token.as_bytes()), field(serial.as_bytes())),
            (token, None) => format!("on {}", field(token.as_bytes())),
        };
        lines.push(Line::spare(3, format!("key   {kind} {token}")));
        lines.extend(self.key.next().map(|next| Line::spare(4, format!("next  {next}"))));
        lines.extend(self.longer.as_ref().map(|longer| Line::needed(longer.clone())));
        // In the words of stock ssh-agent, by which programs and people find the key.
        lines.push(Line::needed(format!("Allow use of key {}?", field(comment))));
        lines.push(Line::needed(format!("Key fingerprint {fingerprint}.")));
    }

    /// The host that the signature is good for, if that is a fact.
    fn target(&self) -> Option<&Hop> {
        self.facts.target.as_ref().filter(|target| target.certainty == Certainty::Proved)
    }

    fn place(&self) -> String {
        let Some(target) = self.target() else { return "an UNKNOWN host".to_owned() };
        let known = target.host.names.iter().find_map(|name| name.place.as_ref());
        let how = match (known, self.payload) {
            (Some(place), _) if self.judgement.origin == Origin::LocalDirect => {
                let file = place.file.file_name().unwrap_or_default().as_encoded_bytes();
                format!(" ({}, line {})", field(file), place.line)
            }
            (_, Payload::BoundLogin { .. }) => " (host key checked)".to_owned(),
            _ => String::new(),
        };
        match target.host.names.is_empty() {
            true => "a host not known here".to_owned(),
            false => host(&target.host) + &how,
        }
    }
}

impl KeyLine<'_> {
    /// What the device will want after a yes.
    fn next(&self) -> Option<String> {
        let pin = match self.place.state.as_str() {
            "PIN on device" => Some("its PIN, typed on the token itself"),
            state if self.demands.pin || state.starts_with("needs PIN") => Some("its PIN"),
            _ => None,
        };
        let wants: Vec<&str> = pin.into_iter().chain(self.demands.touch.then_some("a touch")).collect();
        (!wants.is_empty()).then(|| format!("the token wants {}", wants.join(", and ")))
    }
}

impl Line {
    const fn needed(text: String) -> Self {
        Self { text, spare: 0 }
    }

    const fn spare(spare: u8, text: String) -> Self {
        Self { text, spare }
    }

    /// What it takes in pinentry's protocol, its line break included.
    fn cost(&self) -> usize {
        self.text.len() + 3
    }
}

/// Leaves out what can be spared most easily until the rest fits.
fn fit(mut lines: Vec<Line>) -> String {
    while lines.iter().map(Line::cost).sum::<usize>() > ROOM {
        let Some(most) = lines.iter().map(|line| line.spare).max().filter(|most| *most > 0) else { break };
        if let Some(at) = lines.iter().rposition(|line| line.spare == most) {
            lines.remove(at);
        }
    }
    let texts: Vec<String> = lines.into_iter().map(|line| line.text).collect();
    texts.join("\n")
}

/// A host by its name on this machine, or by its key: what it calls itself is nobody's business.
fn host(host: &Host) -> String {
    match host.names.first() {
        Some(name) => field(name.name.as_bytes()),
        None => format!("unknown host {}", host.fingerprint),
    }
}

/// The word for what is signed, in the audit log and in rules.
pub(super) const fn kind(payload: &Payload<'_>) -> &'static str {
    match payload {
        Payload::BoundLogin { .. } => "bound-login",
        Payload::Login(_) => "login",
        Payload::SshSig { .. } => "sshsig",
        Payload::Certificate(_) => "certificate",
        Payload::Sudo(_) => "sudo",
        Payload::HostKex { .. } => "host-kex",
        Payload::Raw => "raw",
    }
}

/// Text from elsewhere as one field of a text for people.
pub(super) fn shown(octets: &[u8]) -> String {
    field(octets)
}

/// The name of the first hop, as it is shown.
pub(super) fn first_hop(facts: &Facts) -> Option<String> {
    facts.hops.first().map(|hop| host(&hop.host))
}

/// What is told when nobody is asked.
pub(super) fn notice(judgement: Option<&Judgement>, purpose: &str, comment: &[u8]) -> String {
    let origin = judgement.map_or_else(String::new, |judgement| format!("{}: ", judgement.origin));
    format!("{origin}{purpose} with key {}", field(comment))
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

/// What a signature is for when only the request itself is known.
pub(super) fn purpose(payload: &Payload<'_>) -> String {
    match payload {
        Payload::BoundLogin { login, .. } | Payload::Login(login) => format!("log in as {}", quoted(login.user)),
        Payload::SshSig { namespace } => format!("sign a message (namespace {})", quoted(namespace)),
        Payload::Certificate(_) => "sign a certificate".to_owned(),
        Payload::Sudo(sudo) => format!("become another user by {}", quoted(sudo.service)),
        Payload::HostKex { .. } => "answer for a server whose host key this is".to_owned(),
        Payload::Raw => "sign data of unknown meaning".to_owned(),
    }
}

/// The same, for a login that the user's own `ssh` makes to this host.
pub(super) fn purpose_of_login(user: &[u8], host: &str) -> String {
    format!("log in as {} at {}", quoted(user), field(host.as_bytes()))
}

#[cfg(test)]
mod tests;
