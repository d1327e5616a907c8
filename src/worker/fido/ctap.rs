//! Devices that speak CTAP2, by `ctap-hid-fido2`.
//!
//! The library's errors are texts; what they mean is what the port of `hidapi` below it saw, see [`hidapi::Operation`].

use std::ffi::CStr;
use std::fmt::Display;

use aws_lc_rs::digest;
use ctap_hid_fido2::fidokey::credential_management::credential_management_params::{
    Credential, CredentialProtectionPolicy,
};
use ctap_hid_fido2::fidokey::get_info::InfoOption;
use ctap_hid_fido2::fidokey::{
    CredentialExtension, CredentialSupportedKeyType, GetAssertionArgsBuilder, MakeCredentialArgsBuilder,
};
use ctap_hid_fido2::public_key::{PublicKey, PublicKeyType};
use ctap_hid_fido2::public_key_credential_descriptor::PublicKeyCredentialDescriptor;
use ctap_hid_fido2::public_key_credential_user_entity::PublicKeyCredentialUserEntity;
use ctap_hid_fido2::{FidoKeyHid, HidParam, LibCfg};
use hidapi::Fault;

use super::wire::{CBOR, Wire};
use super::{SecurityKey, der_to_fixed, failed, status, unable};
use crate::ipc::fido::{Abilities, Enrolled, Enrolment, FidoAnswer, FidoAssertion, FidoCause, FidoFault, Resident};

/// `CTAP2_ERR_NO_CREDENTIALS`
const NO_CREDENTIALS: u8 = 0x2e;
/// `CTAP2_ERR_UP_REQUIRED`
const UP_REQUIRED: u8 = 0x3b;
/// Authenticator data without extensions (CTAP 2.1 section 6.2): a hash, flags, the counter.
const AUTHENTICATOR_DATA: usize = 37;
/// `ED`: extension data follow, which SSH's signatures have no place for.
const HAS_EXTENSIONS: u8 = 0x80;
/// What the dummy is answered after a touch: `PIN_INVALID`, `PIN_AUTH_INVALID`, `PIN_NOT_SET`.
const TOUCHED: [u8; 3] = [0x31, 0x33, 0x35];

/// A device that speaks CTAP2.
pub(super) struct CtapKey<'a> {
    pub(super) path: &'a CStr,
    /// What it is able to do; nothing, before that was asked.
    pub(super) abilities: &'a Abilities,
}

impl CtapKey<'_> {
    /// Opens the device, and does something with it.
    fn with<T, E: Display>(&self, work: impl FnOnce(&FidoKeyHid) -> Result<T, E>) -> Result<T, FidoFault> {
        let path = self.path.to_str().map_err(|_| failed(Fault::Gone))?;
        let config = LibCfg {
            enable_log: false,
            use_pre_bio_enrollment: false,
            use_pre_credential_management: self.abilities.manages_by_preview,
            enable_keep_alive_msg: false,
            keep_alive_msg: String::new(),
            keep_alive_msg_to_stderr: true,
        };
        // What went wrong below is known better there; where nothing did, the library could not read the answer.
        let fault = || failed(hidapi::last_fault().unwrap_or(Fault::Garbled));
        let key = FidoKeyHid::new(&[HidParam::Path(path.to_owned())], &config).map_err(|_| fault())?;
        let key = key.with_pin_protocol_version(self.abilities.pin_protocol.max(1));
        work(&key).map_err(|_| fault())
    }

    fn assertion(&self, wanted: &FidoAssertion, pin: Option<&str>, touch: bool) -> Result<FidoAnswer, FidoFault> {
        let builder = GetAssertionArgsBuilder::new(&wanted.application, &wanted.data).credential_id(&wanted.handle);
        let builder = match pin {
            Some(pin) => builder.pin(pin),
            // The library's default is to have the device verify.
            None if wanted.verify => builder,
            None => builder.without_pin_and_uv(),
        };
        let builder = if touch { builder } else { builder.without_up() };
        let assertions = self.with(|key| key.get_assertion_with_args(&builder.build()))?;
        let assertion = assertions.first().ok_or_else(|| failed(Fault::Garbled))?;
        // Flags and counter as they were signed, not as the library understands them.
        let (&flags, counter) = match assertion.auth_data.get(32..AUTHENTICATOR_DATA) {
            Some([flags, counter @ ..]) if assertion.auth_data.len() == AUTHENTICATOR_DATA => (flags, counter),
            _ => return Err(failed(Fault::Garbled)),
        };
        let counter = u32::from_be_bytes(counter.try_into().map_err(|_| failed(Fault::Garbled))?);
        if flags & HAS_EXTENSIONS != 0 {
            return Err(failed(Fault::Garbled));
        }
        let raw = match assertion.signature.len() {
            // An ECDSA signature of exactly 64 octets in DER is possible, and begins as one; an Ed25519 one may begin alike.
            64 if wanted.is_ed25519 => assertion.signature.clone(),
            _ => der_to_fixed(&assertion.signature)?,
        };
        Ok(FidoAnswer::Assertion { raw, flags, counter })
    }
}

