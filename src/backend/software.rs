//! Software keys: added by `ssh-add`, held in memory in the crypto library's own form, overwritten when freed.

use std::sync::Arc;

//= RFC 9987 section 10: agents SHOULD use cryptographic implementations that are resistant to side-channel attacks
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};
use crypto_bigint::{BoxedUint, NonZero};
use zeroize::Zeroizing;

use super::rsa_sha1::LegacyRsa;
use super::{BoxFuture, Place, SignError, Signer};
use crate::errand::Errand;
use crate::protocol::Malformed;
use crate::protocol::private_key::{PrivateKey, Secret};
use crate::protocol::public_key::{Curve, KeyMaterial};
use crate::protocol::signature::{SignatureAlgorithm, Wanted};

/// A private key in memory, checked against its public half.
pub struct SoftwareKey {
    public: KeyMaterial,
    private: Private,
    /// For signatures with SHA-1, where they are allowed.
    legacy: Option<LegacyRsa>,
}

enum Private {
    /// Shared with the thread that computes: half a millisecond would delay every other connection.
    Rsa(Arc<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SoftwareKey {
    /// Takes a key over into the crypto library; with `sha1` an RSA key can make `ssh-rsa` signatures too.
    ///
    /// # Errors
    /// The private half does not belong to the public one, or the key is out of range (RSA below 2048 or above 8192 bits).
    pub fn new(key: &PrivateKey<'_>, sha1: bool) -> Result<Self, Malformed> {
        let public = key.public.material().clone();
        let private = match (&key.secret, &public) {
            (Secret::Ed25519 { seed }, KeyMaterial::Ed25519 { key }) => {
                Private::Ed25519(Ed25519KeyPair::from_seed_and_public_key(*seed, key).map_err(|_| mismatch())?)
            }
            (Secret::Ecdsa { d }, KeyMaterial::Ecdsa { curve, point }) => Private::Ecdsa(ecdsa(*curve, point, d)?),
            (Secret::Rsa { d, iqmp, p, q }, KeyMaterial::Rsa { e, n }) => {
                Private::Rsa(Arc::new(rsa(n, e, d, iqmp, p, q)?))
            }
            (Secret::SecurityKey { .. }, _) => return Err(Malformed::new("a security key is not a software key")),
            _ => return Err(Malformed::new("certificate and private key are of different types")),
        };
        let legacy = match (&key.secret, &public) {
            (Secret::Rsa { d, .. }, KeyMaterial::Rsa { n, .. }) if sha1 => Some(LegacyRsa::new(n, d)?),
            _ => None,
        };
        Ok(Self { public, private, legacy })
    }

    fn compute(&self, algorithm: SignatureAlgorithm, data: &[u8]) -> Option<Vec<u8>> {
        match &self.private {
            Private::Ed25519(key) => key.try_sign(data).ok().map(|signature| signature.as_ref().to_vec()),
            Private::Ecdsa(key) => {
                key.sign(&SystemRandom::new(), data).ok().map(|signature| signature.as_ref().to_vec())
            }
            Private::Rsa(key) => rsa_sign(key, algorithm, data),
        }
    }
}

impl Signer for SoftwareKey {
    fn sign<'a>(
        &'a self,
        data: &'a [u8],
        wanted: Wanted,
        _errand: &'a Errand,
    ) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        Box::pin(async move {
            let algorithm = SignatureAlgorithm::choose(&self.public, wanted, data)?;
            let raw = match &self.private {
                Private::Rsa(_) if algorithm == SignatureAlgorithm::RsaSha1 => {
                    self.legacy.as_ref().and_then(|legacy| legacy.sign(data))
                }
                Private::Rsa(key) => {
                    let (key, data) = (Arc::clone(key), data.to_vec());
                    tokio::task::spawn_blocking(move || rsa_sign(&key, algorithm, &data)).await.ok().flatten()
                }
                _ => self.compute(algorithm, data),
            };
            raw.map(|raw| algorithm.encode(&raw)).ok_or(SignError::Software)
        })
    }

    fn place(&self) -> Place {
        Place { token: "memory".to_owned(), state: "ready".to_owned(), ..Place::default() }
    }
}

fn rsa_sign(key: &RsaKeyPair, algorithm: SignatureAlgorithm, data: &[u8]) -> Option<Vec<u8>> {
    let encoding = match algorithm {
        SignatureAlgorithm::RsaSha256 => &RSA_PKCS1_SHA256,
        _ => &RSA_PKCS1_SHA512,
    };
    let mut raw = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), data, &mut raw).ok()?;
    Some(raw)
}

fn ecdsa(curve: Curve, point: &[u8], d: &[u8]) -> Result<EcdsaKeyPair, Malformed> {
    let algorithm = match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
    };
    let mut padded = Zeroizing::new(vec![0; curve.field_octets()]);
    let start = padded.len().checked_sub(d.len()).ok_or_else(mismatch)?;
    padded[start..].copy_from_slice(d);
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &padded, point).map_err(|_| mismatch())
}

/// The largest RSA modulus that the crypto library takes, in octets.
const LARGEST_RSA: usize = 1024;

fn rsa(n: &[u8], e: &[u8], d: &[u8], iqmp: &[u8], p: &[u8], q: &[u8]) -> Result<RsaKeyPair, Malformed> {
    // Before any arithmetic: its time grows with the square of the length.
    if [n, e, d, iqmp, p, q].iter().any(|number| number.len() > LARGEST_RSA) {
        return Err(Malformed::new("RSA key has more than 8192 bits"));
    }
    let d_p = reduce(d, p)?;
    let d_q = reduce(d, q)?;
    RsaKeyPair::from_components(&KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: &d_p,
        dQ: &d_q,
        qInv: iqmp,
    })
    .map_err(|_| Malformed::new("RSA key is inconsistent or not between 2048 and 8192 bits"))
}

/// `d mod (prime - 1)` in constant time; the protocol does not send it, the library wants it.
fn reduce(d: &[u8], prime: &[u8]) -> Result<Zeroizing<Vec<u8>>, Malformed> {
    let bits = |octets: &[u8]| (octets.len() as u32) * 8;
    let precision = bits(d).max(bits(prime));
    let number =
        |octets: &[u8]| BoxedUint::from_be_slice(octets, precision).map(Zeroizing::new).map_err(|_| mismatch());
    let d = number(d)?;
    let prime = number(prime)?;
    let less = Zeroizing::new(prime.wrapping_sub(BoxedUint::one_with_precision(precision)));
    let modulus = Option::<NonZero<BoxedUint>>::from(NonZero::new((*less).clone())).ok_or_else(mismatch)?;
    let modulus = Zeroizing::new(modulus);
    let rest = Zeroizing::new(d.rem(&modulus));
    Ok(Zeroizing::new(rest.to_be_bytes().to_vec()))
}

fn mismatch() -> Malformed {
    Malformed::new("private and public half do not belong together")
}
