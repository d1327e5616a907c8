//! Private keys in files, made by ssh-keygen.

use std::fs;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};

use crate::client::{Body, Fields};
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
        Self::at(home, path)
    }

    /// A key that is there already.
    #[must_use]
    pub fn at(home: &Home, path: PathBuf) -> Self {
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

    /// Key and comment as `SSH_AGENTC_ADD_IDENTITY` carries them (RFC 9987 section 5.2): the same fields that OpenSSH's file format has in
    /// its private section.
    ///
    /// # Panics
    /// When the key has a passphrase.
    #[must_use]
    pub fn as_added(&self) -> Vec<u8> {
        let Parts { kind, public, private, comment } = self.parts();
        Body::nothing().string(kind).raw(&public).raw(&private).string(comment).bytes()
    }

    /// The same with a certificate (OpenSSH PROTOCOL.certkeys): its type and blob, and of the key what the certificate does not say.
    ///
    /// # Panics
    /// When the key has a passphrase.
    #[must_use]
    pub fn as_added_with(&self, certificate: &PublicKey) -> Vec<u8> {
        let Parts { private, comment, .. } = self.parts();
        let (name, blob) = (certificate.algorithm(), certificate.blob());
        Body::nothing().string(name).string(blob).raw(&private).string(comment).bytes()
    }

    fn parts(&self) -> Parts {
        let file = fs::read_to_string(&self.path).expect("read a private key");
        let encoded: String = file.lines().filter(|line| !line.starts_with('-')).collect();
        let file = Base64::decode_vec(&encoded).expect("base 64 in a private key");
        let mut fields = Fields::of(file.strip_prefix(b"openssh-key-v1\0").expect("magic bytes of a private key"));
        assert_eq!(fields.string(), b"none", "the key has a passphrase");
        let (_derivation, _options, _count, _public) =
            (fields.string(), fields.string(), fields.u32(), fields.string());

        let section = fields.string();
        // Behind two random numbers that tell whether it was decrypted well.
        let mut fields = Fields::of(&section[8..]);
        let kind = fields.string();
        // How many strings a certificate makes unnecessary, how many follow, and whether a byte of flags and two more strings do.
        let (public, private, on_device) = match kind.as_slice() {
            b"ssh-rsa" => (2, 4, false),
            b"ssh-ed25519" => (0, 2, false),
            b"sk-ssh-ed25519@openssh.com" => (0, 2, true),
            b"sk-ecdsa-sha2-nistp256@openssh.com" => (2, 1, true),
            _ => (2, 1, false),
        };
        let start = fields.rest();
        let mut take = |strings: usize| {
            let before = fields.rest();
            (0..strings).for_each(|_| drop(fields.string()));
            before[..before.len() - fields.rest().len()].to_vec()
        };
        let (public, mut private) = (take(public), take(private));
        if on_device {
            let flags = start[public.len() + private.len()];
            fields = Fields::of(&start[public.len() + private.len() + 1..]);
            let (handle, reserved) = (fields.string(), fields.string());
            private.extend(Body::nothing().raw(&[flags]).string(handle).string(reserved).bytes());
        }
        Parts { kind, public, private, comment: fields.string() }
    }
}

/// A private key taken apart.
struct Parts {
    kind: Vec<u8>,
    /// What a certificate says as well.
    public: Vec<u8>,
    private: Vec<u8>,
    comment: Vec<u8>,
}
