//! Signature algorithms and signature blobs (RFC 4253, 5656, 8332, 8709).

use serde::{Deserialize, Serialize};

use super::Malformed;
use super::payload::Payload;
use super::public_key::{Curve, KeyMaterial};
use super::wire::{Put, Reader};

/// `SSH_AGENT_RSA_SHA2_256` (RFC 9987 section 5.6.1).
pub const FLAG_RSA_SHA2_256: u32 = 2;
/// `SSH_AGENT_RSA_SHA2_512` (RFC 9987 section 5.6.1).
pub const FLAG_RSA_SHA2_512: u32 = 4;

/// What a request says about the algorithm, and what the agent's rules allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The request's flags; unknown bits are ignored.
    pub flags: u32,
    /// `ssh-rsa` with SHA-1 is allowed, as stock ssh-agent does.
    pub sha1: bool,
}

/// What is to be computed for one signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SignatureAlgorithm {
    /// `ssh-rsa`, for those who asked to be as lax as stock ssh-agent
    RsaSha1,
    /// `rsa-sha2-256`
    RsaSha256,
    /// `rsa-sha2-512`
    RsaSha512,
    /// `ecdsa-sha2-*` with the hash that belongs to the curve
    Ecdsa(Curve),
    /// `ssh-ed25519`
    Ed25519,
}

/// Why no algorithm serves a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAlgorithm {
    /// The client did not ask for SHA-2.
    #[error(
        "the client asked for an ssh-rsa signature with SHA-1, which is broken; use a client that knows rsa-sha2-512 (OpenSSH 7.2 or later)"
    )]
    Sha1,
    /// The key signs through a security key only.
    #[error("keys of type {0} sign on a security key only")]
    SecurityKey(&'static str),
}

impl SignatureAlgorithm {
    /// Chooses by key type, the request's flags and data. With both SHA-2 flags, SHA-256 wins, as in OpenSSH.
    ///
    /// Without a flag an RSA signature would be SHA-1. Data that name their algorithm (a login) or belong to a protocol that forbids SHA-1
    /// (SSHSIG) are refused then; data that name none, such as the test of `ssh-add -T`, are signed with SHA-256.
    ///
    /// # Errors
    /// The request can only be meant as `ssh-rsa` with SHA-1.
    pub fn choose(key: &KeyMaterial, wanted: Wanted, data: &[u8]) -> Result<Self, NoAlgorithm> {
        let Wanted { flags, sha1 } = wanted;
        match key {
            //= RFC 9987 section 5.6.1: These two flags are only valid for "ssh-rsa" keys
            KeyMaterial::Rsa { .. } if flags & FLAG_RSA_SHA2_256 != 0 => Ok(Self::RsaSha256),
            KeyMaterial::Rsa { .. } if flags & FLAG_RSA_SHA2_512 != 0 => Ok(Self::RsaSha512),
            KeyMaterial::Rsa { .. } if sha1 => Ok(Self::RsaSha1),
            KeyMaterial::Rsa { .. } => match Payload::of(data) {
                Payload::Raw => Ok(Self::RsaSha256),
                _ => Err(NoAlgorithm::Sha1),
            },
            KeyMaterial::Ecdsa { curve, .. } => Ok(Self::Ecdsa(*curve)),
            KeyMaterial::Ed25519 { .. } => Ok(Self::Ed25519),
            KeyMaterial::SkEd25519 { .. } | KeyMaterial::SkEcdsa { .. } => {
                Err(NoAlgorithm::SecurityKey(key.short_name()))
            }
        }
    }

    /// The algorithm's name at the head of a signature blob.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaSha1 => "ssh-rsa",
            Self::RsaSha256 => "rsa-sha2-256",
            Self::RsaSha512 => "rsa-sha2-512",
            Self::Ecdsa(curve) => curve.algorithm(),
            Self::Ed25519 => "ssh-ed25519",
        }
    }

    /// Wraps raw signature octets into the blob that goes to the client.
    ///
    /// `raw` is what signers produce: `r || s` of the field's width for ECDSA, modulus-sized octets for RSA, 64 octets for Ed25519.
    pub fn encode(self, raw: &[u8]) -> Vec<u8> {
        let mut blob = Vec::with_capacity(raw.len() + 64);
        blob.put_string(self.name().as_bytes());
        match self {
            Self::Ecdsa(_) => {
                let (r, s) = raw.split_at(raw.len() / 2);
                let mut pair = Vec::with_capacity(raw.len() + 10);
                pair.put_positive(r);
                pair.put_positive(s);
                blob.put_string(&pair);
            }
            _ => blob.put_string(raw),
        }
        blob
    }
}

/// A signature blob split into its parts, as far as all algorithms share them.
#[derive(Debug, Clone, Copy)]
pub struct SignatureBlob<'a> {
    /// Algorithm name, such as `rsa-sha2-512`.
    pub algorithm: &'a str,
    /// The algorithm's own octets.
    pub value: &'a [u8],
    /// What follows the value; flags and counter for security keys.
    pub rest: &'a [u8],
}

impl<'a> SignatureBlob<'a> {
    /// Reads name and value; what follows stays in `rest` for the algorithm to judge.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(blob);
        let algorithm = reader.text()?;
        let value = reader.string()?;
        Ok(Self { algorithm, value, rest: reader.rest() })
    }
}

/// Splits the value of an ECDSA signature, `mpint r, mpint s`, into fixed-width `r || s`.
pub fn ecdsa_fixed(value: &[u8], curve: Curve) -> Result<Vec<u8>, Malformed> {
    let width = curve.field_octets();
    let mut reader = Reader::new(value);
    let mut fixed = vec![0; 2 * width];
    for half in fixed.chunks_mut(width) {
        let number = reader.positive()?;
        let start = width.checked_sub(number.len()).ok_or_else(|| Malformed::new("signature number is too long"))?;
        half[start..].copy_from_slice(number);
    }
    reader.finish()?;
    Ok(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ecdsa_numbers_survive_the_round_trip() {
        let mut raw = vec![0_u8; 64];
        raw[5] = 0x80;
        raw[63] = 9;
        let blob = SignatureAlgorithm::Ecdsa(Curve::P256).encode(&raw);
        let parsed = SignatureBlob::parse(&blob).expect("own blob");
        assert_eq!(parsed.algorithm, "ecdsa-sha2-nistp256");
        assert_eq!(ecdsa_fixed(parsed.value, Curve::P256).expect("own value"), raw);
    }

    #[test]
    fn rsa_signs_with_sha1_only_where_that_is_allowed_and_sha256_wins_over_sha512() {
        let rsa = KeyMaterial::Rsa { e: vec![3], n: vec![1; 256] };
        let mut message = b"SSHSIG".to_vec();
        [&b"file"[..], b"", b"sha512", b"digest"].into_iter().for_each(|part| message.put_string(part));
        let choose = |flags, data: &[u8]| SignatureAlgorithm::choose(&rsa, Wanted { flags, sha1: false }, data);
        assert_eq!(choose(0, &message), Err(NoAlgorithm::Sha1));
        assert_eq!(choose(0, b"any data"), Ok(SignatureAlgorithm::RsaSha256));
        assert_eq!(choose(6, &message), Ok(SignatureAlgorithm::RsaSha256));
        assert_eq!(choose(4, &message), Ok(SignatureAlgorithm::RsaSha512));
        let lax = Wanted { flags: 0, sha1: true };
        assert_eq!(SignatureAlgorithm::choose(&rsa, lax, &message), Ok(SignatureAlgorithm::RsaSha1));
    }
}
