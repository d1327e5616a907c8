//! Public keys and certificates: the blob that names an identity on the wire, and what it says.
//!
//! The blob as received is the identity (a certificate and its plain key are two), so it is kept and compared octet by octet;
//! the parsed form beside it serves verification and display.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ssh_key::certificate::Certificate;
use ssh_key::public::KeyData;

use super::Malformed;
use super::wire::{Put, Reader};
use crate::text;

/// The suffix of certificate algorithm names (OpenSSH PROTOCOL.certkeys).
const CERTIFICATE_SUFFIX: &str = "-cert-v01@openssh.com";

/// A NIST curve of RFC 5656.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Curve {
    /// nistp256
    P256,
    /// nistp384
    P384,
    /// nistp521
    P521,
}

impl Curve {
    /// The curve's name inside keys and signatures, such as `nistp256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "nistp256",
            Self::P384 => "nistp384",
            Self::P521 => "nistp521",
        }
    }

    /// The name of the key type and of the signature algorithm, such as `ecdsa-sha2-nistp256`.
    pub const fn algorithm(self) -> &'static str {
        match self {
            Self::P256 => "ecdsa-sha2-nistp256",
            Self::P384 => "ecdsa-sha2-nistp384",
            Self::P521 => "ecdsa-sha2-nistp521",
        }
    }

    /// The length of a field element in octets.
    pub const fn field_octets(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The curve whose uncompressed points have this many octets.
    pub fn of_point(point: &[u8]) -> Option<Self> {
        [Self::P256, Self::P384, Self::P521]
            .into_iter()
            .find(|curve| point.len() == 1 + 2 * curve.field_octets() && point[0] == 4)
    }
}

/// The mathematical key inside a blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyMaterial {
    /// RSA; magnitudes without leading zero octets.
    Rsa {
        /// Public exponent.
        e: Vec<u8>,
        /// Modulus.
        n: Vec<u8>,
    },
    /// ECDSA over a NIST curve.
    Ecdsa {
        /// The curve.
        curve: Curve,
        /// Uncompressed point (SEC 1), `04 || x || y`.
        point: Vec<u8>,
    },
    /// Ed25519.
    Ed25519 {
        /// The 32 octets of RFC 8032.
        key: [u8; 32],
    },
    /// A FIDO key with Ed25519 (OpenSSH PROTOCOL.u2f).
    SkEd25519 {
        /// The 32 octets of RFC 8032.
        key: [u8; 32],
        /// The relying party, such as `ssh:`.
        application: String,
    },
    /// A FIDO key with ECDSA over P-256 (OpenSSH PROTOCOL.u2f).
    SkEcdsa {
        /// Uncompressed point (SEC 1).
        point: Vec<u8>,
        /// The relying party, such as `ssh:`.
        application: String,
    },
}

impl KeyMaterial {
    /// A security key's key from what its device says: 32 octets for Ed25519, else an uncompressed point of P-256.
    pub fn of_security_key(is_ed25519: bool, public: &[u8], application: &str) -> Option<Self> {
        let application = application.to_owned();
        match is_ed25519 {
            true => Some(Self::SkEd25519 { key: public.try_into().ok()?, application }),
            false if Curve::of_point(public) == Some(Curve::P256) => {
                Some(Self::SkEcdsa { point: public.to_vec(), application })
            }
            false => None,
        }
    }