impl SecurityKey for CtapKey<'_> {
    fn abilities(&mut self) -> Result<Abilities, FidoFault> {
        self.with(|key| {
            let info = key.get_info()?;
            let option = |wanted: InfoOption| {
                info.options.iter().find(|(name, _)| name == wanted.as_ref()).map(|(_, value)| *value)
            };
            let has = |wanted| option(wanted) == Some(true);
            let pin = option(InfoOption::ClientPin);
            let tries = match pin {
                Some(true) => key.get_pin_retries().ok().and_then(|tries| u8::try_from(tries).ok()),
                _ => None,
            };
            let algorithm = |wanted: &str| info.algorithms.iter().any(|(name, value)| name == "alg" && value == wanted);
            Ok::<_, Error>(Abilities {
                fido2: true,
                aaguid: info.aaguid.clone(),
                pin,
                verification: option(InfoOption::Uv),
                always_verify: has(InfoOption::AlwaysUv),
                residents: has(InfoOption::Rk),
                manages: has(InfoOption::CredMgmt) || has(InfoOption::CredentialMgmtPreview),
                manages_by_preview: !has(InfoOption::CredMgmt),
                selects: info.versions.iter().any(|version| version == "FIDO_2_1"),
                ed25519: (!info.algorithms.is_empty()).then(|| algorithm("-8")),
                tries,
                shortest_pin: u8::try_from(info.min_pin_length.max(4)).unwrap_or(u8::MAX),
                pin_is_stale: info.force_pin_change,
                // The newer one, where there is a choice (CTAP 2.1 section 6.5.5.1).
                pin_protocol: if info.pin_uv_auth_protocols.contains(&2) { 2 } else { 1 },
                versions: info.versions,
            })
        })
    }

    fn preflight(&mut self, wanted: &FidoAssertion) -> Result<FidoAnswer, FidoFault> {
        match self.assertion(wanted, None, false) {
            Err(FidoFault { cause: FidoCause::Status(NO_CREDENTIALS), .. }) => Ok(FidoAnswer::Holds(false)),
            done => done,
        }
    }

    fn sign(&mut self, wanted: &FidoAssertion, pin: Option<&str>) -> Result<FidoAnswer, FidoFault> {
        match self.assertion(wanted, pin, wanted.touch) {
            // The device insists.
            Err(FidoFault { cause: FidoCause::Status(UP_REQUIRED), .. }) if !wanted.touch => {
                self.assertion(wanted, pin, true)
            }
            done => done,
        }
    }

    fn select(&mut self) -> Result<(), FidoFault> {
        if self.abilities.selects {
            return self.with(FidoKeyHid::selection);
        }
        let answer = Wire::open(self.path).and_then(|wire| wire.transact(CBOR, &dummy_credential())).map_err(failed)?;
        match answer.first() {
            Some(0) => Ok(()),
            Some(code) if TOUCHED.contains(code) => Ok(()),
            Some(&code) => Err(status(code)),
            None => Err(failed(Fault::Garbled)),
        }
    }

    fn enroll(&mut self, wanted: &Enrolment, pin: Option<&str>) -> Result<Enrolled, FidoFault> {
        let kind = match wanted.is_ed25519 {
            true => CredentialSupportedKeyType::Ed25519,
            false => CredentialSupportedKeyType::Ecdsa256,
        };
        let builder = MakeCredentialArgsBuilder::new(&wanted.application, &wanted.challenge).key_type(kind);
        let builder = match pin {
            Some(pin) => builder.pin(pin),
            None if wanted.verify => builder,
            None => builder.without_pin_and_uv(),
        };
        let builder = match &wanted.resident {
            None => builder.user_entity(&user(&[0; 32], "openssh")),
            Some(resident) => {
                let policy = match resident.hidden {
                    true => CredentialProtectionPolicy::UserVerificationRequired,
                    false => CredentialProtectionPolicy::UserVerificationOptionalWithCredentialIdList,
                };
                builder
                    .resident_key()
                    .user_entity(&user(&resident.id, &resident.name))
                    .extensions(&[CredentialExtension::CredProtect(Some(policy))])
            }
        };
        let made = self.with(|key| key.make_credential_with_args(&builder.build()))?;
        let hash = digest::digest(&digest::SHA256, wanted.application.as_bytes());
        let public = public(&made.credential_publickey, wanted.is_ed25519).ok_or_else(|| failed(Fault::Garbled))?;
        if made.rpid_hash != hash.as_ref() || made.credential_descriptor.id.is_empty() {
            return Err(failed(Fault::Garbled));
        }
        Ok(Enrolled {
            handle: made.credential_descriptor.id,
            public,
            authenticator_data: made.auth_data,
            signature: made.attstmt_sig,
            certificates: made.attstmt_x5c,
        })
    }

    fn residents(&mut self, pin: &str) -> Result<Vec<Resident>, FidoFault> {
        if !self.abilities.manages {
            return Err(unable("it cannot list its resident keys"));
        }
        self.with(|key| {
            let mut found = Vec::new();
            let parties = match key.credential_management_enumerate_rps(Some(pin)) {
                Err(_) if hidapi::last_fault() == Some(Fault::Status(NO_CREDENTIALS)) => Vec::new(),
                parties => parties?,
            };
            for party in parties {
                let application = party.public_key_credential_rp_entity.id;
                // What the web keeps there is none of SSH's business (OpenSSH PROTOCOL.u2f).
                if application.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("ssh:")) {
                    let keys = key.credential_management_enumerate_credentials(Some(pin), &party.rpid_hash)?;
                    found.extend(keys.into_iter().filter_map(|key| resident(&application, key)));
                }
            }
            Ok::<_, Error>(found)
        })
    }

    fn delete(&mut self, pin: &str, handle: &[u8]) -> Result<(), FidoFault> {
        if !self.abilities.manages {
            return Err(unable("it cannot delete its resident keys one by one"));
        }
        let named = PublicKeyCredentialDescriptor { id: handle.to_vec(), ctype: "public-key".to_owned() };
        self.with(|key| key.credential_management_delete_credential(Some(pin), named))
    }

    fn set_pin(&mut self, old: Option<&str>, new: &str) -> Result<(), FidoFault> {
        self.with(|key| match old {
            Some(old) => key.change_pin(old, new),
            None => key.set_new_pin(new),
        })
    }
}

