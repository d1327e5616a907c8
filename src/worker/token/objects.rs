//! What is put onto tokens: keys that they make, and certificates.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use der::{Decode as _, Encode as _};
use x509_cert::Certificate;

use super::pins::{logged_in, of};
use super::{find, makes};
use crate::ipc::token::{Beside, Holder, KeyKind, Login, Role};
use crate::ipc::{FaultKind, KeySeen, ModuleFault};
use crate::text::hex;
use crate::worker::{fault, keys, public};

/// The object identifiers of the curves, in DER (RFC 5480, RFC 8410).
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// How PKCS#11 3.0 has it, and the one form that SoftHSM knows: the curve's name as a PrintableString.
const ED25519_BY_NAME: &[u8] = b"\x13\x0cedwards25519";
/// The usual public exponent.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// Has the token make a key, under an id that nothing on it has.
pub(super) fn generate(
    context: &Pkcs11,
    at: &Holder,
    kind: KeyKind,
    label: &str,
    id: Option<Vec<u8>>,
    login: Option<Login>,
) -> Result<KeySeen, ModuleFault> {
    let (slot, info) = find(context, at)?;
    if info.write_protected() {
        return Err(fault::new(FaultKind::Other, "it is read-only"));
    }
    if !makes(context, slot, kind) {
        return Err(fault::new(FaultKind::NotSupported, "the module makes no such keys on it"));
    }
    let sees_private = login.as_ref().is_none_or(|login| login.role == Role::User);
    let session = session(context, at, login)?;
    let is_free = |id: &[u8]| session.find_objects(&[Attribute::Id(id.to_vec())]).map(|found| found.is_empty());
    let id = match id {
        Some(id) if is_free(&id).map_err(of)? => id,
        Some(id) => {
            let text = format!("something on it has the id {} already; choose another one", hex(&id));
            return Err(fault::new(FaultKind::Other, text));
        }
        None => free_id(is_free).map_err(of)?,
    };
    generate_pair(&session, kind, label, &id).map_err(of)?;
    let seen = keys::scan(&session, sees_private)?;
    seen.keys.into_iter().find(|key| key.id == id).ok_or_else(|| {
        let text = format!("the key was made with the id {}, but the token does not show its public half", hex(&id));
        fault::new(FaultKind::Other, text)
    })
}

fn free_id(is_free: impl Fn(&[u8]) -> Result<bool, Error>) -> Result<Vec<u8>, Error> {
    for id in 1..=u16::MAX {
        let octets = id.to_be_bytes();
        let octets = if octets[0] == 0 { &octets[1..] } else { &octets[..] };
        if is_free(octets)? {
            return Ok(octets.to_vec());
        }
    }
    Ok(Vec::new())
}

/// Makes the pair; where a module refuses a form of the template, before anything is made, the next one is tried.
fn generate_pair(session: &Session, kind: KeyKind, label: &str, id: &[u8]) -> Result<(), Error> {
    let (mechanism, parameters) = parameters(kind);
    let named =
        || vec![Attribute::Token(true), Attribute::Id(id.to_vec()), Attribute::Label(label.as_bytes().to_vec())];
    let mut refusal = Ok(());
    // ykcs11 does not know all that the standard lets one say.
    for full in [true, false] {
        for parameters in &parameters {
            let (mut public, mut private) = (named(), named());
            public.push(Attribute::Verify(true));
            public.extend(parameters.iter().cloned());
            private.extend([Attribute::Private(true), Attribute::Sensitive(true), Attribute::Sign(true)]);
            if full {
                public.push(Attribute::Private(false));
                private.push(Attribute::Extractable(false));
            }
            match session.generate_key_pair(&mechanism, &public, &private) {
                Ok(_) => return Ok(()),
                Err(error) if is_about_template(&error) => refusal = Err(error),
                Err(error) => return Err(error),
            }
        }
    }
    refusal
}

/// The mechanism, and the forms of what it has to be told.
fn parameters(kind: KeyKind) -> (Mechanism<'static>, Vec<Vec<Attribute>>) {
    let curves = |forms: &[&[u8]]| forms.iter().map(|form| vec![Attribute::EcParams(form.to_vec())]).collect();
    match kind {
        KeyKind::Rsa(bits) => {
            let size = [Attribute::ModulusBits(u64::from(bits).into()), Attribute::PublicExponent(EXPONENT.to_vec())];
            (Mechanism::RsaPkcsKeyPairGen, vec![size.to_vec()])
        }
        KeyKind::P256 => (Mechanism::EccKeyPairGen, curves(&[P256])),
        KeyKind::P384 => (Mechanism::EccKeyPairGen, curves(&[P384])),
        KeyKind::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, curves(&[ED25519_BY_NAME, ED25519])),
    }
}

