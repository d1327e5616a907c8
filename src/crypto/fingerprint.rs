//! Fingerprints as `ssh-keygen -l` prints them.

use aws_lc_rs::digest;
use base64ct::{Base64Unpadded, Encoding as _};
use md5::Digest as _;

use crate::protocol::public_key::PublicKey;

/// The hash a fingerprint is made with (`-E`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FingerprintHash {
    /// `SHA256:` and unpadded base64; OpenSSH's default.
    #[default]
    Sha256,
    /// `SHA384:` and unpadded base64.
    Sha384,
    /// `SHA512:` and unpadded base64.
    Sha512,
    /// `MD5:` and hexadecimal pairs; for comparison with old records only.
    Md5,
}

impl FingerprintHash {
    /// Reads a name as `-E` takes it.
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "sha256" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha512" => Some(Self::Sha512),
            "md5" => Some(Self::Md5),
            _ => None,
        }
    }

    /// The fingerprint of a key; for a certificate, of the certified key.
    pub fn of(self, key: &PublicKey) -> String {
        let blob = key.material().to_blob();
        let (name, algorithm) = match self {
            Self::Sha256 => ("SHA256", &digest::SHA256),
            Self::Sha384 => ("SHA384", &digest::SHA384),
            Self::Sha512 => ("SHA512", &digest::SHA512),
            Self::Md5 => {
                let pairs: Vec<String> = md5::Md5::digest(&blob).iter().map(|octet| format!("{octet:02x}")).collect();
                return format!("MD5:{}", pairs.join(":"));
            }
        };
        format!("{name}:{}", Base64Unpadded::encode_string(digest::digest(algorithm, &blob).as_ref()))
    }
}
