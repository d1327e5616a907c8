//! Public keys as lines of `authorized_keys`.

use std::fs;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};

use crate::home::Home;

/// A public key in a file of its own, as `ssh -i` and `ssh-keygen` want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    path: PathBuf,
    algorithm: String,
    encoded: String,
    fingerprint: String,
}

impl PublicKey {
    /// Reads a `.pub` file.
    ///
    /// # Panics
    /// When it is not one.
    #[must_use]
    pub fn read(home: &Home, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let line = fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        let (Some(algorithm), Some(encoded)) = (words.next(), words.next()) else {
            panic!("{} is no public key: {line:?}", path.display())
        };
        let described = home.command("ssh-keygen").args(["-l", "-E", "sha256", "-f"]).arg(path).run().succeeds().stdout;
        let fingerprint = described
            .split_ascii_whitespace()
            .nth(1)
            .expect("ssh-keygen -l prints bits, fingerprint, comment")
            .to_owned();
        Self { path: path.to_path_buf(), algorithm, encoded, fingerprint }
    }

    /// The file it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Algorithm and key in base 64, without comment.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.algorithm, self.encoded)
    }

    /// The name of the key type, for example `ssh-ed25519`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// The key blob (RFC 4253 section 6.6).
    #[must_use]
    pub fn blob(&self) -> Vec<u8> {
        Base64::decode_vec(&self.encoded).expect("base 64 in a public key")
    }

    /// `SHA256:…`, as ssh-keygen prints it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}
