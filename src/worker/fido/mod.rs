//! One FIDO device, behind the trait [`SecurityKey`]: devices that speak CTAP2 by `ctap-hid-fido2`, those that speak U2F alone by
//! ourselves. The device is opened and locked for one call and never between two.

mod ctap;
mod u2f;
mod wire;

use std::ffi::{CStr, CString};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::Duration;

use hidapi::{Fault, Operation};
use secrecy::ExposeSecret as _;

use crate::ipc::fido::{
    Abilities, Enrolled, Enrolment, FidoAnswer, FidoAssertion, FidoCall, FidoCause, FidoFault, Resident,
};
use crate::ipc::{self, Answer, SecretOctets};
use crate::protocol::public_key::Curve;
use ctap::CtapKey;
use u2f::U2fKey;
use wire::Wire;

/// For calls that no person takes part in.
const QUICK: Duration = Duration::from_secs(20);
/// For calls that may wait for a touch: devices give up after thirty seconds.
const TOUCH: Duration = Duration::from_secs(45);
/// `CTAP2_ERR_PIN_INVALID`
const PIN_INVALID: u8 = 0x31;

/// What a security key does, however it is spoken to. Each call opens the device, locks it, and lets it go.
trait SecurityKey {
    /// What it is able to do.
    fn abilities(&mut self) -> Result<Abilities, FidoFault>;
    /// Whether it holds a key; without a touch. Signs where it can without one.
    fn preflight(&mut self, wanted: &FidoAssertion) -> Result<FidoAnswer, FidoFault>;
    /// Signs.
    fn sign(&mut self, wanted: &FidoAssertion, pin: Option<&str>) -> Result<FidoAnswer, FidoFault>;
    /// Waits for a touch that has no other effect.
    fn select(&mut self) -> Result<(), FidoFault>;
    /// Makes a key.
    fn enroll(&mut self, wanted: &Enrolment, pin: Option<&str>) -> Result<Enrolled, FidoFault>;
    /// Lists the resident keys of `ssh:` applications.
    fn residents(&mut self, pin: &str) -> Result<Vec<Resident>, FidoFault>;
    /// Deletes a resident key.
    fn delete(&mut self, pin: &str, handle: &[u8]) -> Result<(), FidoFault>;
    /// Sets or changes the PIN.
    fn set_pin(&mut self, old: Option<&str>, new: &str) -> Result<(), FidoFault>;
}

/// The device that this worker was started for.
pub struct Device {
    path: CString,
    agent: UnixStream,
    /// Known after the first call for it.
    abilities: Option<Abilities>,
}

impl Device {
    /// The device at a path below `/dev`; `agent` is told of touches, and withdraws what runs by closing or writing.
    ///
    /// # Errors
    /// No descriptor is left, or the path has a zero in it.
    pub fn new(path: &Path, agent: &UnixStream) -> io::Result<Self> {
        // The library must not get to print into whatever standard error is, and its panics are answered for below.
        panic::set_hook(Box::new(|_| {}));
        let path = CString::new(path.as_os_str().as_bytes())?;
        Ok(Self { path, agent: agent.try_clone()?, abilities: None })
    }

    /// Serves one call.
    pub fn serve(&mut self, call: &FidoCall) -> FidoAnswer {
        let limit = match call {
            FidoCall::Sign(_) | FidoCall::Select | FidoCall::Enroll(_) => TOUCH,
            _ => QUICK,
        };
        let (Ok(interrupt), Ok(teller)) = (self.agent.try_clone(), self.agent.try_clone()) else {
            return FidoAnswer::Failed(failed(Fault::Kernel("no descriptor is left".to_owned())));
        };
        let operation = Operation::new(limit, Some(OwnedFd::from(interrupt)), move |waits| tell(&teller, waits));
        // The library indexes into what the device sent.
        let done = operation.run(|| panic::catch_unwind(AssertUnwindSafe(|| self.dispatch(call))));
        done.unwrap_or_else(|_| Err(failed(Fault::Garbled))).unwrap_or_else(|mut fault| {
            if fault.cause == FidoCause::Status(PIN_INVALID) {
                fault.tries = self.tries();
            }
            FidoAnswer::Failed(fault)
        })
    }

    fn dispatch(&mut self, call: &FidoCall) -> Result<FidoAnswer, FidoFault> {
        let abilities = match (&self.abilities, call) {
            (Some(abilities), _) => abilities.clone(),
            (None, FidoCall::Abilities) => {
                let known = abilities(&self.path)?;
                self.abilities = Some(known.clone());
                return Ok(FidoAnswer::Abilities(Box::new(known)));
            }
            (None, _) => self.abilities.insert(abilities(&self.path)?).clone(),
        };
        let path = self.path.as_c_str();
        let on_touch = |waits| tell(&self.agent, waits);
        let mut ctap = CtapKey { path, abilities: &abilities };
        let mut u2f = U2fKey { path, on_touch: &on_touch };
        let key: &mut dyn SecurityKey = if abilities.fido2 { &mut ctap } else { &mut u2f };
        Ok(match call {
            // Asked anew: the tries that are left change.
            FidoCall::Abilities => FidoAnswer::Abilities(Box::new(key.abilities()?)),
            FidoCall::Preflight(wanted) => key.preflight(wanted)?,
            FidoCall::Sign(wanted) => key.sign(wanted, text(wanted.pin.as_ref())?)?,
            FidoCall::Select => key.select().map(|()| FidoAnswer::Done)?,
            FidoCall::Enroll(wanted) => FidoAnswer::Enrolled(Box::new(key.enroll(wanted, text(wanted.pin.as_ref())?)?)),
            FidoCall::Residents { pin } => FidoAnswer::Residents(key.residents(given(pin)?)?),
            FidoCall::Delete { pin, handle } => key.delete(given(pin)?, handle).map(|()| FidoAnswer::Done)?,
            FidoCall::SetPin { old, new } => {
                key.set_pin(text(old.as_ref())?, given(new)?).map(|()| FidoAnswer::Done)?
            }
        })
    }

