//! One signature: which of the private keys that fit, by which mechanism, and whether what the module answered is one at all.

use aws_lc_rs::digest;
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};

use super::login::{check_tries, refused, user_login};
use super::module::{Module, Open, name, open, still_logged_in};
use super::raw::RawModule;
use super::{fault, keys};
use crate::crypto::digest_info::{SHA1, SHA256, SHA512};
use crate::crypto::verify::Verifier;
use crate::ipc::{self, FaultKind, KeyName, ModuleFault, SecretOctets, TokenName};
use crate::protocol::public_key::{Curve, KeyMaterial};
use crate::protocol::signature::SignatureAlgorithm;

/// As many keys as may share an id on a token.
const MOST_ALIKE: usize = 8;

/// A key that has signed in a session.
pub(super) struct Known {
    handle: ObjectHandle,
    verifier: Verifier,
    /// The token forbids `CKM_RSA_PKCS`.
    hashes_itself: bool,
}

/// A signature that is wanted.
pub(super) struct Wanted<'a> {
    pub(super) token: &'a TokenName,
    pub(super) key: &'a KeyName,
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) data: &'a [u8],
    /// For a key that wants it each time.
    pub(super) pin: Option<SecretOctets>,
}

impl Module {
    /// Computes a signature, and sees to it that it is one of this key: one `C_SignInit`, one `C_Sign`, if the key has signed before.
    pub(super) fn sign(&mut self, wanted: &Wanted<'_>) -> Result<Vec<u8>, ModuleFault> {
        let was_known = self.sessions.get(wanted.token).is_some_and(|open| open.known.contains_key(wanted.key));
        match self.sign_once(wanted) {
            // Handles die with a login or an object's replacement; looking the key up again costs no PIN try.
            Err(fault) if fault.kind == FaultKind::KeyGone && was_known && wanted.pin.is_none() => {
                if let Some(open) = self.sessions.get_mut(wanted.token) {
                    open.known.clear();
                }
                self.sign_once(wanted)
            }
            result => result,
        }
        .map_err(|fault| self.failed(wanted.token, fault))
    }

    fn sign_once(&mut self, wanted: &Wanted<'_>) -> Result<Vec<u8>, ModuleFault> {
        let Self { context, raw, sessions, .. } = self;
        let computer = Computer { context, raw: raw.as_ref(), wanted };
        let open = open(context, sessions, wanted.token)?;
        let mut in_vain = None;
        if let Some(Known { handle, hashes_itself, .. }) = open.known.get(wanted.key) {
            let (handle, mut hashes_itself) = (*handle, *hashes_itself);
            let signature = computer.compute(open, handle, &mut hashes_itself)?;
            if open.known.get(wanted.key).is_some_and(|known| wanted.is_met_by(&signature, &known.verifier)) {
                return Ok(signature);
            }
            in_vain = Some(handle);
        }
        // Which of the keys that share an id is meant shows only in what they sign.
        let material =
            ipc::material(&wanted.key.public).ok_or_else(|| fault::new(FaultKind::KeyGone, "no public key"))?;
        let verifier = Verifier::new(&material).map_err(|error| fault::new(FaultKind::KeyGone, error.to_string()))?;
        let handles = find_keys(open, &wanted.key.id, material)?;
        let (mut is_wrong, mut failure) = (in_vain.is_some(), None);
        for handle in handles.into_iter().filter(move |handle| in_vain != Some(*handle)).take(MOST_ALIKE) {
            let mut hashes_itself = false;
            match computer.compute(open, handle, &mut hashes_itself) {
                Ok(signature) if wanted.is_met_by(&signature, &verifier) => {
                    open.known.insert(wanted.key.clone(), Known { handle, verifier, hashes_itself });
                    return Ok(signature);
                }
                Ok(_) => is_wrong = true,
                // It says nothing against the others.
                Err(fault) if !fault.pin_at_stake && is_of_the_key(fault.kind) => failure = failure.or(Some(fault)),
                Err(fault) => return Err(fault),
            }
        }
        open.known.remove(wanted.key);
        Err(match failure {
            Some(fault) if !is_wrong => fault,
            _ => fault::new(FaultKind::WrongSignature, "its signature does not verify"),
        })
    }
}

impl Wanted<'_> {
    fn is_met_by(&self, signature: &[u8], verifier: &Verifier) -> bool {
        verifier.verify_raw(self.algorithm, self.data, signature).is_ok()
    }
}

/// Whether another key of the token may do better.
const fn is_of_the_key(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::KeyGone | FaultKind::MechanismRefused | FaultKind::NotSupported | FaultKind::Other)
}

/// What a signature is computed with.
struct Computer<'a> {
    context: &'a Pkcs11,
    raw: Option<&'a RawModule>,
    wanted: &'a Wanted<'a>,
}

