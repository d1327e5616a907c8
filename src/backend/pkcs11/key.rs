//! One key on a token, as a signer: chooses the mechanism, and lets no signature out that does not verify.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_lc_rs::digest;

use super::error::TokenError;
use super::token::{Token, Work};
use super::uri::Uri;
use crate::backend::{BoxFuture, CannotDemand, Place, SignError, Signer};
use crate::crypto::verify::Verifier;
use crate::errand::{Demands, Errand};
use crate::ipc::{KeyName, KeySeen, Mechanism, TokenName};
use crate::protocol::public_key::{Curve, PublicKey};
use crate::protocol::signature::{SignatureAlgorithm, Wanted};

/// `DigestInfo` up to the digest (RFC 8017 section 9.2, note 1).
pub(in crate::backend) const SHA1_INFO: &[u8] =
    &[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14];
/// As many keys as may share an id on a token.
const MOST_ALIKE: usize = 8;
const SHA256_INFO: &[u8] =
    &[0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];
const SHA512_INFO: &[u8] =
    &[0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40];

/// A private key on a token.
pub struct TokenKey {
    token: Arc<Token>,
    name: KeyName,
    label: String,
    uri: Uri,
    module: String,
    public: PublicKey,
    verifier: Verifier,
    /// The token forbids `CKM_RSA_PKCS`, found out at the first signature.
    hashes_itself: AtomicBool,
    /// Which of the private keys that fit it is, as far as signatures have shown.
    nth: AtomicUsize,
}

impl TokenKey {
    /// Takes a key that a scan found; `None` when its public half is not one that a signature could be verified with.
    pub(super) fn new(token: Arc<Token>, module: String, seen: &KeySeen) -> Option<Self> {
        let public = PublicKey::from_blob(&seen.public).ok()?;
        let verifier = Verifier::new(public.material()).ok()?;
        let label = match crate::text::escape(&seen.label) {
            label if label.is_empty() => format!("{} key", token.label()),
            label => label,
        };
        let uri = Uri::of_key(token.name(), seen);
        let hashes_itself = AtomicBool::new(false);
        let nth = AtomicUsize::new(0);
        Some(Self { token, name: seen.name(), label, uri, module, public, verifier, hashes_itself, nth })
    }

    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key's label, safe to show; the comment it is listed with.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The token it lives on.
    pub(super) fn token_name(&self) -> &TokenName {
        self.token.name()
    }

    async fn compute(
        &self,
        nth: usize,
        algorithm: SignatureAlgorithm,
        data: &[u8],
        errand: &Errand,
    ) -> Result<Vec<u8>, SignError> {
        let (mechanism, input) = prepare(algorithm, data, self.hashes_itself.load(Ordering::Relaxed));
        let work = |mechanism, input| Work {
            key: self.name.clone(),
            nth,
            label: self.label.clone(),
            mechanism,
            input,
            errand: errand.clone(),
        };
        match self.token.sign(work(mechanism, input)).await {
            Err(SignError::Token(TokenError::Mechanism { .. })) if mechanism == Mechanism::RsaPkcs => {
                self.hashes_itself.store(true, Ordering::Relaxed);
                let (mechanism, input) = prepare(algorithm, data, true);
                self.token.sign(work(mechanism, input)).await
            }
            result => result,
        }
    }
}

impl Signer for TokenKey {
    fn sign<'a>(
        &'a self,
        data: &'a [u8],
        wanted: Wanted,
        errand: &'a Errand,
    ) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        Box::pin(async move {
            let algorithm = SignatureAlgorithm::choose(self.public.material(), wanted, data)?;
            if errand.demands.pin {
                self.token.ask_again(&self.label, errand).await?;
            }
            // Which of the keys that share an id is meant shows only in what they sign.
            let known = self.nth.load(Ordering::Relaxed);
            let others = (0..MOST_ALIKE).filter(|nth| *nth != known);
            for nth in std::iter::once(known).chain(others) {
                match self.compute(nth, algorithm, data, errand).await {
                    Ok(raw) if self.verifier.verify_raw(algorithm, data, &raw).is_ok() => {
                        self.nth.store(nth, Ordering::Relaxed);
                        return Ok(algorithm.encode(&raw));
                    }
                    Ok(_) => {}
                    Err(error) if nth == known => {
                        self.nth.store(0, Ordering::Relaxed);
                        return Err(error);
                    }
                    // There is no other.
                    Err(_) => break,
                }
            }
            Err(TokenError::WrongSignature { module: self.module.clone(), key: self.label.clone() }.into())
        })
    }

    fn can_demand(&self, demands: Demands) -> Result<(), CannotDemand> {
        if demands.touch {
            return Err(CannotDemand(
                "PKCS#11 has no way to make a token wait for a touch; set the touch policy of the key on the token itself",
            ));
        }
        match demands.pin && !self.token.has_pin_to_type() {
            true => Err(CannotDemand("the token has no PIN that is typed on this machine")),
            false => Ok(()),
        }
    }

    fn is_there(&self) -> bool {
        self.token.is_present()
    }

    fn place(&self) -> Place {
        Place {
            token: self.token.label(),
            serial: Some(crate::text::escape(self.token.name().serial.as_bytes())),
            slot: Some(self.token.seen(|seen| seen.slot)),
            module: Some(self.module.clone()),
            uri: Some(self.uri.to_string()),
            state: self.token.state(),
        }
    }
}

/// The mechanism and its input. Tokens agree on raw RSA and ECDSA only, so the agent hashes; some forbid raw RSA and hash themselves.
fn prepare(algorithm: SignatureAlgorithm, data: &[u8], hashes_itself: bool) -> (Mechanism, Vec<u8>) {
    let hash = |algorithm, prefix: &[u8]| [prefix, digest::digest(algorithm, data).as_ref()].concat();
    match algorithm {
        SignatureAlgorithm::RsaSha1 => (Mechanism::RsaPkcs, hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, SHA1_INFO)),
        SignatureAlgorithm::RsaSha256 if hashes_itself => (Mechanism::Sha256RsaPkcs, data.to_vec()),
        SignatureAlgorithm::RsaSha512 if hashes_itself => (Mechanism::Sha512RsaPkcs, data.to_vec()),
        SignatureAlgorithm::RsaSha256 => (Mechanism::RsaPkcs, hash(&digest::SHA256, SHA256_INFO)),
        SignatureAlgorithm::RsaSha512 => (Mechanism::RsaPkcs, hash(&digest::SHA512, SHA512_INFO)),
        SignatureAlgorithm::Ecdsa(Curve::P256) => (Mechanism::Ecdsa, hash(&digest::SHA256, &[])),
        SignatureAlgorithm::Ecdsa(Curve::P384) => (Mechanism::Ecdsa, hash(&digest::SHA384, &[])),
        SignatureAlgorithm::Ecdsa(Curve::P521) => (Mechanism::Ecdsa, hash(&digest::SHA512, &[])),
        SignatureAlgorithm::Ed25519 => (Mechanism::Eddsa, data.to_vec()),
    }
}
