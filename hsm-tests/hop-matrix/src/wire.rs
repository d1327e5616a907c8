//! What a hostile client says: session binds and logins of its own making.

use ed25519_dalek::{Signer as _, SigningKey};
use hsm_tests::{Body, Client, Fields, KeyFile, PublicKey};

/// A host key in the wrong hands, or in the right ones that lie.
pub(crate) struct HostKey {
    public: PublicKey,
    secret: SigningKey,
}

impl HostKey {
    /// Reads an Ed25519 key.
    pub(crate) fn of(file: &KeyFile) -> Self {
        let private = file.as_added();
        let mut fields = Fields::of(&private);
        let (_kind, _public, secret) = (fields.string(), fields.string(), fields.string());
        let seed = secret.first_chunk().expect("a seed of 32 bytes");
        Self { public: file.public().clone(), secret: SigningKey::from_bytes(seed) }
    }

    /// The key blob.
    pub(crate) fn blob(&self) -> Vec<u8> {
        self.public.blob()
    }

    /// `session-bind@openssh.com` (OpenSSH PROTOCOL.agent section 1) with a signature that is valid.
    pub(crate) fn bind(&self, session: &[u8], forwarding: bool) -> Vec<u8> {
        bind(&self.blob(), session, &self.signature(session), forwarding)
    }

    /// A signature blob (RFC 4253 section 6.6).
    pub(crate) fn signature(&self, session: &[u8]) -> Vec<u8> {
        [string(b"ssh-ed25519"), string(&self.secret.sign(session).to_bytes())].concat()
    }
}

/// `session-bind@openssh.com` with any signature.
pub(crate) fn bind(host_key: &[u8], session: &[u8], signature: &[u8], forwarding: bool) -> Vec<u8> {
    Body::new(Client::EXTENSION)
        .string("session-bind@openssh.com")
        .string(host_key)
        .string(session)
        .string(signature)
        .raw(&[forwarding.into()])
        .bytes()
}

/// The session that a bind is about, and the host key.
pub(crate) fn bound(bind: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut fields = Fields::of(&bind[1..]);
    let (_name, host_key, session) = (fields.string(), fields.string(), fields.string());
    (session, host_key)
}

/// What is signed for a login by `publickey` (RFC 4252 section 7).
pub(crate) fn login(session: &[u8], user: &str, key: &PublicKey) -> Vec<u8> {
    userauth(session, user, "publickey", key)
}

/// What is signed for a login that only this host accepts (OpenSSH PROTOCOL section 1.6).
pub(crate) fn bound_login(session: &[u8], user: &str, key: &PublicKey, host_key: &[u8]) -> Vec<u8> {
    [userauth(session, user, "publickey-hostbound-v00@openssh.com", key), string(host_key)].concat()
}

/// What is signed for a file (OpenSSH PROTOCOL.sshsig), with a digest of nothing.
pub(crate) fn file_signature() -> Vec<u8> {
    [b"SSHSIG".to_vec(), string(b"file"), string(b""), string(b"sha512"), string(&[0; 64])].concat()
}

fn userauth(session: &[u8], user: &str, method: &str, key: &PublicKey) -> Vec<u8> {
    [
        string(session),
        vec![50],
        string(user.as_bytes()),
        string(b"ssh-connection"),
        string(method.as_bytes()),
        vec![1],
        string(key.algorithm().as_bytes()),
        string(&key.blob()),
    ]
    .concat()
}

fn string(octets: &[u8]) -> Vec<u8> {
    let length = u32::try_from(octets.len()).expect("a string shorter than 4 GiB");
    [&length.to_be_bytes()[..], octets].concat()
}