    /// The plain key's type name on the wire.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "ssh-rsa",
            Self::Ecdsa { curve, .. } => curve.algorithm(),
            Self::Ed25519 { .. } => "ssh-ed25519",
            Self::SkEd25519 { .. } => "sk-ssh-ed25519@openssh.com",
            Self::SkEcdsa { .. } => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// The key's short name as people know it, such as `RSA` or `ED25519-SK`; what `ssh-add -l` prints in brackets.
    pub const fn short_name(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RSA",
            Self::Ecdsa { .. } => "ECDSA",
            Self::Ed25519 { .. } => "ED25519",
            Self::SkEd25519 { .. } => "ED25519-SK",
            Self::SkEcdsa { .. } => "ECDSA-SK",
        }
    }

    /// The key's size in bits: of the modulus or of the field.
    pub fn bits(&self) -> usize {
        match self {
            Self::Rsa { n, .. } => n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize),
            Self::Ecdsa { curve: Curve::P384, .. } => 384,
            Self::Ecdsa { curve: Curve::P521, .. } => 521,
            Self::Ecdsa { .. } | Self::Ed25519 { .. } | Self::SkEd25519 { .. } | Self::SkEcdsa { .. } => 256,
        }
    }

    /// The plain key as a blob (RFC 4253 section 6.6, RFC 5656 section 3.1, RFC 8709 section 4, PROTOCOL.u2f).
    pub fn to_blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.put_string(self.algorithm().as_bytes());
        match self {
            Self::Rsa { e, n } => {
                blob.put_positive(e);
                blob.put_positive(n);
            }
            Self::Ecdsa { curve, point } => {
                blob.put_string(curve.name().as_bytes());
                blob.put_string(point);
            }
            Self::Ed25519 { key } => blob.put_string(key),
            Self::SkEd25519 { key, application } => {
                blob.put_string(key);
                blob.put_string(application.as_bytes());
            }
            Self::SkEcdsa { point, application } => {
                blob.put_string(Curve::P256.name().as_bytes());
                blob.put_string(point);
                blob.put_string(application.as_bytes());
            }
        }
        blob
    }

    fn from_key_data(data: &KeyData) -> Result<Self, Malformed> {
        Ok(match data {
            KeyData::Rsa(rsa) => {
                Self::Rsa { e: magnitude(rsa.e().as_positive_bytes())?, n: magnitude(rsa.n().as_positive_bytes())? }
            }
            KeyData::Ecdsa(ecdsa) => {
                let point = ecdsa.as_sec1_bytes().to_vec();
                let curve =
                    Curve::of_point(&point).ok_or_else(|| Malformed::new("compressed or foreign curve point"))?;
                Self::Ecdsa { curve, point }
            }
            KeyData::Ed25519(key) => Self::Ed25519 { key: key.0 },
            KeyData::SkEd25519(sk) => {
                Self::SkEd25519 { key: sk.public_key().0, application: sk.application().to_owned() }
            }
            KeyData::SkEcdsaSha2NistP256(sk) => {
                Self::SkEcdsa { point: sk.ec_point().as_bytes().to_vec(), application: sk.application().to_owned() }
            }
            _ => {
                let name = text::excerpt(data.algorithm().as_str().as_bytes());
                return Err(Malformed::new(format!("key type \"{name}\" is not supported")));
            }
        })
    }
}

/// A public key or certificate as it stands on the wire, with its meaning.
#[derive(Debug, Clone)]
pub struct PublicKey {
    blob: Arc<[u8]>,
    material: KeyMaterial,
    certificate: Option<Arc<Certificate>>,
}

impl PublicKey {
    /// Parses a key or certificate blob completely.
    ///
    /// # Errors
    /// Unknown key type, truncated, left-over octets, or a point or number out of form.
    pub fn from_blob(blob: &[u8]) -> Result<Self, Malformed> {
        let name = Reader::new(blob).text()?;
        // The library quotes the blob in its errors.
        let bad = |error: ssh_key::Error| {
            let (name, error) = (text::excerpt(name.as_bytes()), text::excerpt(error.to_string().as_bytes()));
            Malformed::new(format!("public key of type \"{name}\": {error}"))
        };
        let (material, certificate) = if name.ends_with(CERTIFICATE_SUFFIX) {
            let certificate = Certificate::from_bytes(blob).map_err(bad)?;
            (KeyMaterial::from_key_data(certificate.public_key())?, Some(Arc::new(certificate)))
        } else {
            let mut rest = blob;
            let data = <KeyData as ssh_encoding::Decode>::decode(&mut rest).map_err(bad)?;
            Reader::new(rest).finish()?;
            (KeyMaterial::from_key_data(&data)?, None)
        };
        let key = Self { blob: blob.into(), material, certificate };
        match key.is_whole() {
            true => Ok(key),
            false => Err(Malformed::new("octets left over in a part of the key or certificate")),
        }
    }

    /// A plain key made from its numbers.
    pub fn from_material(material: KeyMaterial) -> Self {
        Self { blob: material.to_blob().into(), material, certificate: None }
    }