impl Computer<'_> {
    /// By the mechanism that the token takes for this key.
    fn compute(&self, open: &mut Open, handle: ObjectHandle, hashes_itself: &mut bool) -> Result<Vec<u8>, ModuleFault> {
        let Wanted { algorithm, data, .. } = self.wanted;
        let (mechanism, input) = prepare(*algorithm, data, *hashes_itself);
        match self.compute_by(open, handle, &mechanism, &input) {
            Err(fault) if fault.kind == FaultKind::MechanismRefused && matches!(mechanism, Mechanism::RsaPkcs) => {
                *hashes_itself = true;
                let (mechanism, input) = prepare(*algorithm, data, true);
                self.compute_by(open, handle, &mechanism, &input)
            }
            result => result,
        }
    }

    fn compute_by(
        &self,
        open: &mut Open,
        handle: ObjectHandle,
        mechanism: &Mechanism<'_>,
        input: &[u8],
    ) -> Result<Vec<u8>, ModuleFault> {
        let Wanted { token, pin, .. } = self.wanted;
        if pin.is_some() {
            // Before `C_SignInit`: nothing may come between that and the login for this one signature.
            let info = self.context.get_token_info(open.slot).map_err(fault::of)?;
            if name(&info) != **token {
                return Err(fault::new(FaultKind::TokenGone, "another token is in its slot"));
            }
            check_tries(&info, false)?;
        }
        let Some(raw) = self.raw else {
            // No login fits between the two halves of this, and it asks for the length first.
            return match pin {
                None => open.session.sign(mechanism, handle, input).map_err(fault::of),
                Some(_) => {
                    Err(fault::new(FaultKind::Other, "keys that want the PIN each time cannot be used by this module"))
                }
            };
        };
        open.session.sign_init(mechanism, handle).map_err(fault::of)?;
        if let Some(pin) = pin
            && let Err(error) = user_login(&open.session, UserType::ContextSpecific, Some(SecretOctets(pin.0.clone())))
        {
            // The operation would stay active and fail everything after it; only a new session ends it for sure. It is opened before
            // the old one closes, since closing the last one logs out.
            if let Ok(session) = self.context.open_ro_session(open.slot) {
                open.session = session;
                open.known.clear();
            }
            return Err(refused(self.context, open.slot, token, error));
        }
        raw.sign(&open.session, input).map_err(fault::of_sign)
    }
}

/// The private keys that have this id and a type and modulus that fit, as far as the session may see.
fn find_keys(open: &Open, id: &[u8], material: KeyMaterial) -> Result<Vec<ObjectHandle>, ModuleFault> {
    let mut template = vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(keys::key_type(&material)),
        Attribute::Id(id.to_vec()),
    ];
    if let KeyMaterial::Rsa { n, .. } = material {
        template.push(Attribute::Modulus(n));
    }
    let session: &Session = &open.session;
    let handles = session.find_objects(&template).map_err(fault::of)?;
    match handles.is_empty() {
        false => Ok(handles),
        true if open.logged_in && still_logged_in(session) => {
            Err(fault::new(FaultKind::KeyGone, "the private key is not on the token"))
        }
        true => Err(fault::new(FaultKind::NotLoggedIn, "the private key does not show before login")),
    }
}

/// The mechanism and its input. Tokens agree on raw RSA and ECDSA only, so the hash is computed here; some forbid raw RSA and hash themselves.
fn prepare(algorithm: SignatureAlgorithm, data: &[u8], hashes_itself: bool) -> (Mechanism<'static>, Vec<u8>) {
    let hash = |algorithm, prefix: &[u8]| [prefix, digest::digest(algorithm, data).as_ref()].concat();
    match algorithm {
        SignatureAlgorithm::RsaSha1 => (Mechanism::RsaPkcs, hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, SHA1)),
        SignatureAlgorithm::RsaSha256 if hashes_itself => (Mechanism::Sha256RsaPkcs, data.to_vec()),
        SignatureAlgorithm::RsaSha512 if hashes_itself => (Mechanism::Sha512RsaPkcs, data.to_vec()),
        SignatureAlgorithm::RsaSha256 => (Mechanism::RsaPkcs, hash(&digest::SHA256, SHA256)),
        SignatureAlgorithm::RsaSha512 => (Mechanism::RsaPkcs, hash(&digest::SHA512, SHA512)),
        SignatureAlgorithm::Ecdsa(Curve::P256) => (Mechanism::Ecdsa, hash(&digest::SHA256, &[])),
        SignatureAlgorithm::Ecdsa(Curve::P384) => (Mechanism::Ecdsa, hash(&digest::SHA384, &[])),
        SignatureAlgorithm::Ecdsa(Curve::P521) => (Mechanism::Ecdsa, hash(&digest::SHA512, &[])),
        SignatureAlgorithm::Ed25519 => (Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), data.to_vec()),
    }
}
