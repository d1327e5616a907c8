//! A request described by options instead of being made.

use clap::Args;

use crate::backend::pkcs11::uri::Uri;
use crate::config::values::{kinds, origins};
use crate::origin::classify::Origin;
use crate::policy::Policy;
use crate::policy::asked::{Asked, KeyFacts, Kind, Program};
use crate::policy::matcher::KeyPattern;

#[derive(Args)]
pub(super) struct Described {
    /// The key: what the configuration calls it, its comment, fingerprint or pkcs11: URI
    #[arg(long, value_name = "KEY", default_value = "")]
    key: String,
    /// Where it comes from: a class, or local or forwarded [default: what the other options suggest]
    #[arg(long, value_name = "CLASS")]
    origin: Option<String>,
    /// What is signed: login, bound-login, sshsig, sudo, certificate, host-kex, raw [default: what the other options suggest]
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// A name of the server that is logged in at
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// The user that is logged in as
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A name of the first hop, which is proved
    #[arg(long, value_name = "HOST")]
    via: Vec<String>,
    /// How many hosts it is forwarded through
    #[arg(long, value_name = "N", default_value_t = 1)]
    hops: usize,
    /// The namespace of a message signature
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The path of the program that asks
    #[arg(long, value_name = "PATH")]
    program: Option<String>,
    /// An argument of the program
    #[arg(long, value_name = "WORD")]
    argument: Vec<String>,
    /// The path of a program above it
    #[arg(long, value_name = "PATH")]
    parent: Vec<String>,
    /// The label of the socket it arrives at
    #[arg(long, value_name = "LABEL")]
    listener: Option<String>,
    /// The key was added with confirmation (ssh-add -c)
    #[arg(long)]
    pub(super) confirm: bool,
}

/// The request that is described.
pub(super) struct Request<'a> {
    described: &'a Described,
    origin: Origin,
    kind: Kind,
    hosts: Vec<String>,
    via: Vec<String>,
    fingerprint: String,
    comment: String,
    uri: Option<Uri>,
}

impl Described {
    /// The request, with what is not said made up for.
    pub(super) fn request(&self, policy: &Policy) -> Result<Request<'_>, String> {
        let kind = match (&self.kind, &self.namespace) {
            (Some(word), _) if word == "login" => Kind::Login,
            (Some(word), _) => kinds(word)?.first().copied().unwrap_or(Kind::Raw),
            (None, Some(_)) => Kind::SshSig,
            (None, None) => Kind::BoundLogin,
        };
        let origin = match self.origin.as_deref() {
            Some("forwarded") => self.forwarded(kind),
            Some("local") => local(kind),
            Some("any") => return Err("--origin any: name one class".to_owned()),
            Some(word) => origins(word)?.first().copied().unwrap_or(Origin::Unknown),
            None if !self.via.is_empty() || self.listener.is_some() => self.forwarded(kind),
            None if self.program.is_some() => Origin::Unknown,
            None => local(kind),
        };
        let (fingerprint, comment, uri) = self.key_facts(policy)?;
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let is_certain = kind == Kind::BoundLogin || (kind == Kind::Login && origin == Origin::LocalDirect);
        let is_proved = matches!(origin, Origin::ForwardedVerified | Origin::ForwardedKnownHop);
        Ok(Request {
            described: self,
            origin,
            kind,
            hosts: if is_certain { lower(&self.host) } else { Vec::new() },
            via: if is_proved { lower(&self.via) } else { Vec::new() },
            fingerprint,
            comment,
            uri,
        })
    }

    fn forwarded(&self, kind: Kind) -> Origin {
        match (self.via.is_empty(), kind) {
            (true, _) => Origin::ForwardedUnverified,
            (false, Kind::BoundLogin) => Origin::ForwardedVerified,
            (false, _) => Origin::ForwardedKnownHop,
        }
    }

    /// Fingerprint, comment and URI: of the running agent's key, of the section that has this name, or as the text reads.
    fn key_facts(&self, policy: &Policy) -> Result<(String, String, Option<Uri>), String> {
        let entries = super::super::client::of_agent().unwrap_or_default();
        if let Some(entry) = entries.iter().find(|entry| {
            [&entry.fingerprint, &entry.comment].contains(&&self.key) || entry.place.uri.as_ref() == Some(&self.key)
        }) {
            let uri = entry.place.uri.as_deref().and_then(|uri| Uri::parse(uri).ok());
            return Ok((entry.fingerprint.clone(), entry.comment.clone(), uri));
        }
        let named = policy.keys.iter().find(|section| section.name.as_deref() == Some(&self.key));
        match named.map(|section| &section.key) {
            Some(KeyPattern::Fingerprint(fingerprint)) => Ok((fingerprint.clone(), String::new(), None)),
            Some(KeyPattern::Uri(uri)) => Ok((String::new(), String::new(), Some(uri.clone()))),
            Some(KeyPattern::Comment(comment)) => Ok((String::new(), comment.clone(), None)),
            None if Uri::is_meant(&self.key) => {
                let uri = Uri::parse(&self.key).map_err(|error| error.to_string())?;
                Ok((String::new(), String::new(), Some(uri)))
            }
            None if self.key.starts_with("SHA256:") => Ok((self.key.clone(), String::new(), None)),
            None => Ok((String::new(), self.key.clone(), None)),
        }
    }
}

impl Request<'_> {
    pub(super) fn asked(&self) -> Asked<'_> {
        let described = self.described;
        let program = described.program.as_deref();
        Asked {
            key: KeyFacts { fingerprint: &self.fingerprint, comment: &self.comment, uri: self.uri.as_ref() },
            origin: self.origin,
            kind: self.kind,
            hosts: &self.hosts,
            user: described.user.as_deref().filter(|_| self.kind.is_login()),
            via: &self.via,
            hops: described.hops,
            namespace: described.namespace.as_deref().filter(|_| self.kind == Kind::SshSig),
            program: program.map(|path| Program { path, arguments: &described.argument }),
            parents: &described.parent,
            listener: described.listener.as_deref(),
        }
    }
}

/// What a local request of this kind is taken for, when all is well.
const fn local(kind: Kind) -> Origin {
    match kind {
        Kind::Login | Kind::BoundLogin => Origin::LocalDirect,
        Kind::Sudo => Origin::Unknown,
        _ => Origin::LocalTool,
    }
}