/// The library's errors are told apart by what the port saw.
type Error = Box<dyn std::error::Error + Send + Sync>;

fn user(id: &[u8], name: &str) -> PublicKeyCredentialUserEntity {
    PublicKeyCredentialUserEntity::new(Some(id), Some(name), Some(name))
}

fn resident(application: &str, key: Credential) -> Option<Resident> {
    let is_ed25519 = matches!(key.public_key.key_type, PublicKeyType::Ed25519);
    Some(Resident {
        application: application.to_owned(),
        handle: key.public_key_credential_descriptor.id,
        is_ed25519,
        public: public(&key.public_key, is_ed25519)?,
        user: key.public_key_credential_user_entity.name,
        hidden: matches!(key.cred_protect, CredentialProtectionPolicy::UserVerificationRequired),
    })
}

/// The key's octets as SSH has them, if they have the right form.
fn public(key: &PublicKey, is_ed25519: bool) -> Option<Vec<u8>> {
    let (right_kind, length) = match is_ed25519 {
        true => (matches!(key.key_type, PublicKeyType::Ed25519), 32),
        false => (matches!(key.key_type, PublicKeyType::Ecdsa256), 65),
    };
    (right_kind && key.der.len() == length).then(|| key.der.clone())
}

/// A command that makes a device without `authenticatorSelection` ask for a touch: a credential for nobody that cannot come into being,
/// because its `pinUvAuthParam` is empty (CTAP 2.1 section 6.1.2, step 1).
fn dummy_credential() -> Vec<u8> {
    [
        &[0x01, 0xa6, 0x01, 0x58, 32][..],
        &[0; 32],
        b"\x02\xa1\x62id\x69localhost",
        b"\x03\xa2\x62id\x41\x00\x64name\x61x",
        b"\x04\x81\xa2\x63alg\x26\x64type\x6apublic-key",
        b"\x08\x40",
        b"\x09\x01",
    ]
    .concat()
}
