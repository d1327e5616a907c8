//! Private keys as `ssh-add` sends them (RFC 9987 section 5.2, OpenSSH PROTOCOL.agent).
//!
//! Everything borrows from the request's buffer, which is overwritten afterwards: no second copy of a secret comes into being here.

use super::Malformed;
use super::public_key::{Curve, KeyMaterial, PublicKey};
use super::wire::Reader;
use crate::text;

/// The secret part of an added key.
pub enum Secret<'a> {
    /// RSA numbers as magnitudes without leading zeros.
    Rsa {
        /// Private exponent.
        d: &'a [u8],
        /// Inverse of q modulo p.
        iqmp: &'a [u8],
        /// First prime.
        p: &'a [u8],
        /// Second prime.
        q: &'a [u8],
    },
    /// ECDSA private number, magnitude without leading zeros.
    Ecdsa {
        /// The private number.
        d: &'a [u8],
    },
    /// Ed25519 seed (RFC 8032 section 5.1.5).
    Ed25519 {
        /// 32 octets.
        seed: &'a [u8; 32],
    },
    /// A FIDO key handle; nothing secret in itself (OpenSSH PROTOCOL.u2f).
    SecurityKey {
        /// Flags: 1 user presence, 4 user verification, 0x20 resident.
        flags: u8,
        /// The credential id.
        handle: &'a [u8],
    },
}

/// A private key and the public key or certificate that names it.
pub struct PrivateKey<'a> {
    /// The identity: the certificate when one was sent, else the plain key.
    pub public: PublicKey,
    /// The secret.
    pub secret: Secret<'a>,
}

impl<'a> PrivateKey<'a> {
    /// Reads one private key; what follows it (comment, constraints) stays in the reader.
    ///
    /// # Errors
    /// Unknown key type, or parts that contradict each other or the certificate.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let name = reader.text()?;
        let certificate = match name.strip_suffix("-cert-v01@openssh.com") {
            Some(_) => Some(PublicKey::from_blob(reader.string()?)?),
            None => None,
        };
        if let Some(certificate) = &certificate
            && certificate.type_name() != name
        {
            return Err(Malformed::new("certificate is of another type than announced"));
        }
        //= RFC 9987 section 3: Agents MAY implement support for only a subset of available key types
        //= RFC 9987 section 5.2: An agent MAY support only a subset of the key types defined here and MAY support
        //= additional key types
        match name {
            "ssh-rsa" | "ssh-rsa-cert-v01@openssh.com" => rsa(reader, certificate),
            "ssh-ed25519" | "ssh-ed25519-cert-v01@openssh.com" => ed25519(reader, certificate),
            //= RFC 9987 section 5.2.5: Agents and their clients MAY support additional key types not documented here.
            "sk-ssh-ed25519@openssh.com" | "sk-ssh-ed25519-cert-v01@openssh.com" => sk_ed25519(reader, certificate),
            "sk-ecdsa-sha2-nistp256@openssh.com" | "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com" => {
                sk_ecdsa(reader, certificate)
            }
            _ if name.starts_with("ecdsa-sha2-nistp") => ecdsa(reader, name, certificate),
            //= RFC 9987 section 5.2: If an agent does not recognise the type name in a request to add a key, then it
            //= MUST respond with an SSH_AGENT_FAILURE reply.
            _ => Err(Malformed::new(format!("keys of type \"{}\" are not supported", text::excerpt(name.as_bytes())))),
        }
    }
}

fn rsa<'a>(reader: &mut Reader<'a>, certificate: Option<PublicKey>) -> Result<PrivateKey<'a>, Malformed> {
    let public = match certificate {
        Some(certificate) => certificate,
        None => {
            let (n, e) = (reader.positive()?.to_vec(), reader.positive()?.to_vec());
            if n.is_empty() || e.is_empty() {
                return Err(Malformed::new("RSA number is zero"));
            }
            PublicKey::from_material(KeyMaterial::Rsa { e, n })
        }
    };
    let (d, iqmp) = (reader.positive()?, reader.positive()?);
    let (p, q) = (reader.positive()?, reader.positive()?);
    Ok(PrivateKey { public, secret: Secret::Rsa { d, iqmp, p, q } })
}

