//! A SoftHSM token of the test's own.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::home::Home;
use crate::publickey::PublicKey;
use crate::run::text;
use crate::template::{self, copy_tree, template};

/// A kind of key that a token can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
    /// ECDSA on NIST P-256.
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// ECDSA on NIST P-521.
    P521,
    /// Ed25519.
    Ed25519,
}

impl Key {
    /// The three kinds most tokens offer.
    pub const USUAL: [Self; 3] = [Self::Rsa2048, Self::P256, Self::Ed25519];

    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::P256, Self::P384, Self::P521, Self::Ed25519];

    /// The label that such a key has on the token.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::P521 => "p521",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// A token with its own configuration of SoftHSM, visible to nobody else.
///
/// It can be reached through the library itself or through OpenSC's spy, which writes down every call.
#[derive(Clone)]
pub struct Token {
    home: Home,
    directory: PathBuf,
    keys: Vec<(Key, PublicKey)>,
    spied: bool,
}

impl Token {
    /// A token with one key of each kind; `name` is its directory in the home.
    ///
    /// # Panics
    /// When SoftHSM or OpenSC is missing; the text says what to install.
    #[must_use]
    pub fn new(home: &Home, name: &str, keys: &[Key]) -> Self {
        let labels: Vec<&str> = keys.iter().map(|key| key.label()).collect();
        Self::copied(home, &template(&labels.join(",")), home.path(name), keys)
    }

    /// A copy of a prepared token that has these keys.
    pub(crate) fn copied(home: &Home, prepared: &Path, directory: PathBuf, keys: &[Key]) -> Self {
        copy_tree(prepared, &directory)
            .unwrap_or_else(|error| panic!("copy the template token to {}: {error}", directory.display()));
        let configuration = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            directory.join("tokens").display()
        );
        fs::write(directory.join("softhsm2.conf"), configuration).expect("write softhsm2.conf");
        let keys = keys
            .iter()
            .map(|key| (*key, PublicKey::read(home, directory.join(format!("{}.pub", key.label())))))
            .collect();
        Self { home: home.clone(), directory, keys, spied: false }
    }

    /// The same token, with every call of its module written down from now on: see [`Self::calls`].
    #[must_use]
    pub fn spied(mut self) -> Self {
        self.spied = true;
        self
    }

    /// The library to be named in a configuration or to `ssh-add -s`.
    #[must_use]
    pub fn library(&self) -> PathBuf {
        if self.spied { find(&["pkcs11-spy.so"], "opensc") } else { softhsm_library() }
    }

    /// What the library needs in its environment to find this token.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut environment = vec![("SOFTHSM2_CONF", self.directory.join("softhsm2.conf").into())];
        if self.spied {
            environment.push(("PKCS11SPY", softhsm_library().into()));
            environment.push(("PKCS11SPY_OUTPUT", self.spy_log().into()));
        }
        environment
    }

    /// A second token in the same module, with a label and a PIN of its own; such a one is visible to processes that start afterwards.
    pub fn add_token(&self, label: &str, pin: &str, key: Key) -> PublicKey {
        let other = self.directory.join(label);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../softhsm/provision.sh");
        self.home
            .command(script)
            .arg(&other)
            .args(["--label", label, "--pin", pin, "--keys", key.label()])
            .run()
            .succeeds();
        copy_tree(&other.join("tokens"), &self.directory.join("tokens"))
            .unwrap_or_else(|error| panic!("copy the token {label} to {}: {error}", self.directory.display()));
        PublicKey::read(&self.home, other.join(format!("{}.pub", key.label())))
    }

    /// How often a function, for example `C_Login`, was called through the spy.
    #[must_use]
    pub fn calls(&self, function: &str) -> usize {
        assert!(self.spied, "only a token with spied() counts calls");
        // The spy begins each call with a line such as `12: C_Login`.
        text(&self.spy_log())
            .lines()
            .filter(|line| line.split_once(": ").is_some_and(|(_, name)| name == function))
            .count()
    }

    /// The right PIN.
    #[must_use]
    pub fn pin(&self) -> &'static str {
        template::PIN
    }

    /// A file with the right PIN, readable by the owner only.
    #[must_use]
    pub fn pin_file(&self) -> PathBuf {
        self.directory.join("pin")
    }

    /// The token's label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        template::LABEL
    }

    /// The public half of a key, read from the token by OpenSC.
    ///
    /// # Panics
    /// When the token has no such key.
    #[must_use]
    pub fn public(&self, key: Key) -> &PublicKey {
        self.keys
            .iter()
            .find(|(kind, _)| *kind == key)
            .map(|(_, public)| public)
            .unwrap_or_else(|| panic!("the token has no {} key", key.label()))
    }

    /// The public halves of all keys, in the order in which they were asked for.
    pub fn publics(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().map(|(_, public)| public)
    }

    /// Changes the token behind the agent's back with OpenSC's `pkcs11-tool`, logged in.
    pub fn change(&self, arguments: &[&str]) {
        self.home
            .command("pkcs11-tool")
            .arg("--module")
            .arg(softhsm_library())
            .args(["--token-label", self.label(), "--login", "--pin", self.pin()])
            .args(arguments)
            .env("SOFTHSM2_CONF", self.directory.join("softhsm2.conf"))
            .run()
            .succeeds();
    }

    pub(crate) fn spy_log(&self) -> PathBuf {
        self.directory.join("spy.log")
    }
}

/// The middleware of a security key made of software, from OpenSSH's own tests.
///
/// # Panics
/// When it is missing; the text says what to install.
#[must_use]
pub fn soft_security_key() -> PathBuf {
    let path = PathBuf::from("/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so");
    assert!(path.exists(), "{} is missing: apt-get install openssh-tests", path.display());
    path
}

/// A shared object below one of the folders for libraries, from this package of Debian.
///
/// # Panics
/// When it is missing; the text says what to install.
#[must_use]
pub fn library(name: &str, package: &str) -> PathBuf {
    find(&[name], package)
}

fn softhsm_library() -> PathBuf {
    find(&["softhsm/libsofthsm2.so", "pkcs11/libsofthsm2.so"], "softhsm2")
}

/// Distributions keep modules in /usr/lib, in its folder for the machine's architecture, or in /usr/lib64.
pub(crate) fn find(names: &[&str], package: &str) -> PathBuf {
    let multiarch = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let folders: Vec<PathBuf> =
        ["/usr/lib", "/usr/lib64", "/usr/local/lib"].iter().map(PathBuf::from).chain(multiarch).collect();
    let candidates = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates
        .into_iter()
        .find(|path| Path::exists(path))
        .unwrap_or_else(|| panic!("{} is missing: apt-get install {package}", names.join(" or ")))
}
