//! Objects on a token as no tool would make them: a thousand keys, ids that several share, halves that are missing, labels of any octets.

use std::fmt::Write as _;
use std::path::Path;

use base64ct::{Base64, Encoding as _};
use p256::{NonZeroScalar, ProjectivePoint, PublicKey, Scalar};

use crate::client::Body;
use crate::home::Home;
use crate::host::ModuleHost;
use crate::module::Module;
use crate::template::{copy_tree, made_once, template};
use crate::token::{Key, Token};

/// A session that writes objects to a token.
pub struct Objects {
    host: ModuleHost,
}

/// A class of objects, and the type of what it holds.
#[derive(Clone, Copy, Debug)]
pub enum Class {
    /// The public half of an EC key.
    Public,
    /// Its private half.
    Private,
    /// Its private half, to be used without a login.
    Open,
    /// An X.509 certificate.
    Certificate,
}

/// A P-256 key of which both halves are known, to be written to tokens.
pub struct KnownKey {
    scalar: Vec<u8>,
    point: Vec<u8>,
    wrapped: Vec<u8>,
}

impl Objects {
    /// Logs in to the token.
    ///
    /// # Panics
    /// When the token does not let it in.
    #[must_use]
    pub fn on(home: &Home, token: &Token) -> Self {
        let mut host = ModuleHost::start(home, &Module::of(token));
        host.ask("open").expect("a session");
        host.ask(&format!("login {}", token.pin())).expect("a login");
        Self { host }
    }

    /// Writes an object with these attributes beside those that every object of its class needs.
    ///
    /// # Panics
    /// When the token refuses it.
    pub fn write(&mut self, class: Class, attributes: &[(&str, &[u8])]) {
        let class = match class {
            Class::Public => "public",
            Class::Private => "private",
            Class::Open => "open",
            Class::Certificate => "certificate",
        };
        let mut order = format!("write {class}");
        for (name, value) in attributes {
            write!(order, " {name}={}", faulty_module::hexadecimal(value)).expect("a text");
        }
        self.host.ask(&order).unwrap_or_else(|error| panic!("{order}: {error}"));
    }

    /// Writes the public half of a key; the point as the standard wants it.
    pub fn write_public(&mut self, key: &KnownKey, id: &[u8], label: &[u8]) {
        self.write(
            Class::Public,
            &[("id", id), ("label", label), ("parameters", KnownKey::CURVE), ("point", &key.wrapped)],
        );
    }

    /// Writes the private half of a key.
    pub fn write_private(&mut self, key: &KnownKey, id: &[u8], label: &[u8]) {
        self.write_private_as(Class::Private, key, id, label);
    }

    fn write_private_as(&mut self, class: Class, key: &KnownKey, id: &[u8], label: &[u8]) {
        self.write(class, &[("id", id), ("label", label), ("parameters", KnownKey::CURVE), ("value", &key.scalar)]);
    }

    /// Writes both halves of a key that signs without a login.
    pub fn write_open_pair(&mut self, key: &KnownKey, id: &[u8], label: &[u8]) {
        self.write_public(key, id, label);
        self.write_private_as(Class::Open, key, id, label);
    }

    /// Writes both halves of a key.
    pub fn write_pair(&mut self, key: &KnownKey, id: &[u8], label: &[u8]) {
        self.write_public(key, id, label);
        self.write_private(key, id, label);
    }
}

impl KnownKey {
    /// The object identifier of P-256, in DER (RFC 5480).
    pub const CURVE: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

    /// Several keys, the same each time.
    ///
    /// # Panics
    /// Never: the numbers are small.
    #[must_use]
    pub fn several(count: u64) -> Vec<Self> {
        let first = 0x1234_5678_u64;
        // The next key is the last one plus one, which saves the multiplications that are slow without optimisation.
        let mut point = ProjectivePoint::GENERATOR * Scalar::from(first);
        let keys = (first..first + count).map(|number| {
            let scalar = NonZeroScalar::new(Scalar::from(number)).expect("it is not zero");
            let public = PublicKey::from_affine(point.to_affine()).expect("it is not zero");
            point += ProjectivePoint::GENERATOR;
            let octets = public.to_sec1_bytes().to_vec();
            let length = u8::try_from(octets.len()).expect("a short point");
            let wrapped = [&[4, length], &octets[..]].concat();
            Self { scalar: scalar.to_bytes().to_vec(), point: octets, wrapped }
        });
        keys.collect()
    }

    /// The key blob (RFC 5656 section 3.1).
    #[must_use]
    pub fn blob(&self) -> Vec<u8> {
        Body::nothing().string("ecdsa-sha2-nistp256").string("nistp256").string(&self.point).bytes()
    }

    /// Algorithm and key in base 64, without comment.
    #[must_use]
    pub fn line(&self) -> String {
        format!("ecdsa-sha2-nistp256 {}", Base64::encode_string(&self.blob()))
    }

    /// The number that is the private half.
    #[must_use]
    pub fn scalar(&self) -> &[u8] {
        &self.scalar
    }

    /// The point as `CKA_EC_POINT` has it by the standard: an OCTET STRING in DER.
    #[must_use]
    pub fn wrapped_point(&self) -> &[u8] {
        &self.wrapped
    }

    /// The point as `CKA_EC_POINT` of modules that leave the OCTET STRING away.
    #[must_use]
    pub fn raw_point(&self) -> &[u8] {
        &self.point
    }
}

impl Token {
    /// A token with a P-256 key of its own and these. It is made once.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn crowded(home: &Home, name: &str, keys: &[KnownKey]) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/objects.rs");
        let crowded = made_once(&format!("p256-and-{}", keys.len()), &source, |folder| {
            // SoftHSM cuts and writes the file of an object thirty times, which takes minutes on a disk.
            let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
            let prepared = template(Key::P256.label());
            let token = Self::copied(home, &prepared, memory.path().join("token"), &[Key::P256]);
            let mut objects = Objects::on(home, &token);
            for (number, key) in keys.iter().enumerate() {
                let number = u16::try_from(number).expect("a number of two octets");
                objects.write_pair(key, &number.to_be_bytes(), format!("key {number}").as_bytes());
            }
            copy_tree(&memory.path().join("token"), folder).expect("keep the token");
        });
        Self::copied(home, &crowded, home.path(name), &[Key::P256])
    }
}
