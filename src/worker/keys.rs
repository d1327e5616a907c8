//! Which keys a token holds, pieced together from its objects.
//!
//! Private, public and certificate objects belong together by `CKA_ID`; ids may be shared and any of the three may be missing or hidden.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::Session;

use super::{fault, public};
use crate::ipc::{FaultKind, Half, KeySeen, LeftOut, ModuleFault};
use crate::protocol::public_key::KeyMaterial;

/// The longest label that is shown, in octets. One that is longer would leave no room for other keys in a list.
const LONGEST_LABEL: usize = 1024;
/// The longest id by which a key is known, in octets.
const LONGEST_ID: usize = 1024;

/// One public half, from a public key object or a certificate.
struct Public {
    id: Vec<u8>,
    label: Vec<u8>,
    material: KeyMaterial,
    half: Half,
}

/// One visible private key.
struct Private {
    id: Vec<u8>,
    label: Vec<u8>,
    key_type: KeyType,
    signs: bool,
    always_authenticate: bool,
    own_public: Option<KeyMaterial>,
}

/// What a token holds.
#[derive(Default)]
pub(super) struct Scan {
    /// The keys that can sign.
    pub(super) keys: Vec<KeySeen>,
    /// The halves without another.
    pub(super) left_out: Vec<LeftOut>,
}

/// The keys that can sign, as far as the session may see.
///
/// `private_visible` says that the session is logged in, or needs no login: then a public half without a private one is no key. Before
/// that, a public half stands for the private key that the token hides.
pub(super) fn scan(session: &Session, private_visible: bool) -> Result<Scan, ModuleFault> {
    let (mut publics, others) = public_objects(session)?;
    // A certificate does not tell what its key is for, but the public key object beside it does.
    let is_other = |public: &Public| others.iter().any(|other| other.material == public.material);
    publics.extend(certificates(session)?.into_iter().filter(|public| !is_other(public)));
    let privates = private_keys(session)?;

    let mut keys: Vec<KeySeen> = Vec::new();
    let mut left_out: Vec<LeftOut> = Vec::new();
    let mut offer = |public: &Public, private: Option<&Private>| {
        let blob = public.material.to_blob();
        if keys.iter().all(|known| known.public != blob) {
            let label =
                private.map(|private| &private.label).filter(|label| !label.is_empty()).unwrap_or(&public.label);
            keys.push(KeySeen {
                id: public.id.clone(),
                label: label.clone(),
                public: blob,
                always_authenticate: private.is_some_and(|private| private.always_authenticate),
                private_seen: private.is_some(),
            });
        }
    };
    for private in privates.iter().filter(|private| private.signs) {
        let mut halves = publics.iter().filter(|public| belong_together(public, private)).peekable();
        match &private.own_public {
            Some(material) => {
                offer(
                    &Public {
                        id: private.id.clone(),
                        label: private.label.clone(),
                        material: material.clone(),
                        half: Half::Private,
                    },
                    Some(private),
                );
            }
            None if halves.peek().is_none() => {
                left_out.push(LeftOut { id: private.id.clone(), label: private.label.clone(), half: Half::Private });
            }
            // An id that several keys share leaves open which half is whose: all are offered, and a signature that does not verify
            // never leaves the agent.
            None => halves.for_each(|public| offer(public, Some(private))),
        }
    }
    let alone = publics.iter().filter(|public| privates.iter().all(|private| private.id != public.id));
    if private_visible {
        let known =
            |public: &&Public| privates.iter().any(|private| private.own_public.as_ref() == Some(&public.material));
        for public in alone.filter(|public| !known(public)) {
            let half = LeftOut { id: public.id.clone(), label: public.label.clone(), half: public.half };
            // A certificate beside its public key tells nothing more.
            if left_out.iter().all(|other| other.id != half.id || other.half == half.half) {
                left_out.push(half);
            }
        }
    } else {
        alone.for_each(|public| offer(public, None));
    }
    Ok(Scan { keys, left_out })
}

fn belong_together(public: &Public, private: &Private) -> bool {
    public.id == private.id && key_type(&public.material) == private.key_type
}

