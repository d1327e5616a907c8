//! Private keys in files, made by ssh-keygen.

use std::fs;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};

use crate::client::Fields;
use crate::home::Home;
use crate::publickey::PublicKey;

/// A software key: NAME and NAME.pub in the home directory.
pub struct KeyFile {
    path: PathBuf,
    public: PublicKey,
}

impl KeyFile {
    /// An Ed25519 key without passphrase, with its name as comment.
    #[must_use]
    pub fn new(home: &Home, name: &str) -> Self {
        Self::with(home, name, &["-t", "ed25519"], "")
    }

    /// A key with further arguments of ssh-keygen, such as `-t rsa -b 3072`, and a passphrase (empty: none).
    #[must_use]
    pub fn with(home: &Home, name: &str, arguments: &[&str], passphrase: &str) -> Self {
        let path = home.path("home").join(name);
        home.command("ssh-keygen")
            .args(["-q", "-C", name, "-N", passphrase, "-f"])
            .arg(&path)
            .args(arguments)
            .run()
            .succeeds();
        let public = PublicKey::read(home, path.with_extension("pub"));
        Self { path, public }
    }

    /// The private key's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Key and comment as `SSH_AGENTC_ADD_IDENTITY` carries them (RFC 9987 section 3.2): the same bytes that OpenSSH's file format has in its
    /// private section.
    ///
    /// # Panics
    /// When the key has a passphrase.
    #[must_use]
    pub fn as_added(&self) -> Vec<u8> {
        let file = fs::read_to_string(&self.path).expect("read a private key");
        let encoded: String = file.lines().filter(|line| !line.starts_with('-')).collect();
        let file = Base64::decode_vec(&encoded).expect("base 64 in a private key");
        let mut fields = Fields::of(file.strip_prefix(b"openssh-key-v1\0").expect("magic bytes of a private key"));
        assert_eq!(fields.string(), b"none", "the key has a passphrase");
        let (_derivation, _options, _count, _public) =
            (fields.string(), fields.string(), fields.u32(), fields.string());

        let private = &fields.string()[8..];
        let mut fields = Fields::of(private);
        let parts = match fields.string().as_slice() {
            b"ssh-ed25519" => 3,
            b"ssh-rsa" => 7,
            _ => 4,
        };
        for _ in 0..parts {
            fields.string();
        }
        private[..private.len() - fields.rest().len()].to_vec()
    }
}