const fn is_about_template(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::AttributeTypeInvalid
                | RvError::AttributeValueInvalid
                | RvError::TemplateInconsistent
                | RvError::DomainParamsInvalid
                | RvError::CurveNotSupported,
            _
        )
    )
}

/// The key that a certificate belongs to, and the certificates that are beside it; without a login.
pub(super) fn beside(context: &Pkcs11, at: &Holder, certificate: &[u8]) -> Result<Beside, ModuleFault> {
    let material = public::from_certificate(certificate).ok_or_else(|| {
        let text = "it is not an X.509 certificate of a key that SSH knows, or it is that of an authority";
        fault::new(FaultKind::Other, text)
    })?;
    let (slot, info) = find(context, at)?;
    let session = context.open_ro_session(slot).map_err(of)?;
    let blob = material.to_blob();
    let key = keys::scan(&session, !info.login_required())?.keys.into_iter().find(|key| key.public == blob);
    let key = key.ok_or_else(|| {
        fault::new(FaultKind::KeyGone, "no key that shows on it belongs to the certificate; nothing was changed")
    })?;
    let certificates = certificates(&session, &key.id)?.into_iter().map(|(_, value)| value);
    let others: Vec<Vec<u8>> = certificates.collect();
    let is_there = others.iter().any(|other| other == certificate);
    let others = others.iter().filter(|other| other[..] != *certificate);
    let subjects = others.map(|other| subject(other)).collect();
    Ok(Beside { key, is_there, others: subjects })
}

/// Stores a certificate beside its key; others of that key go once it is there.
pub(super) fn store_certificate(
    context: &Pkcs11,
    at: &Holder,
    certificate: &[u8],
    login: Option<Login>,
) -> Result<KeySeen, ModuleFault> {
    let Beside { key, .. } = beside(context, at, certificate)?;
    let template =
        template(certificate, &key).ok_or_else(|| fault::new(FaultKind::Other, "its names cannot be encoded anew"))?;
    let session = session(context, at, login)?;
    session.create_object(&template).map_err(of)?;
    for (handle, value) in certificates(&session, &key.id)? {
        if value != certificate {
            session.destroy_object(handle).map_err(of)?;
        }
    }
    Ok(key)
}

fn template(certificate: &[u8], key: &KeySeen) -> Option<Vec<Attribute>> {
    let read = Certificate::from_der(certificate).ok()?;
    let content = read.tbs_certificate();
    Some(vec![
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Id(key.id.clone()),
        Attribute::Label(key.label.clone()),
        Attribute::Subject(content.subject().to_der().ok()?),
        Attribute::Issuer(content.issuer().to_der().ok()?),
        Attribute::SerialNumber(content.serial_number().to_der().ok()?),
        Attribute::Value(certificate.to_vec()),
    ])
}

fn certificates(session: &Session, id: &[u8]) -> Result<Vec<(ObjectHandle, Vec<u8>)>, ModuleFault> {
    let wanted = [Attribute::Class(ObjectClass::CERTIFICATE), Attribute::Id(id.to_vec())];
    let mut found = Vec::new();
    for handle in session.find_objects(&wanted).map_err(of)? {
        let attributes = session.get_attributes(handle, &[AttributeType::Value]).map_err(of)?;
        found.extend(attributes.into_iter().find_map(|attribute| match attribute {
            Attribute::Value(value) => Some((handle, value)),
            _ => None,
        }));
    }
    Ok(found)
}

fn subject(certificate: &[u8]) -> String {
    Certificate::from_der(certificate).map_or_else(
        |_| "a certificate that cannot be read".to_owned(),
        |read| read.tbs_certificate().subject().to_string(),
    )
}

/// A session that may write, logged in where the token wants that.
fn session(context: &Pkcs11, at: &Holder, login: Option<Login>) -> Result<Session, ModuleFault> {
    match login {
        Some(Login { role, presented }) => logged_in(context, at, role, presented),
        None => context.open_rw_session(find(context, at)?.0).map_err(of),
    }
}
