//! Checking every signature with RustCrypto, whoever made it.

use std::collections::HashSet;

use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey as Ed25519Key};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature as P256Signature, VerifyingKey as P256Key};
use p384::ecdsa::{Signature as P384Signature, VerifyingKey as P384Key};
use rsa::pkcs1v15::{Signature as RsaSignature, VerifyingKey as RsaKey};
use rsa::sha2::Sha512;
use rsa::signature::Verifier as _;
use rsa::{BigUint, RsaPublicKey};

use crate::Result;
use crate::keys::{Key, Kind};
use crate::wire::{take, without_leading_zeros};

/// A public key that remembers what it has found good: RSA and Ed25519 make the same signature each time.
pub(crate) struct Verifier {
    key: PublicKey,
    good: HashSet<(usize, Vec<u8>)>,
}

enum PublicKey {
    Rsa(RsaKey<Sha512>),
    P256(P256Key),
    P384(P384Key),
    Ed25519(Ed25519Key),
}

impl Verifier {
    /// # Errors
    ///
    /// The key's blob is not one of its kind.
    pub(crate) fn of(key: &Key) -> Result<Self> {
        let mut blob = &key.blob[..];
        let mut field = || take(&mut blob).ok_or("a public key ends too early");
        field()?;
        let key = match key.kind {
            Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096 => {
                let (exponent, modulus) = (BigUint::from_bytes_be(field()?), BigUint::from_bytes_be(field()?));
                PublicKey::Rsa(RsaKey::new(RsaPublicKey::new(modulus, exponent)?))
            }
            Kind::P256 => {
                field()?;
                PublicKey::P256(P256Key::from_sec1_bytes(field()?)?)
            }
            Kind::P384 => {
                field()?;
                PublicKey::P384(P384Key::from_sec1_bytes(field()?)?)
            }
            Kind::Ed25519 => PublicKey::Ed25519(Ed25519Key::from_bytes(field()?.try_into()?)?),
        };
        Ok(Self { key, good: HashSet::new() })
    }

    /// Checks a signature over `data` as PKCS#11 writes it: RSA and Ed25519 as in SSH, ECDSA as `r || s`. `message` is
    /// the data's number.
    ///
    /// # Errors
    ///
    /// The signature is bad.
    pub(crate) fn check(&mut self, message: usize, data: &[u8], signature: &[u8]) -> Result<()> {
        if self.good.contains(&(message, signature.to_vec())) {
            return Ok(());
        }
        match &self.key {
            PublicKey::Rsa(key) => key.verify(data, &RsaSignature::try_from(signature)?)?,
            PublicKey::P256(key) => {
                return Ok(key.verify(data, &P256Signature::from_slice(signature)?)?);
            }
            PublicKey::P384(key) => {
                return Ok(key.verify(data, &P384Signature::from_slice(signature)?)?);
            }
            PublicKey::Ed25519(key) => {
                key.verify_strict(data, &Ed25519Signature::from_slice(signature)?)?;
            }
        }
        self.good.insert((message, signature.to_vec()));
        Ok(())
    }
}

/// The signature out of an agent's reply (RFC 9987 section 5.6), in PKCS#11's form.
pub(crate) fn out_of_reply(kind: Kind, reply: &[u8]) -> Result<Vec<u8>> {
    const SSH_AGENT_SIGN_RESPONSE: u8 = 14;
    let mut body = match reply.split_first() {
        Some((&SSH_AGENT_SIGN_RESPONSE, body)) => body,
        _ => {
            return Err(format!("the agent answered a sign request with {:?}", reply.first()).into());
        }
    };
    let short = "a signature ends too early";
    let mut blob = take(&mut body).ok_or(short)?;
    let algorithm = take(&mut blob).ok_or(short)?;
    if algorithm != kind.algorithm().as_bytes() {
        return Err(format!("the agent signed with {}", String::from_utf8_lossy(algorithm)).into());
    }
    let mut signature = take(&mut blob).ok_or(short)?;
    match kind {
        Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096 | Kind::Ed25519 => Ok(signature.to_vec()),
        Kind::P256 | Kind::P384 => {
            let octets = if kind == Kind::P256 { 32 } else { 48 };
            let mut fixed = vec![0; 2 * octets];
            for half in fixed.chunks_mut(octets) {
                let digits = without_leading_zeros(take(&mut signature).ok_or(short)?);
                let start = half.len().checked_sub(digits.len()).ok_or("a number is larger than the curve")?;
                half[start..].copy_from_slice(digits);
            }
            Ok(fixed)
        }
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::Signer as _;

    use super::*;
    use crate::keys::{ecdsa_blob, ed25519_blob};
    use crate::wire::{put, put_mpint};

    const DATA: &[u8] = b"what is signed";

    fn key(kind: Kind, blob: Vec<u8>) -> Key {
        Key { kind, in_token: false, blob }
    }

    fn p256() -> (Key, Vec<u8>) {
        let private = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let signature: P256Signature = private.sign(DATA);
        let point = private.verifying_key().to_sec1_point(false);
        (key(Kind::P256, ecdsa_blob("nistp256", point.as_bytes())), signature.to_bytes().to_vec())
    }

    fn ed25519() -> (Key, Vec<u8>) {
        let private = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let signature = private.sign(DATA).to_bytes().to_vec();
        (key(Kind::Ed25519, ed25519_blob(private.verifying_key().as_bytes())), signature)
    }

    #[test]
    fn good_signatures_pass_and_bad_ones_do_not() {
        for (key, mut signature) in [p256(), ed25519()] {
            let mut verifier = Verifier::of(&key).unwrap();
            verifier.check(0, DATA, &signature).unwrap();
            verifier.check(0, DATA, &signature).unwrap();
            verifier.check(1, b"something else", &signature).unwrap_err();
            signature[63] ^= 1;
            verifier.check(0, DATA, &signature).unwrap_err();
        }
    }

    #[test]
    fn an_agents_reply_is_undone_to_the_tokens_form() {
        let (_, signature) = p256();
        let (mut numbers, mut blob, mut reply) = (Vec::new(), Vec::new(), vec![14]);
        put_mpint(&mut numbers, &signature[..32]);
        put_mpint(&mut numbers, &signature[32..]);
        put(&mut blob, b"ecdsa-sha2-nistp256");
        put(&mut blob, &numbers);
        put(&mut reply, &blob);
        assert_eq!(out_of_reply(Kind::P256, &reply).unwrap(), signature);
        assert!(out_of_reply(Kind::Ed25519, &reply).unwrap_err().to_string().contains("signed with ecdsa"));
        assert!(out_of_reply(Kind::P256, &[5]).unwrap_err().to_string().contains("Some(5)"));
    }
}
