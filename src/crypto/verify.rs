//! Verification of signatures: of session binds, of certificates, and of everything a token answers before it leaves the agent.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use der::Encode as _;
use der::asn1::UintRef;

use crate::protocol::public_key::{Curve, KeyMaterial, PublicKey};
use crate::protocol::signature::{SignatureAlgorithm, SignatureBlob, ecdsa_fixed};

/// A signature is not this key's over these octets, or the key is out of the library's range (RSA below 1024 or above 8192 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

/// A public key prepared for verification. Preparing costs as much as a verification, so whoever verifies often keeps one.
#[derive(Debug)]
pub struct Verifier(Prepared);

#[derive(Debug)]
enum Prepared {
    Rsa { sha1: ParsedPublicKey, sha256: ParsedPublicKey, sha512: ParsedPublicKey },
    Ecdsa { curve: Curve, key: ParsedPublicKey },
    Ed25519(ParsedPublicKey),
    SkEd25519 { key: ParsedPublicKey, application: [u8; 32] },
    SkEcdsa { key: ParsedPublicKey, application: [u8; 32] },
}

impl Verifier {
    /// Prepares a key.
    ///
    /// # Errors
    /// The point is not on its curve, or the modulus out of range.
    pub fn new(key: &KeyMaterial) -> Result<Self, BadSignature> {
        let parse = |algorithm: &'static dyn VerificationAlgorithm, octets: &[u8]| {
            ParsedPublicKey::new(algorithm, octets).map_err(|_| BadSignature)
        };
        Ok(Self(match key {
            KeyMaterial::Rsa { e, n } => {
                let der = rsa_public_key(e, n)?;
                Prepared::Rsa {
                    sha1: parse(&signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, &der)?,
                    sha256: parse(&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &der)?,
                    sha512: parse(&signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, &der)?,
                }
            }
            KeyMaterial::Ecdsa { curve, point } => {
                let algorithm: &'static dyn VerificationAlgorithm = match curve {
                    Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED,
                    Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED,
                    Curve::P521 => &signature::ECDSA_P521_SHA512_FIXED,
                };
                Prepared::Ecdsa { curve: *curve, key: parse(algorithm, point)? }
            }
            KeyMaterial::Ed25519 { key } => Prepared::Ed25519(parse(&signature::ED25519, key)?),
            KeyMaterial::SkEd25519 { key, application } => Prepared::SkEd25519 {
                key: parse(&signature::ED25519, key)?,
                application: sha256(application.as_bytes()),
            },
            KeyMaterial::SkEcdsa { point, application } => Prepared::SkEcdsa {
                key: parse(&signature::ECDSA_P256_SHA256_FIXED, point)?,
                application: sha256(application.as_bytes()),
            },
        }))
    }

    /// Verifies a raw signature as signers produce it: `r || s` for ECDSA, plain octets otherwise.
    ///
    /// # Errors
    /// It does not verify, or the algorithm is not this key's.
    pub fn verify_raw(&self, algorithm: SignatureAlgorithm, data: &[u8], raw: &[u8]) -> Result<(), BadSignature> {
        let key = match (&self.0, algorithm) {
            (Prepared::Rsa { sha1, .. }, SignatureAlgorithm::RsaSha1) => sha1,
            (Prepared::Rsa { sha256, .. }, SignatureAlgorithm::RsaSha256) => sha256,
            (Prepared::Rsa { sha512, .. }, SignatureAlgorithm::RsaSha512) => sha512,
            (Prepared::Ecdsa { curve, key }, SignatureAlgorithm::Ecdsa(asked)) if *curve == asked => key,
            (Prepared::Ed25519(key), SignatureAlgorithm::Ed25519) => key,
            _ => return Err(BadSignature),
        };
        key.verify_sig(data, raw).map_err(|_| BadSignature)
    }

    /// Verifies a signature blob from the wire, by any algorithm that belongs to the key, security keys included.
    ///
    /// # Errors
    /// It does not verify, is out of form, or is `ssh-rsa` with SHA-1.
    pub fn verify_blob(&self, data: &[u8], blob: &[u8]) -> Result<(), BadSignature> {
        let parsed = SignatureBlob::parse(blob).map_err(|_| BadSignature)?;
        let fixed = |curve| ecdsa_fixed(parsed.value, curve).map_err(|_| BadSignature);
        let verify =
            |key: &ParsedPublicKey, data: &[u8], raw: &[u8]| key.verify_sig(data, raw).map_err(|_| BadSignature);
        let plain_end = if parsed.rest.is_empty() { Ok(()) } else { Err(BadSignature) };
        match (&self.0, parsed.algorithm) {
            (Prepared::Rsa { sha256, .. }, "rsa-sha2-256") => plain_end.and(verify(sha256, data, parsed.value)),
            (Prepared::Rsa { sha512, .. }, "rsa-sha2-512") => plain_end.and(verify(sha512, data, parsed.value)),
            (Prepared::Ecdsa { curve, key }, name) if name == curve.algorithm() => {
                plain_end.and(verify(key, data, &fixed(*curve)?))
            }
            (Prepared::Ed25519(key), "ssh-ed25519") => plain_end.and(verify(key, data, parsed.value)),
            (Prepared::SkEd25519 { key, application }, "sk-ssh-ed25519@openssh.com") => {
                verify(key, &sk_message(application, parsed.rest, data)?, parsed.value)
            }
            (Prepared::SkEcdsa { key, application }, "sk-ecdsa-sha2-nistp256@openssh.com") => {
                verify(key, &sk_message(application, parsed.rest, data)?, &fixed(Curve::P256)?)
            }
            _ => Err(BadSignature),
        }
    }
}

