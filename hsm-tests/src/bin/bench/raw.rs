//! The bare token: `C_SignInit` and `C_Sign` in this process, a session for each thread.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use cryptoki_sys::{CK_C_Sign, CK_ULONG, CKR_OK};
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::Result;
use crate::fixture::{MODULE, PIN};
use crate::keys::{Key, Kind, ecdsa_blob, ed25519_blob, rsa_blob};
use crate::load::{Client, MESSAGES};

/// The DER of `DigestInfo` up to the digest, for SHA-512 (RFC 8017 section 9.2, note 1).
const SHA512_DIGEST_INFO: [u8; 19] =
    [0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40];

/// The token, logged in to.
pub(crate) struct RawToken {
    pkcs11: Pkcs11,
    slot: Slot,
    /// Keeps the login alive.
    session: Session,
    sign: CK_C_Sign,
}

/// One thread's session.
pub(crate) struct RawClient {
    session: Session,
    key: ObjectHandle,
    kind: Kind,
    inputs: Vec<Vec<u8>>,
    sign: CK_C_Sign,
}

impl RawToken {
    /// # Errors
    ///
    /// The module or the token does not work.
    pub(crate) fn open() -> Result<Self> {
        let pkcs11 = Pkcs11::new(MODULE)?;
        pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        let slots = pkcs11.get_slots_with_initialized_token()?;
        let slot = *slots.first().ok_or("there is no token")?;
        let session = pkcs11.open_ro_session(slot)?;
        session.login(UserType::User, Some(&AuthPin::from(PIN.to_owned())))?;
        Ok(Self { pkcs11, slot, session, sign: c_sign()? })
    }

    /// The token's keys with their public halves.
    ///
    /// # Errors
    ///
    /// A key is missing or incomplete.
    pub(crate) fn keys(&self, kinds: &[Kind]) -> Result<Vec<Key>> {
        kinds.iter().map(|&kind| Ok(Key { kind, in_token: true, blob: self.blob(kind)? })).collect()
    }

    /// A client with a session of its own.
    ///
    /// # Errors
    ///
    /// The token has no such key or no more sessions.
    pub(crate) fn client(&self, key: &Key) -> Result<RawClient> {
        let session = self.pkcs11.open_ro_session(self.slot)?;
        let handle = find(&session, ObjectClass::PRIVATE_KEY, key.kind)?;
        let inputs = (0..MESSAGES).map(|number| input(key.kind, &key.login_data(number as u8))).collect();
        Ok(RawClient { session, key: handle, kind: key.kind, inputs, sign: self.sign })
    }

    fn blob(&self, kind: Kind) -> Result<Vec<u8>> {
        let key = find(&self.session, ObjectClass::PUBLIC_KEY, kind)?;
        let wanted = [AttributeType::Modulus, AttributeType::PublicExponent, AttributeType::EcPoint];
        let (mut modulus, mut exponent, mut point) = (Vec::new(), Vec::new(), Vec::new());
        for attribute in self.session.get_attributes(key, &wanted)? {
            match attribute {
                Attribute::Modulus(bytes) => modulus = bytes,
                Attribute::PublicExponent(bytes) => exponent = bytes,
                Attribute::EcPoint(bytes) => point = bytes,
                _ => {}
            }
        }
        Ok(match kind {
            Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096 => rsa_blob(&modulus, &exponent),
            // SoftHSM wraps points in an OCTET STRING: two bytes before them.
            Kind::P256 => ecdsa_blob("nistp256", point.get(2..).ok_or("a key has no point")?),
            Kind::P384 => ecdsa_blob("nistp384", point.get(2..).ok_or("a key has no point")?),
            Kind::Ed25519 => ed25519_blob(point.get(2..).ok_or("a key has no point")?),
        })
    }
}

impl Client for RawClient {
    fn ask(&mut self, message: usize, answer: &mut Vec<u8>) -> Result<()> {
        let sign = self.sign.ok_or("the module cannot sign")?;
        self.session.sign_init(&mechanism(self.kind), self.key)?;
        let input = &mut self.inputs[message];
        let mut signature = [0; 512];
        let mut length = signature.len() as CK_ULONG;
        // SAFETY: input and signature are valid for the lengths passed with them, and length is valid.
        let value = unsafe {
            sign(
                self.session.handle(),
                input.as_mut_ptr(),
                input.len() as CK_ULONG,
                signature.as_mut_ptr(),
                &raw mut length,
            )
        };
        if value != CKR_OK {
            return Err(format!("C_Sign answered {value:#x}").into());
        }
        answer.extend(signature.get(..usize::try_from(length)?).ok_or("a signature is longer than its buffer")?);
        Ok(())
    }
}

fn mechanism(kind: Kind) -> Mechanism<'static> {
    match kind {
        Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096 => Mechanism::RsaPkcs,
        Kind::P256 | Kind::P384 => Mechanism::Ecdsa,
        Kind::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)),
    }
}

/// What the key itself is given: a digest, one in its wrapping, or the message.
fn input(kind: Kind, data: &[u8]) -> Vec<u8> {
    match kind {
        Kind::Rsa2048 | Kind::Rsa3072 | Kind::Rsa4096 => [&SHA512_DIGEST_INFO[..], &Sha512::digest(data)].concat(),
        Kind::P256 => Sha256::digest(data).to_vec(),
        Kind::P384 => Sha384::digest(data).to_vec(),
        Kind::Ed25519 => data.to_vec(),
    }
}

fn find(session: &Session, class: ObjectClass, kind: Kind) -> Result<ObjectHandle> {
    let template = [Attribute::Class(class), Attribute::Label(kind.name().into())];
    let missing = || format!("the token has no key {}", kind.name());
    Ok(*session.find_objects(&template)?.first().ok_or_else(missing)?)
}

/// `C_Sign` itself: `cryptoki` calls it twice, once for the length.
fn c_sign() -> Result<CK_C_Sign> {
    // SAFETY: the library is already loaded and initialised; its initialisers do not run again.
    let library = unsafe { cryptoki_sys::Pkcs11::new(MODULE) }?;
    let mut list = std::ptr::null_mut();
    // SAFETY: list is valid for the one pointer that is written.
    let value = unsafe { library.C_GetFunctionList(&raw mut list) };
    // The functions must stay: the library may not be unloaded while it is in use.
    std::mem::forget(library);
    // SAFETY: after CKR_OK the list is the library's own, which stays as long as the library.
    let list = unsafe { list.as_ref() };
    list.filter(|_| value == CKR_OK).map(|list| list.C_Sign).ok_or_else(|| "the module has no functions".into())
}