    /// The octets that name this identity.
    pub const fn blob(&self) -> &Arc<[u8]> {
        &self.blob
    }

    /// The key itself; for a certificate, the certified key.
    pub const fn material(&self) -> &KeyMaterial {
        &self.material
    }

    /// The certificate, when it is one.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_deref()
    }

    /// The key of the authority that signed the certificate, when it is one of a type that is known here.
    pub fn authority(&self) -> Option<KeyMaterial> {
        KeyMaterial::from_key_data(self.certificate()?.signature_key()).ok()
    }

    /// A certificate's octets that its authority signed, and the signature (OpenSSH PROTOCOL.certkeys).
    pub fn certified(&self) -> Option<(&[u8], Vec<u8>)> {
        let mut signature = Vec::new();
        ssh_encoding::Encode::encode(self.certificate()?.signature(), &mut signature).ok()?;
        let end = self.blob.len().checked_sub(4 + signature.len())?;
        Some((&self.blob[..end], signature))
    }

    /// The type name on the wire, such as `ssh-ed25519` or `ssh-ed25519-cert-v01@openssh.com`.
    pub fn type_name(&self) -> &str {
        Reader::new(&self.blob).text().unwrap_or_default()
    }

    /// Whether the parts that stand in strings of their own fill these: the key, and a certificate's authority and signature. The library
    /// does not look, and a blob that reads one way here and another way elsewhere would be worse than none.
    fn is_whole(&self) -> bool {
        let plain = self.material.to_blob();
        let Some((certified, signature)) = self.certified() else {
            return self.certificate.is_none() && plain == *self.blob;
        };
        let ends_with = |octets: &[u8], part: &[u8]| {
            octets.strip_suffix(part).is_some_and(|rest| rest.ends_with(&(part.len() as u32).to_be_bytes()))
        };
        // Behind the type and the nonce stand the key's parts, without the name of the plain key's type.
        let mut parts = Reader::new(certified);
        parts.string().and_then(|_| parts.string()).is_ok()
            && parts.rest().starts_with(&plain[4 + self.material.algorithm().len()..])
            && ends_with(&self.blob, &signature)
            && self.authority().is_none_or(|authority| ends_with(certified, &authority.to_blob()))
    }
}

fn magnitude(bytes: Option<&[u8]>) -> Result<Vec<u8>, Malformed> {
    match bytes {
        Some(bytes) if !bytes.is_empty() => Ok(bytes.to_vec()),
        _ => Err(Malformed::new("RSA number is zero or negative")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_made_from_numbers_reads_back_as_the_same_key() {
        for material in [
            KeyMaterial::Ed25519 { key: [7; 32] },
            KeyMaterial::Rsa { e: vec![1, 0, 1], n: [&[0x80][..], &[1; 255]].concat() },
            KeyMaterial::SkEd25519 { key: [3; 32], application: "ssh:".into() },
        ] {
            let key = PublicKey::from_material(material.clone());
            assert_eq!(PublicKey::from_blob(key.blob()).expect("own blob").material(), &material);
            assert_eq!(key.type_name(), material.algorithm());
        }
    }

    #[test]
    fn left_over_octets_make_another_key_not_the_same_one() {
        let mut blob = KeyMaterial::Ed25519 { key: [7; 32] }.to_blob();
        blob.push(0);
        assert!(PublicKey::from_blob(&blob).is_err());
    }

    #[test]
    fn octets_left_over_in_a_part_make_no_key_either() {
        let mut blob = KeyMaterial::Ed25519 { key: [7; 32] }.to_blob();
        let length = blob.len() - 33;
        blob[length] += 1;
        blob.push(0);
        assert!(PublicKey::from_blob(&blob).is_err());
    }

    #[test]
    fn an_error_quotes_the_blob_without_harm() {
        let blob = [&[0, 0, 4, 0][..], &b"ssh-\n".repeat(205)].concat();
        let error = PublicKey::from_blob(&blob).expect_err("no such type").to_string();
        assert!(error.len() < 512 && !error.contains('\n'), "{error}");
    }

    #[test]
    fn bits_count_from_the_first_set_bit() {
        assert_eq!(KeyMaterial::Rsa { e: vec![3], n: vec![0x7f, 0xff] }.bits(), 15);
    }
}
