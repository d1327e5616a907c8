//! A request as the rules see it: what the rooms before the policy have found out, under the names that rules use.

use std::os::unix::ffi::OsStrExt as _;

use crate::keyring::{Identity, Named};
use crate::origin::classify::{Judgement, Origin};
use crate::origin::connection::Connection;
use crate::origin::evidence::Request as Question;
use crate::origin::facts::{Certainty, Hop, Host};
use crate::policy::Policy;
use crate::policy::asked::{Asked, KeyFacts, Kind, Program};
use crate::protocol::payload::Payload;

/// What [`Asked`] borrows from. What no rule looks at is not gathered.
pub(super) struct Description<'a> {
    key: &'a Identity,
    origin: Origin,
    kind: Kind,
    hosts: Vec<String>,
    user: Option<String>,
    via: Vec<String>,
    hops: usize,
    namespace: Option<String>,
    program: Option<(String, Vec<String>)>,
    parents: Vec<String>,
    listener: Option<String>,
}

/// A key as the rules see it.
pub(super) fn key_facts(identity: &Identity) -> KeyFacts<'_> {
    let Named { fingerprint, comment, uri } = identity.named();
    KeyFacts { fingerprint, comment, uri: uri.as_ref() }
}

impl<'a> Description<'a> {
    /// Describes a request for a signature. `judgement` is missing only where no rule looks at the origin.
    pub(super) async fn of(
        policy: &Policy,
        connection: &Connection,
        identity: &'a Identity,
        question: &Question,
        judgement: Option<&Judgement>,
        payload: &Payload<'_>,
    ) -> Self {
        let mut description = Self {
            key: identity,
            origin: judgement.map_or(Origin::Unknown, |judgement| judgement.origin),
            kind: kind(payload),
            hosts: Vec::new(),
            user: None,
            via: Vec::new(),
            hops: connection.binds().list().iter().filter(|bind| bind.is_forwarding()).count(),
            namespace: None,
            program: None,
            parents: Vec::new(),
            listener: None,
        };
        let Some(judgement) = judgement.filter(|_| policy.looks_closer()) else { return description };
        let interests = policy.interests();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        if interests.hosts {
            let route = Box::pin(connection.route(question, judgement)).await;
            description.hosts = route.target.as_ref().map(names).unwrap_or_default();
            description.via = route.hops.first().map(names).unwrap_or_default();
        }
        description.user = payload.login().map(|login| text(login.user));
        description.namespace = match payload {
            Payload::SshSig { namespace } => Some(text(namespace)),
            _ => None,
        };
        description.listener = connection.listener().label.as_ref().map(|label| label.to_string());
        if !(interests.program || interests.parents) {
            return description;
        }
        if let Ok(process) = connection.process_here() {
            let path = process.executable.as_ref().map(|executable| text(executable.path.as_os_str().as_bytes()));
            let arguments = process.arguments.iter().flatten().map(|argument| text(argument.as_bytes())).collect();
            description.program = path.ok().map(|path| (path, arguments));
            if interests.parents {
                let above = process.ancestors();
                let above = above.iter().filter_map(|ancestor| ancestor.executable.as_ref());
                description.parents = above.map(|path| text(path.as_os_str().as_bytes())).collect();
            }
        }
        description
    }

    pub(super) fn asked(&self) -> Asked<'_> {
        Asked {
            key: key_facts(self.key),
            origin: self.origin,
            kind: self.kind,
            hosts: &self.hosts,
            user: self.user.as_deref(),
            via: &self.via,
            hops: self.hops,
            namespace: self.namespace.as_deref(),
            program: self.program.as_ref().map(|(path, arguments)| Program { path, arguments }),
            parents: &self.parents,
            listener: self.listener.as_deref(),
        }
    }
}

/// The names of a host that it is proved to be. A rule must not believe a claim.
fn names(hop: &Hop) -> Vec<String> {
    match hop.certainty {
        Certainty::Proved => names_of(&hop.host),
        Certainty::Claimed => Vec::new(),
    }
}

/// What a host is called, as rules have it.
pub(super) fn names_of(host: &Host) -> Vec<String> {
    host.names.iter().map(|name| name.name.to_ascii_lowercase()).collect()
}

const fn kind(payload: &Payload<'_>) -> Kind {
    match payload {
        Payload::Login(_) => Kind::Login,
        Payload::BoundLogin { .. } => Kind::BoundLogin,
        Payload::SshSig { .. } => Kind::SshSig,
        Payload::Certificate(_) => Kind::Certificate,
        Payload::Sudo(_) => Kind::Sudo,
        Payload::HostKex { .. } => Kind::HostKex,
        Payload::Raw => Kind::Raw,
    }
}
