//! What a key is called, found out when it is first asked for: records and rules want it with every request.

use std::sync::OnceLock;

use super::Identity;
use crate::backend::pkcs11::uri::Uri;
use crate::crypto::fingerprint::FingerprintHash;

/// The names of one key, as people and rules know it.
#[derive(Debug)]
pub struct Named {
    /// SHA-256, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The comment, as far as it is text.
    pub comment: String,
    /// The URI that selects it, of a key on a token (RFC 7512).
    pub uri: Option<Uri>,
}

/// Where the names are kept; empty as long as nobody asked.
#[derive(Debug, Default)]
pub struct Names(OnceLock<Named>);

impl Identity {
    /// What it is called.
    pub fn named(&self) -> &Named {
        self.names.0.get_or_init(|| Named {
            fingerprint: FingerprintHash::Sha256.of(&self.public),
            comment: String::from_utf8_lossy(&self.comment).into_owned(),
            uri: self.signer.place().uri.and_then(|uri| Uri::parse(&uri).ok()),
        })
    }
}