/// Verifies a host's signature over `data` by its key or certificate; of a certificate also the authority's own signature.
///
/// A host that signs by `ssh-rsa` is believed as it is by the `ssh` that was told to accept it: the data is a hash that the other side
/// chose half of. Authorities are not.
///
/// # Errors
/// One of them does not verify, or a key is of a type that is not known here.
pub fn verify_host(key: &PublicKey, data: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    if key.certificate().is_some() {
        let authority = key.authority().ok_or(BadSignature)?;
        let (certified, by_authority) = key.certified().ok_or(BadSignature)?;
        Verifier::new(&authority)?.verify_blob(certified, &by_authority)?;
    }
    let verifier = Verifier::new(key.material())?;
    match (SignatureBlob::parse(signature), key.material()) {
        (Ok(SignatureBlob { algorithm: "ssh-rsa", value, rest: [] }), KeyMaterial::Rsa { .. }) => {
            verifier.verify_raw(SignatureAlgorithm::RsaSha1, data, value)
        }
        _ => verifier.verify_blob(data, signature),
    }
}

/// The octets a security key signs (OpenSSH PROTOCOL.u2f): hash of the application, flags, counter, hash of the data.
fn sk_message(application: &[u8; 32], flags_and_counter: &[u8], data: &[u8]) -> Result<Vec<u8>, BadSignature> {
    let flags_and_counter: &[u8; 5] = flags_and_counter.try_into().map_err(|_| BadSignature)?;
    Ok([&application[..], flags_and_counter, &sha256(data)].concat())
}

fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    hash
}

/// `RSAPublicKey` of RFC 8017 appendix A.1.1.
fn rsa_public_key(e: &[u8], n: &[u8]) -> Result<Vec<u8>, BadSignature> {
    let encode = || -> der::Result<Vec<u8>> {
        let body = [UintRef::new(n)?.to_der()?, UintRef::new(e)?.to_der()?].concat();
        der::asn1::AnyRef::new(der::Tag::Sequence, &body)?.to_der()
    };
    encode().map_err(|_| BadSignature)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA512, RsaKeyPair};

    use super::*;

    #[test]
    fn ed25519_and_ecdsa_signatures_verify_and_others_do_not() {
        let ed = Ed25519KeyPair::generate().expect("key");
        let material = KeyMaterial::Ed25519 { key: ed.public_key().as_ref().try_into().expect("32 octets") };
        let verifier = Verifier::new(&material).expect("own key");
        let raw = ed.sign(b"data");
        assert_eq!(verifier.verify_raw(SignatureAlgorithm::Ed25519, b"data", raw.as_ref()), Ok(()));
        assert_eq!(verifier.verify_raw(SignatureAlgorithm::Ed25519, b"date", raw.as_ref()), Err(BadSignature));
        assert_eq!(verifier.verify_blob(b"data", &SignatureAlgorithm::Ed25519.encode(raw.as_ref())), Ok(()));

        let ec = EcdsaKeyPair::generate(&signature::ECDSA_P521_SHA512_FIXED_SIGNING).expect("key");
        let material = KeyMaterial::Ecdsa { curve: Curve::P521, point: ec.public_key().as_ref().to_vec() };
        let verifier = Verifier::new(&material).expect("own key");
        let raw = ec.sign(&SystemRandom::new(), b"data").expect("signature");
        let algorithm = SignatureAlgorithm::Ecdsa(Curve::P521);
        assert_eq!(verifier.verify_blob(b"data", &algorithm.encode(raw.as_ref())), Ok(()));
        assert_eq!(verifier.verify_raw(SignatureAlgorithm::Ed25519, b"data", raw.as_ref()), Err(BadSignature));
    }

    #[test]
    fn rsa_signatures_verify_under_their_own_hash_only() {
        let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("key");
        let numbers: Vec<UintRef<'_>> = der::Decode::from_der(rsa.public_key().as_ref()).expect("RSAPublicKey");
        let number = |index: usize| numbers[index].as_bytes().to_vec();
        let material = KeyMaterial::Rsa { n: number(0), e: number(1) };
        let mut raw = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA512, &SystemRandom::new(), b"data", &mut raw).expect("signature");
        let verifier = Verifier::new(&material).expect("own key");
        assert_eq!(verifier.verify_raw(SignatureAlgorithm::RsaSha512, b"data", &raw), Ok(()));
        assert_eq!(verifier.verify_raw(SignatureAlgorithm::RsaSha256, b"data", &raw), Err(BadSignature));
    }

    #[test]
    fn a_point_off_its_curve_is_refused() {
        let point = [&[4_u8][..], &[1; 64]].concat();
        assert!(Verifier::new(&KeyMaterial::Ecdsa { curve: Curve::P256, point }).is_err());
    }
}
