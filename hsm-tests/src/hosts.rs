//! Hosts as an agent knows them: by keys that sign session identifiers (OpenSSH PROTOCOL.agent section 1).

use crate::agent::Agent;
use crate::client::{Body, Client};
use crate::home::Home;
use crate::keyfile::KeyFile;
use crate::publickey::PublicKey;

/// Host keys, kept by an agent of their own that signs for them. No host runs.
pub struct Hosts {
    home: Home,
    agent: Agent,
}

/// One host's key or certificate.
#[derive(Clone)]
pub struct Host {
    /// The host key's or certificate's blob.
    pub key: Vec<u8>,
    /// What signs for it; differs for a certificate.
    signer: Vec<u8>,
}

impl Hosts {
    /// No hosts yet; one such collection a home.
    #[must_use]
    pub fn new(home: &Home) -> Self {
        Self { home: home.clone(), agent: Agent::with(home).named("hosts").as_stock().start() }
    }

    /// A host with an Ed25519 key.
    #[must_use]
    pub fn add(&self, name: &str) -> Host {
        self.add_with(name, &["-t", "ed25519"])
    }

    /// A host with a key made by further arguments of ssh-keygen, such as `-t rsa`.
    #[must_use]
    pub fn add_with(&self, name: &str, arguments: &[&str]) -> Host {
        let key = self.key(name, arguments);
        Host { key: key.public().blob(), signer: key.public().blob() }
    }

    /// A host with an Ed25519 key that an authority has certified, with further arguments of ssh-keygen, such as `-h -n name`.
    #[must_use]
    pub fn certified(&self, name: &str, authority: &KeyFile, arguments: &[&str]) -> Host {
        let key = self.key(name, &["-t", "ed25519"]);
        let certificate = key.certified_by(&self.home, authority, arguments);
        Host { key: certificate.blob(), signer: key.public().blob() }
    }

    /// The host's signature over a session identifier, made with these flags.
    ///
    /// # Panics
    /// When the agent that keeps the keys refuses.
    #[must_use]
    pub fn sign(&self, host: &Host, session: &[u8], flags: u32) -> Vec<u8> {
        self.agent.client().sign(&host.signer, session, flags).expect("a host's signature")
    }

    /// The message by which a good `ssh` binds a connection to a session.
    #[must_use]
    pub fn bind(&self, host: &Host, session: &[u8], is_forwarding: bool) -> Vec<u8> {
        bind(&host.key, session, &self.sign(host, session, 2), is_forwarding)
    }

    fn key(&self, name: &str, arguments: &[&str]) -> KeyFile {
        let key = KeyFile::with(&self.home, &format!("host-{name}"), arguments, "");
        let added = self.agent.client().succeeds(&Body::new(Client::ADD).raw(&key.as_added()).bytes());
        assert!(added, "a host's key is refused\n{}", self.agent.log());
        key
    }
}

/// `session-bind@openssh.com`, whatever it says.
#[must_use]
pub fn bind(host_key: &[u8], session: &[u8], signature: &[u8], is_forwarding: bool) -> Vec<u8> {
    Body::new(Client::EXTENSION)
        .string("session-bind@openssh.com")
        .string(host_key)
        .string(session)
        .string(signature)
        .raw(&[u8::from(is_forwarding)])
        .bytes()
}

/// The octets that a client signs to log in (RFC 4252 section 7). With `host_key` it is `publickey-hostbound-v00@openssh.com`.
#[must_use]
pub fn login(session: &[u8], user: &str, key: &PublicKey, host_key: Option<&[u8]>) -> Vec<u8> {
    let method = if host_key.is_some() { "publickey-hostbound-v00@openssh.com" } else { "publickey" };
    let message = Body::nothing()
        .string(session)
        .raw(&[50])
        .string(user)
        .string("ssh-connection")
        .string(method)
        .raw(&[1])
        .string(key.algorithm())
        .string(key.blob());
    match host_key {
        Some(host_key) => message.string(host_key),
        None => message,
    }
    .bytes()
}