    /// The tries that are left after a refusal; nothing is presented.
    fn tries(&self) -> Option<u8> {
        let abilities = self.abilities.clone()?;
        let look = || CtapKey { path: &self.path, abilities: &abilities }.abilities().ok()?.tries;
        let tries = Operation::new(QUICK, None, |_| {}).run(|| panic::catch_unwind(AssertUnwindSafe(look)));
        tries.ok().flatten()
    }
}

/// The first look at a device: which language it speaks, and what it says of itself in it.
fn abilities(path: &CStr) -> Result<Abilities, FidoFault> {
    let speaks_cbor = Wire::open(path).map_err(failed)?.speaks_cbor();
    if speaks_cbor {
        return CtapKey { path, abilities: &Abilities::default() }.abilities();
    }
    U2fKey { path, on_touch: &|_| {} }.abilities()
}

/// An agent that is gone learns nothing, and the operation finds out by itself.
fn tell(mut agent: &UnixStream, waits: bool) {
    if let Ok(frame) = ipc::encode(&Answer::WaitsForTouch(waits)) {
        drop(agent.write_all(&frame));
    }
}

fn text(pin: Option<&SecretOctets>) -> Result<Option<&str>, FidoFault> {
    pin.map(given).transpose()
}

/// A PIN is UTF-8 of at most 63 octets (CTAP 2.1 section 6.5.1); the library would not survive a longer one.
fn given(pin: &SecretOctets) -> Result<&str, FidoFault> {
    let pin = std::str::from_utf8(pin.0.expose_secret()).ok().filter(|pin| (1..=63).contains(&pin.len()));
    pin.ok_or_else(|| unable("a PIN has 4 to 63 octets of text; this one was not presented"))
}

fn failed(fault: Fault) -> FidoFault {
    let cause = match fault {
        Fault::Status(status) => FidoCause::Status(status),
        Fault::Gone => FidoCause::Gone,
        Fault::Silent => FidoCause::Silent,
        Fault::Busy | Fault::Locked => FidoCause::Busy,
        Fault::Cancelled => FidoCause::Cancelled,
        Fault::TimedOut => FidoCause::TimedOut,
        Fault::NotPermitted => FidoCause::NotPermitted,
        Fault::Garbled => FidoCause::Garbled,
        other @ (Fault::Refused(_) | Fault::Kernel(_)) => FidoCause::Other(other.to_string()),
    };
    FidoFault { cause, tries: None }
}

fn status(status: u8) -> FidoFault {
    failed(Fault::Status(status))
}

fn unable(reason: &str) -> FidoFault {
    FidoFault { cause: FidoCause::Unable(reason.to_owned()), tries: None }
}

/// An ECDSA signature on P-256 as devices give it (DER), as `r || s`.
fn der_to_fixed(signature: &[u8]) -> Result<Vec<u8>, FidoFault> {
    use der::{Decode as _, Reader as _, SliceReader, asn1::UintRef};
    let garbled = |_| failed(Fault::Garbled);
    let mut reader = SliceReader::new(signature).map_err(garbled)?;
    let halves = reader.sequence(|inner| Ok::<_, der::Error>([UintRef::decode(inner)?, UintRef::decode(inner)?]));
    let width = Curve::P256.field_octets();
    let mut fixed = Vec::with_capacity(2 * width);
    for half in halves.map_err(garbled)? {
        let octets = half.as_bytes();
        let padding = width.checked_sub(octets.len()).ok_or_else(|| failed(Fault::Garbled))?;
        fixed.resize(fixed.len() + padding, 0);
        fixed.extend_from_slice(octets);
    }
    Ok(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_in_der_becomes_two_numbers_of_fixed_width() {
        let der = [0x30, 0x07, 0x02, 0x02, 0x00, 0x80, 0x02, 0x01, 0x05];
        let fixed = der_to_fixed(&der).expect("a signature");
        assert_eq!((fixed.len(), fixed[31], fixed[63]), (64, 0x80, 0x05));
        for wrong in [&der[..8], &[], &[0x30, 0x03, 0x02, 0x01, 0x85]] {
            assert!(der_to_fixed(wrong).is_err(), "{wrong:02x?}");
        }
        let long = [&[0x30, 0x27, 0x02, 0x22][..], &[1; 0x22], &[0x02, 0x01, 0x05]].concat();
        assert!(der_to_fixed(&long).is_err(), "longer than the curve");
    }

    #[test]
    fn a_pin_that_no_device_could_have_is_not_presented() {
        let pin = |text: &[u8]| SecretOctets(text.to_vec().into());
        assert!(given(&pin(b"1234")).is_ok());
        for wrong in [&b""[..], &[b'1'; 64], b"\xff\xff\xff\xff"] {
            assert!(given(&pin(wrong)).is_err(), "{wrong:?}");
        }
    }
}
