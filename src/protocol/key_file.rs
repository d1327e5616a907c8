//! Files of OpenSSH's private keys and attestations (OpenSSH PROTOCOL.key, PROTOCOL.u2f), for keys that live on security keys: what such a
//! file holds names the key to its device, and signs nothing by itself.

use base64ct::{Base64, Encoding as _};

use super::public_key::{Curve, KeyMaterial};
use super::wire::Put as _;

/// The length of a line of base64, as `ssh-keygen` writes it.
const LINE: usize = 70;
/// The length that the private section is padded to, without a cipher.
const BLOCK: usize = 8;

/// A private key file without a passphrase. `check` is any number; `None` for a key that is not a security key's.
pub fn security_key_file(public: &KeyMaterial, flags: u8, handle: &[u8], comment: &str, check: u32) -> Option<String> {
    let mut section = Vec::new();
    section.put_u32(check);
    section.put_u32(check);
    section.put_string(public.algorithm().as_bytes());
    match public {
        KeyMaterial::SkEd25519 { key, application } => {
            section.put_string(key);
            section.put_string(application.as_bytes());
        }
        KeyMaterial::SkEcdsa { point, application } => {
            section.put_string(Curve::P256.name().as_bytes());
            section.put_string(point);
            section.put_string(application.as_bytes());
        }
        _ => return None,
    }
    section.push(flags);
    section.put_string(handle);
    section.put_string(b"");
    section.put_string(comment.as_bytes());
    section.extend((1..).take((BLOCK - section.len() % BLOCK) % BLOCK));

    let mut file = b"openssh-key-v1\0".to_vec();
    for part in [&b"none"[..], b"none", b""] {
        file.put_string(part);
    }
    file.put_u32(1);
    file.put_string(&public.to_blob());
    file.put_string(&section);
    let encoded = Base64::encode_string(&file);
    let lines: Vec<&str> =
        (0..encoded.len()).step_by(LINE).map(|at| &encoded[at..encoded.len().min(at + LINE)]).collect();
    Some(format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n", lines.join("\n")))
}

/// An attestation as `ssh-keygen -O write-attestation` writes it (`ssh-sk-attest-v01`).
pub fn attestation_file(certificate: &[u8], signature: &[u8], authenticator_data: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    file.put_string(b"ssh-sk-attest-v01");
    file.put_string(certificate);
    file.put_string(signature);
    // As a byte string of CBOR (RFC 8949 section 3.1), with its length in two octets.
    let mut cbor = vec![0x59];
    cbor.extend_from_slice(&(authenticator_data.len() as u16).to_be_bytes());
    cbor.extend_from_slice(authenticator_data);
    file.put_string(&cbor);
    file.put_u32(0);
    file.put_string(b"");
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_section_is_padded_by_counting() {
        let public = KeyMaterial::SkEd25519 { key: [7; 32], application: "ssh:".to_owned() };
        for comment in ["", "a", "abcdefg"] {
            let text = security_key_file(&public, 1, b"handle", comment, 5).expect("a security key");
            let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
            let file = Base64::decode_vec(&body).expect("base64");
            assert_eq!(file[..15], *b"openssh-key-v1\0");
            assert_eq!(file.windows(6).filter(|window| *window == b"handle").count(), 1);
        }
        assert_eq!(security_key_file(&KeyMaterial::Ed25519 { key: [7; 32] }, 1, b"", "", 5), None);
    }
}