/// The public keys that verify signatures, and the others.
fn public_objects(session: &Session) -> Result<(Vec<Public>, Vec<Public>), ModuleFault> {
    let wanted = [
        AttributeType::KeyType,
        AttributeType::Id,
        AttributeType::Label,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
        AttributeType::EcPoint,
        AttributeType::Verify,
    ];
    let (mut verifying, mut others) = (Vec::new(), Vec::new());
    for attributes in objects(session, ObjectClass::PUBLIC_KEY, &wanted)? {
        if let Some(material) = public::from_attributes(&attributes) {
            let list = if attributes.contains(&Attribute::Verify(false)) { &mut others } else { &mut verifying };
            list.push(Public { id: id(&attributes), label: label(&attributes), material, half: Half::Public });
        }
    }
    Ok((verifying, others))
}

fn certificates(session: &Session) -> Result<Vec<Public>, ModuleFault> {
    let wanted = [AttributeType::Id, AttributeType::Label, AttributeType::Value];
    Ok(objects(session, ObjectClass::CERTIFICATE, &wanted)?
        .into_iter()
        .filter_map(|attributes| {
            let der = attributes.iter().find_map(|attribute| match attribute {
                Attribute::Value(der) => Some(der),
                _ => None,
            })?;
            let material = public::from_certificate(der)?;
            Some(Public { id: id(&attributes), label: label(&attributes), material, half: Half::Certificate })
        })
        .collect())
}

fn private_keys(session: &Session) -> Result<Vec<Private>, ModuleFault> {
    let wanted = [
        AttributeType::KeyType,
        AttributeType::Id,
        AttributeType::Label,
        AttributeType::Sign,
        AttributeType::AlwaysAuthenticate,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
        AttributeType::EcPoint,
    ];
    Ok(objects(session, ObjectClass::PRIVATE_KEY, &wanted)?
        .into_iter()
        .filter_map(|attributes| {
            let key_type = attributes.iter().find_map(|attribute| match attribute {
                Attribute::KeyType(found) => Some(*found),
                _ => None,
            })?;
            Some(Private {
                id: id(&attributes),
                label: label(&attributes),
                key_type,
                signs: !attributes.contains(&Attribute::Sign(false)),
                always_authenticate: attributes.contains(&Attribute::AlwaysAuthenticate(true)),
                own_public: public::from_attributes(&attributes),
            })
        })
        .collect())
}

/// The attributes of all objects of a class. An object whose attributes cannot be read, or whose id has no end, is left out: one odd object
/// must not hide the rest. But what failed because the token or the session went, or failed once only, says nothing of the object.
fn objects(
    session: &Session,
    class: ObjectClass,
    wanted: &[AttributeType],
) -> Result<Vec<Vec<Attribute>>, ModuleFault> {
    let handles = session.find_objects(&[Attribute::Class(class)]).map_err(fault::of)?;
    let mut found = Vec::with_capacity(handles.len());
    for handle in handles {
        let read = session.get_attributes(handle, wanted).or_else(|_| session.get_attributes(handle, wanted));
        match read.map_err(fault::of) {
            Ok(attributes) if id(&attributes).len() <= LONGEST_ID => found.push(attributes),
            Ok(_) => {}
            Err(fault) if matches!(fault.kind, FaultKind::SessionLost | FaultKind::TokenGone) => return Err(fault),
            Err(_) => {}
        }
    }
    Ok(found)
}

fn id(attributes: &[Attribute]) -> Vec<u8> {
    attributes
        .iter()
        .find_map(|attribute| match attribute {
            Attribute::Id(id) => Some(id.clone()),
            _ => None,
        })
        .unwrap_or_default()
}

fn label(attributes: &[Attribute]) -> Vec<u8> {
    attributes
        .iter()
        .find_map(|attribute| match attribute {
            Attribute::Label(label) => Some(label[..label.len().min(LONGEST_LABEL)].to_vec()),
            _ => None,
        })
        .unwrap_or_default()
}

/// The `CKA_KEY_TYPE` that belongs to a public half.
pub(super) const fn key_type(material: &KeyMaterial) -> KeyType {
    match material {
        KeyMaterial::Rsa { .. } => KeyType::RSA,
        KeyMaterial::Ecdsa { .. } | KeyMaterial::SkEcdsa { .. } => KeyType::EC,
        KeyMaterial::Ed25519 { .. } | KeyMaterial::SkEd25519 { .. } => KeyType::EC_EDWARDS,
    }
}
