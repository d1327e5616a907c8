//! Public keys as tokens store them, in every encoding that modules use.

use cryptoki::object::{Attribute, KeyType};
use der::Decode as _;
use der::asn1::{OctetStringRef, UintRef};
use x509_cert::Certificate;
use x509_cert::ext::pkix::BasicConstraints;

use crate::protocol::public_key::{Curve, KeyMaterial};

/// The public key that an object's attributes make, if they make one that SSH knows.
///
/// `CKA_EC_POINT` is an OCTET STRING by the standard and raw in some modules; the length decides, since a raw Ed25519 key may well begin
/// like an OCTET STRING.
pub(super) fn from_attributes(attributes: &[Attribute]) -> Option<KeyMaterial> {
    let mut key_type = None;
    let (mut modulus, mut exponent, mut point) = (None, None, None);
    for attribute in attributes {
        match attribute {
            Attribute::KeyType(found) => key_type = Some(*found),
            Attribute::Modulus(octets) => modulus = Some(octets),
            Attribute::PublicExponent(octets) => exponent = Some(octets),
            Attribute::EcPoint(octets) => point = Some(octets),
            _ => {}
        }
    }
    match key_type? {
        KeyType::RSA => rsa(modulus?, exponent?),
        KeyType::EC => ecdsa(point?),
        KeyType::EC_EDWARDS => ed25519(point?),
        _ => None,
    }
}

/// The public key of an X.509 certificate, unless it is an authority's.
pub(super) fn from_certificate(der: &[u8]) -> Option<KeyMaterial> {
    let certificate = Certificate::from_der(der).ok()?;
    if let Ok(Some((_, constraints))) = certificate.tbs_certificate().get_extension::<BasicConstraints>()
        && constraints.ca
    {
        return None;
    }
    let info = certificate.tbs_certificate().subject_public_key_info();
    let octets = info.subject_public_key.as_bytes()?;
    match info.algorithm.oid.to_string().as_str() {
        // rsaEncryption (RFC 8017), id-ecPublicKey (RFC 5480), id-Ed25519 (RFC 8410)
        "1.2.840.113549.1.1.1" => {
            let numbers = Vec::<UintRef<'_>>::from_der(octets).ok()?;
            rsa(numbers.first()?.as_bytes(), numbers.get(1)?.as_bytes())
        }
        "1.2.840.10045.2.1" => ecdsa(octets),
        "1.3.101.112" => ed25519(octets),
        _ => None,
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<KeyMaterial> {
    let magnitude = |octets: &[u8]| {
        let start = octets.iter().position(|octet| *octet != 0)?;
        Some(octets[start..].to_vec())
    };
    Some(KeyMaterial::Rsa { e: magnitude(exponent)?, n: magnitude(modulus)? })
}

fn ecdsa(octets: &[u8]) -> Option<KeyMaterial> {
    let point = match Curve::of_point(octets) {
        Some(_) => octets,
        None => <&OctetStringRef>::from_der(octets).ok()?.as_bytes(),
    };
    Some(KeyMaterial::Ecdsa { curve: Curve::of_point(point)?, point: point.to_vec() })
}

fn ed25519(octets: &[u8]) -> Option<KeyMaterial> {
    let key = match octets.len() {
        32 => octets,
        _ => <&OctetStringRef>::from_der(octets).ok()?.as_bytes(),
    };
    Some(KeyMaterial::Ed25519 { key: key.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_ed25519_key_that_begins_like_an_octet_string_is_still_raw() {
        let mut raw = [7_u8; 32];
        raw[..2].copy_from_slice(&[4, 0x20]);
        let wrapped = [&[4, 0x20][..], &raw].concat();
        for point in [raw.to_vec(), wrapped] {
            let attributes = [Attribute::KeyType(KeyType::EC_EDWARDS), Attribute::EcPoint(point)];
            assert_eq!(from_attributes(&attributes), Some(KeyMaterial::Ed25519 { key: raw }));
        }
    }

    #[test]
    fn points_are_read_raw_and_wrapped_for_each_curve() {
        for (octets, prefix) in [(64, &[4, 65][..]), (96, &[4, 97]), (132, &[4, 0x81, 133])] {
            let raw = [&[4_u8][..], &vec![9; octets]].concat();
            for point in [raw.clone(), [prefix, &raw].concat()] {
                let attributes = [Attribute::KeyType(KeyType::EC), Attribute::EcPoint(point)];
                assert!(from_attributes(&attributes).is_some(), "{octets}");
            }
        }
    }

    #[test]
    fn half_a_key_is_none() {
        assert_eq!(from_attributes(&[Attribute::KeyType(KeyType::RSA), Attribute::Modulus(vec![1; 256])]), None);
        assert_eq!(from_attributes(&[Attribute::KeyType(KeyType::EC), Attribute::EcPoint(vec![4, 65, 4])]), None);
        assert_eq!(from_certificate(b"not a certificate"), None);
    }
}
