//! The passphrase that the agent is locked with, kept only as a salted, slow hash.

use std::num::NonZeroU32;

use aws_lc_rs::{pbkdf2, rand};
use secrecy::{ExposeSecret, SecretSlice};

/// Work for one guess; some 20 ms on a small machine. The back-off per wrong guess comes on top.
const ROUNDS: NonZeroU32 = NonZeroU32::new(60_000).expect("positive");

/// A passphrase's hash.
pub struct PassphraseHash {
    salt: [u8; 16],
    hash: [u8; 32],
}

impl PassphraseHash {
    /// Hashes a passphrase with a fresh salt. Takes some 20 ms of CPU: call it where that delays nobody else.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn new(passphrase: &SecretSlice<u8>) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut salt = [0; 16];
        rand::fill(&mut salt)?;
        let mut hash = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, ROUNDS, &salt, passphrase.expose_secret(), &mut hash);
        Ok(Self { salt, hash })
    }

    /// Whether this is the passphrase, in constant time. As slow as [`Self::new`].
    pub fn matches(&self, passphrase: &SecretSlice<u8>) -> bool {
        pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, ROUNDS, &self.salt, passphrase.expose_secret(), &self.hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_passphrase_matches() {
        let hash = PassphraseHash::new(&b"secret".to_vec().into()).expect("randomness");
        assert!(hash.matches(&b"secret".to_vec().into()));
        assert!(!hash.matches(&b"Secret".to_vec().into()));
        assert!(!hash.matches(&Vec::new().into()));
    }
}
