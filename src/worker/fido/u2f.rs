//! Devices that speak U2F alone (FIDO U2F Raw Message Formats 1.2): ECDSA, no PIN, no resident keys.

use std::ffi::CStr;

use aws_lc_rs::digest;
use hidapi::Fault;

use super::wire::{MSG, Wire};
use super::{SecurityKey, der_to_fixed, failed, status, unable};
use crate::ipc::fido::{Abilities, Enrolled, Enrolment, FidoAnswer, FidoAssertion, FidoFault, Resident};

const REGISTER: u8 = 1;
const AUTHENTICATE: u8 = 2;
const ENFORCE_PRESENCE: u8 = 3;
const CHECK_ONLY: u8 = 7;
const NO_ERROR: u16 = 0x9000;
const CONDITIONS_NOT_SATISFIED: u16 = 0x6985;
/// `CTAP2_ERR_NO_CREDENTIALS`
const NO_CREDENTIALS: u8 = 0x2e;

/// A device without CTAP2.
pub(super) struct U2fKey<'a> {
    pub(super) path: &'a CStr,
    /// Tells that the device waits for its touch: U2F has no word for it but the refusal.
    pub(super) on_touch: &'a dyn Fn(bool),
}

impl U2fKey<'_> {
    /// Repeats a command until the device was touched.
    fn when_touched(&self, wire: &Wire, apdu: &[u8]) -> Result<Vec<u8>, FidoFault> {
        let mut told = false;
        loop {
            let (answer, word) = send(wire, apdu)?;
            match word {
                NO_ERROR => return Ok(answer),
                CONDITIONS_NOT_SATISFIED => {
                    if !told {
                        told = true;
                        (self.on_touch)(true);
                    }
                    wire.pause().map_err(failed)?;
                }
                _ => return Err(status(NO_CREDENTIALS)),
            }
        }
    }
}

impl SecurityKey for U2fKey<'_> {
    fn abilities(&mut self) -> Result<Abilities, FidoFault> {
        Ok(Abilities { versions: vec!["U2F_V2".to_owned()], ed25519: Some(false), ..Abilities::default() })
    }

    fn preflight(&mut self, wanted: &FidoAssertion) -> Result<FidoAnswer, FidoFault> {
        let wire = Wire::open(self.path).map_err(failed)?;
        let apdu = authentication(CHECK_ONLY, &wanted.application, &[], &wanted.handle)?;
        // "Test of user presence required" is the answer to a check when the key is known.
        Ok(FidoAnswer::Holds(matches!(send(&wire, &apdu)?.1, CONDITIONS_NOT_SATISFIED | NO_ERROR)))
    }

    fn sign(&mut self, wanted: &FidoAssertion, _pin: Option<&str>) -> Result<FidoAnswer, FidoFault> {
        if wanted.verify || wanted.pin.is_some() {
            return Err(unable("it speaks U2F alone and knows no PIN"));
        }
        let wire = Wire::open(self.path).map_err(failed)?;
        let apdu = authentication(ENFORCE_PRESENCE, &wanted.application, &wanted.data, &wanted.handle)?;
        let answer = self.when_touched(&wire, &apdu)?;
        let Some((&[flags, c0, c1, c2, c3], signature)) = answer.split_first_chunk() else {
            return Err(failed(Fault::Garbled));
        };
        let counter = u32::from_be_bytes([c0, c1, c2, c3]);
        Ok(FidoAnswer::Assertion { raw: der_to_fixed(signature)?, flags, counter })
    }

    fn select(&mut self) -> Result<(), FidoFault> {
        let wire = Wire::open(self.path).map_err(failed)?;
        // As libfido2 does: a registration for nobody, whose key handle is forgotten.
        let data = [sha256(b"hardkey"), sha256(b".dummy")].concat();
        self.when_touched(&wire, &extended(REGISTER, ENFORCE_PRESENCE, &data)?).map(drop)
    }

    fn enroll(&mut self, wanted: &Enrolment, _pin: Option<&str>) -> Result<Enrolled, FidoFault> {
        if wanted.is_ed25519 || wanted.resident.is_some() || wanted.verify {
            return Err(unable(
                "it speaks U2F alone: it makes ECDSA keys with a handle in a file, without verification",
            ));
        }
        let wire = Wire::open(self.path).map_err(failed)?;
        let data = [sha256(&wanted.challenge), sha256(wanted.application.as_bytes())].concat();
        let answer = self.when_touched(&wire, &extended(REGISTER, 0, &data)?)?;
        registered(&answer).ok_or_else(|| failed(Fault::Garbled))
    }

    fn residents(&mut self, _pin: &str) -> Result<Vec<Resident>, FidoFault> {
        Err(unable("it speaks U2F alone and holds no resident keys"))
    }

    fn delete(&mut self, _pin: &str, _handle: &[u8]) -> Result<(), FidoFault> {
        Err(unable("it speaks U2F alone and holds no resident keys"))
    }

    fn set_pin(&mut self, _old: Option<&str>, _new: &str) -> Result<(), FidoFault> {
        Err(unable("it speaks U2F alone and knows no PIN"))
    }
}

