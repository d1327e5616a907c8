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

    /// Has `authority` certify this key, with further arguments of ssh-keygen, such as `-n root` or `-h`: the certificate.
    ///
    /// # Panics
    /// When ssh-keygen does not.
    #[must_use]
    pub fn certified_by(&self, home: &Home, authority: &Self, arguments: &[&str]) -> PublicKey {
        home.command("ssh-keygen")
            .args(["-q", "-I", "test", "-s"])
            .arg(&authority.path)
            .args(arguments)
            .arg(self.public.path())
            .run()
            .succeeds();
        let mut path = self.path.clone().into_os_string();
        path.push("-cert.pub");
        PublicKey::read(home, PathBuf::from(path))
    }

    /// Key and comment as `SSH_AGENTC_ADD_IDENTITY` carries them (RFC 9987 section 3.2): the same fields that OpenSSH's file format has in
    /// its private section.
    ///
    /// # Panics
    /// When the key has a passphrase.
    #[must_use]
    pub fn as_added(&self) -> Vec<u8> {
        let (kind, fields, comment) = self.fields();
        let fields = fields.iter().map(Vec::as_slice);
        strings([&kind[..]].into_iter().chain(fields).chain([&comment[..]]))
    }

    /// The same with a certificate (OpenSSH PROTOCOL.certkeys): its type and blob, and of the key what the certificate does not say.
    ///
    /// # Panics
    /// When the key has a passphrase.
    #[must_use]
    pub fn as_added_with(&self, certificate: &PublicKey) -> Vec<u8> {
        let (kind, fields, comment) = self.fields();
        let said = match kind.as_slice() {
            b"ssh-rsa" | b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" | b"ecdsa-sha2-nistp521" => 2,
            _ => 0,
        };
        let fields = fields.iter().skip(said).map(Vec::as_slice);
        let (name, blob) = (certificate.algorithm().as_bytes(), certificate.blob());
        strings([name, &blob[..]].into_iter().chain(fields).chain([&comment[..]]))
    }

    /// Type, public and private fields, comment.
    fn fields(&self) -> (Vec<u8>, Vec<Vec<u8>>, Vec<u8>) {
        let file = fs::read_to_string(&self.path).expect("read a private key");
        let encoded: String = file.lines().filter(|line| !line.starts_with('-')).collect();
        let file = Base64::decode_vec(&encoded).expect("base 64 in a private key");
        let mut fields = Fields::of(file.strip_prefix(b"openssh-key-v1\0").expect("magic bytes of a private key"));
        assert_eq!(fields.string(), b"none", "the key has a passphrase");
        let (_derivation, _options, _count, _public) =
            (fields.string(), fields.string(), fields.u32(), fields.string());

        let private = fields.string();
        // Behind two random numbers that tell whether it was decrypted well.
        let mut fields = Fields::of(&private[8..]);
        let kind = fields.string();
        let count = match kind.as_slice() {
            b"ssh-ed25519" => 2,
            b"ssh-rsa" => 6,
            _ => 3,
        };
        let parts = (0..count).map(|_| fields.string()).collect();
        (kind, parts, fields.string())
    }
}

fn strings<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut encoded = Vec::new();
    for field in fields {
        encoded.extend(u32::try_from(field.len()).expect("a short field").to_be_bytes());
        encoded.extend(field);
    }
    encoded
}