fn ecdsa<'a>(reader: &mut Reader<'a>, name: &str, certificate: Option<PublicKey>) -> Result<PrivateKey<'a>, Malformed> {
    let public = match certificate {
        Some(certificate) => certificate,
        None => {
            let curve = reader.text()?;
            let point = reader.string()?;
            let found = Curve::of_point(point)
                .filter(|found| found.name() == curve && found.algorithm() == name)
                .ok_or_else(|| Malformed::new("curve, point and key type contradict each other"))?;
            PublicKey::from_material(KeyMaterial::Ecdsa { curve: found, point: point.to_vec() })
        }
    };
    Ok(PrivateKey { public, secret: Secret::Ecdsa { d: reader.positive()? } })
}

fn ed25519<'a>(reader: &mut Reader<'a>, certificate: Option<PublicKey>) -> Result<PrivateKey<'a>, Malformed> {
    let key = ed25519_point(reader.string()?)?;
    let pair: &[u8; 64] =
        reader.string()?.try_into().map_err(|_| Malformed::new("Ed25519 private key is not 64 octets"))?;
    let (seed, tail) = pair.split_first_chunk::<32>().ok_or_else(|| Malformed::new("unreachable length"))?;
    if tail != key {
        return Err(Malformed::new("Ed25519 halves contradict each other"));
    }
    let material = KeyMaterial::Ed25519 { key };
    Ok(PrivateKey { public: same_as_certified(certificate, material)?, secret: Secret::Ed25519 { seed } })
}

fn sk_ed25519<'a>(reader: &mut Reader<'a>, certificate: Option<PublicKey>) -> Result<PrivateKey<'a>, Malformed> {
    let key = ed25519_point(reader.string()?)?;
    let application = reader.text()?.to_owned();
    let public = same_as_certified(certificate, KeyMaterial::SkEd25519 { key, application })?;
    Ok(PrivateKey { public, secret: security_key(reader)? })
}

fn sk_ecdsa<'a>(reader: &mut Reader<'a>, certificate: Option<PublicKey>) -> Result<PrivateKey<'a>, Malformed> {
    let public = match certificate {
        Some(certificate) => {
            let application = reader.text()?;
            match certificate.material() {
                KeyMaterial::SkEcdsa { application: certified, .. } if certified == application => certificate,
                _ => return Err(Malformed::new("key and certificate contradict each other")),
            }
        }
        None => {
            let curve = reader.text()?;
            let point = reader.string()?;
            if curve != Curve::P256.name() || Curve::of_point(point) != Some(Curve::P256) {
                return Err(Malformed::new("security key is not on nistp256"));
            }
            let application = reader.text()?.to_owned();
            PublicKey::from_material(KeyMaterial::SkEcdsa { point: point.to_vec(), application })
        }
    };
    Ok(PrivateKey { public, secret: security_key(reader)? })
}

fn security_key<'a>(reader: &mut Reader<'a>) -> Result<Secret<'a>, Malformed> {
    let flags = reader.u8()?;
    let handle = reader.string()?;
    let _reserved = reader.string()?;
    Ok(Secret::SecurityKey { flags, handle })
}

fn ed25519_point(octets: &[u8]) -> Result<[u8; 32], Malformed> {
    octets.try_into().map_err(|_| Malformed::new("Ed25519 public key is not 32 octets"))
}

fn same_as_certified(certificate: Option<PublicKey>, material: KeyMaterial) -> Result<PublicKey, Malformed> {
    match certificate {
        None => Ok(PublicKey::from_material(material)),
        Some(certificate) if *certificate.material() == material => Ok(certificate),
        Some(_) => Err(Malformed::new("key and certificate contradict each other")),
    }
}