/// `05 | point 65 | length 1 | handle | certificate in DER | signature` (section 4.3).
fn registered(answer: &[u8]) -> Option<Enrolled> {
    let (point, rest) = answer.strip_prefix(&[5])?.split_at_checked(65)?;
    let (&length, rest) = rest.split_first()?;
    let (handle, rest) = rest.split_at_checked(usize::from(length))?;
    // A DER sequence with a length of two octets, as any certificate of this size has.
    let long = rest.strip_prefix(&[0x30, 0x82])?;
    let length = 4 + usize::from(u16::from_be_bytes([*long.first()?, *long.get(1)?]));
    let (certificate, signature) = rest.split_at_checked(length)?;
    Some(Enrolled {
        handle: handle.to_vec(),
        public: point.to_vec(),
        authenticator_data: Vec::new(),
        signature: signature.to_vec(),
        certificates: vec![certificate.to_vec()],
    })
}

fn sha256(octets: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, octets).as_ref().to_vec()
}

fn authentication(control: u8, application: &str, data: &[u8], handle: &[u8]) -> Result<Vec<u8>, FidoFault> {
    let length = u8::try_from(handle.len()).map_err(|_| status(NO_CREDENTIALS))?;
    let data = [&sha256(data)[..], &sha256(application.as_bytes()), &[length], handle].concat();
    extended(AUTHENTICATE, control, &data)
}

/// An APDU in the extended form (ISO 7816-4).
fn extended(instruction: u8, control: u8, data: &[u8]) -> Result<Vec<u8>, FidoFault> {
    let length = u16::try_from(data.len()).map_err(|_| failed(Fault::Garbled))?;
    Ok([&[0, instruction, control, 0, 0][..], &length.to_be_bytes(), data, &[0, 0]].concat())
}

/// Sends an APDU; the answer and its status word.
fn send(wire: &Wire, apdu: &[u8]) -> Result<(Vec<u8>, u16), FidoFault> {
    let mut answer = wire.transact(MSG, apdu).map_err(failed)?;
    let Some((_, &word)) = answer.split_last_chunk::<2>() else { return Err(failed(Fault::Garbled)) };
    answer.truncate(answer.len() - 2);
    Ok((answer, u16::from_be_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_that_ends_early_is_none() {
        let whole = [&[5][..], &[4; 65], &[2, 7, 7], &[0x30, 0x82, 0, 1, 9], &[0x30, 0]].concat();
        let enrolled = registered(&whole).expect("a registration");
        assert_eq!((enrolled.handle, enrolled.signature), (vec![7, 7], vec![0x30, 0]));
        for end in 0..whole.len() - 2 {
            assert_eq!(registered(&whole[..end]), None, "{end} octets");
        }
    }
}
