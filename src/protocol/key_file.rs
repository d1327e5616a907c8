//! Files of OpenSSH's private keys and attestations (OpenSSH PROTOCOL.key, PROTOCOL.u2f), for keys that live on security keys: what such a
//! file holds names the key to its device, and signs nothing by itself.

use base64ct::{Base64, Encoding as _};

use super::Malformed;
use super::public_key::{Curve, KeyMaterial};
use super::wire::{Put as _, Reader};

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";
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

    let mut file = MAGIC.to_vec();
    for part in [&b"none"[..], b"none", b""] {
        file.put_string(part);
    }
    file.put_u32(1);
    file.put_string(&public.to_blob());
    file.put_string(&section);
    let encoded = Base64::encode_string(&file);
    let lines: Vec<&str> =
        (0..encoded.len()).step_by(LINE).map(|at| &encoded[at..encoded.len().min(at + LINE)]).collect();
    Some(format!("{BEGIN}\n{}\n{END}\n", lines.join("\n")))
}

/// The private section of a key's file, from the key's type on. The file holds one key and has no passphrase.
///
/// # Errors
/// It is no such file.
pub fn private_section(text: &str) -> Result<Vec<u8>, Malformed> {
    let lines = text.lines().map(str::trim).skip_while(|line| *line != BEGIN).skip(1);
    let encoded: String = lines.take_while(|line| *line != END).collect();
    let file = Base64::decode_vec(&encoded).map_err(|_| Malformed::new("not a private key file of OpenSSH"))?;
    let file = file.strip_prefix(MAGIC).ok_or_else(|| Malformed::new("not a private key file of OpenSSH"))?;
    let mut reader = Reader::new(file);
    let cipher = reader.string()?;
    let (_derivation, _options) = (reader.string()?, reader.string()?);
    if cipher != b"none" {
        return Err(Malformed::new(
            "it has a passphrase; add it with ssh-add, or take the passphrase off with ssh-keygen -p",
        ));
    }
    if reader.u32()? != 1 {
        return Err(Malformed::new("it does not hold one key"));
    }
    let _public = reader.string()?;
    let section = reader.string()?;
    match section.split_at_checked(8) {
        Some((check, rest)) if check[..4] == check[4..] => Ok(rest.to_vec()),
        _ => Err(Malformed::new("its private section is damaged")),
    }
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
    use crate::protocol::private_key::PrivateKey;

    #[test]
    fn a_file_reads_back_and_a_cut_one_does_not() {
        let public = KeyMaterial::SkEcdsa { point: vec![4; 65], application: "ssh:".to_owned() };
        let text = security_key_file(&public, 5, b"handle", "comment", 7).expect("a security key");
        let section = private_section(&text).expect("an own file");
        let mut reader = Reader::new(&section);
        let read = PrivateKey::read(&mut reader).expect("a key");
        assert_eq!((read.public.material(), reader.string()), (&public, Ok(&b"comment"[..])));
        let cut: String = text.lines().take(3).collect::<Vec<_>>().join("\n");
        assert!(private_section(&cut).is_err());
        assert!(private_section("").is_err());
    }

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
