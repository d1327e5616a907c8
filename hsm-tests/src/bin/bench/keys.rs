//! The keys that sign, and what they are asked to sign.

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::SigningKey;

use crate::wire::{put, put_mpint};

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    P256,
    P384,
    Ed25519,
}

/// A key that some of the targets have.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) in_token: bool,
    /// The public key in SSH's encoding (RFC 4253 section 6.6).
    pub(crate) blob: Vec<u8>,
}

impl Kind {
    /// Those that every round has, in a token and as software keys.
    pub(crate) const USUAL: [Self; 3] = [Self::Rsa2048, Self::P256, Self::Ed25519];
    /// All, which a token holds in a long measurement.
    pub(crate) const ALL: [Self; 6] =
        [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::P256, Self::P384, Self::Ed25519];

    /// Its name in tables, and its label in the token.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Its arguments for `ssh-keygen`.
    pub(crate) fn for_ssh_keygen(self) -> [&'static str; 4] {
        match self {
            Self::Rsa2048 => ["-t", "rsa", "-b", "2048"],
            Self::Rsa3072 => ["-t", "rsa", "-b", "3072"],
            Self::Rsa4096 => ["-t", "rsa", "-b", "4096"],
            Self::P256 => ["-t", "ecdsa", "-b", "256"],
            Self::P384 => ["-t", "ecdsa", "-b", "384"],
            Self::Ed25519 => ["-t", "ed25519", "-b", "256"],
        }
    }

    /// Its name for `pkcs11-tool --key-type`.
    pub(crate) fn for_pkcs11_tool(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa:2048",
            Self::Rsa3072 => "rsa:3072",
            Self::Rsa4096 => "rsa:4096",
            Self::P256 => "EC:prime256v1",
            Self::P384 => "EC:secp384r1",
            Self::Ed25519 => "EC:edwards25519",
        }
    }

    /// The signature algorithm that `ssh` asks for.
    pub(crate) fn algorithm(self) -> &'static str {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => "rsa-sha2-512",
            Self::P256 => "ecdsa-sha2-nistp256",
            Self::P384 => "ecdsa-sha2-nistp384",
            Self::Ed25519 => "ssh-ed25519",
        }
    }

    /// The flags that ask an agent for it (RFC 9987 section 5.6.1).
    pub(crate) fn flags(self) -> u32 {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => 4,
            Self::P256 | Self::P384 | Self::Ed25519 => 0,
        }
    }
}

impl Key {
    /// Its name in tables.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", if self.in_token { "token" } else { "software" }, self.kind.name())
    }

    /// What a client signs to log in (RFC 4252 section 7); `number` makes it another session each time.
    pub(crate) fn login_data(&self, number: u8) -> Vec<u8> {
        const SSH_MSG_USERAUTH_REQUEST: u8 = 50;
        let mut data = Vec::new();
        put(&mut data, &[number; 32]);
        data.push(SSH_MSG_USERAUTH_REQUEST);
        put(&mut data, b"user");
        put(&mut data, b"ssh-connection");
        put(&mut data, b"publickey");
        data.push(1);
        put(&mut data, self.kind.algorithm().as_bytes());
        put(&mut data, &self.blob);
        data
    }
}

/// The blob of an RSA key from its two big-endian numbers.
pub(crate) fn rsa_blob(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, b"ssh-rsa");
    put_mpint(&mut blob, exponent);
    put_mpint(&mut blob, modulus);
    blob
}

/// The blob of a key on a NIST curve, such as `nistp256`, from its uncompressed point.
pub(crate) fn ecdsa_blob(curve: &str, point: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, format!("ecdsa-sha2-{curve}").as_bytes());
    put(&mut blob, curve.as_bytes());
    put(&mut blob, point);
    blob
}

/// An Ed25519 key as `ssh-keygen` writes it without a passphrase (OpenSSH's PROTOCOL.key), and its blob.
pub(crate) fn ed25519_file(seed: [u8; 32]) -> (String, Vec<u8>) {
    let key = SigningKey::from_bytes(&seed);
    let public = key.verifying_key();
    let blob = ed25519_blob(public.as_bytes());
    let mut secret = vec![0; 8]; // Twice the same number, by which a wrong passphrase would be noticed.
    for field in [&b"ssh-ed25519"[..], public.as_bytes(), &key.to_keypair_bytes(), b"added"] {
        put(&mut secret, field);
    }
    secret.extend((1..=8).take((8 - secret.len() % 8) % 8));
    let mut file = b"openssh-key-v1\0".to_vec();
    for field in [&b"none"[..], b"none", b""] {
        put(&mut file, field);
    }
    file.extend(1_u32.to_be_bytes());
    put(&mut file, &blob);
    put(&mut file, &secret);
    let lines = Base64::encode_string(&file);
    (format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}\n-----END OPENSSH PRIVATE KEY-----\n"), blob)
}

/// The blob of an Ed25519 key from its 32 bytes.
pub(crate) fn ed25519_blob(key: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, b"ssh-ed25519");
    put(&mut blob, key);
    blob
}
