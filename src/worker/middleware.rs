//! A middleware library for security keys, called by the interface of OpenSSH's `sk-api.h`.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::{ptr, slice};

use libloading::Library;
use secrecy::ExposeSecret as _;
use zeroize::Zeroize as _;

use super::fault;
use crate::ipc::{Answer, Assertion, FaultKind, ModuleFault};
use crate::protocol::public_key::Curve;

/// The interface's major version, in the upper half (`SSH_SK_VERSION_MAJOR`).
const VERSION: u32 = 0x000a_0000;
const VERSION_MASK: u32 = 0xffff_0000;
/// `SSH_SK_ERR_PIN_REQUIRED`
const PIN_REQUIRED: c_int = -3;
/// `SSH_SK_ERR_DEVICE_NOT_FOUND`
const DEVICE_NOT_FOUND: c_int = -4;

/// `struct sk_sign_response`
#[repr(C)]
#[derive(Clone, Copy)]
struct SignResponse {
    flags: u8,
    counter: u32,
    sig_r: *mut u8,
    sig_r_len: usize,
    sig_s: *mut u8,
    sig_s_len: usize,
}

type ApiVersion = unsafe extern "C" fn() -> u32;
type Sign = unsafe extern "C" fn(
    alg: u32,
    data: *const u8,
    data_len: usize,
    application: *const c_char,
    key_handle: *const u8,
    key_handle_len: usize,
    flags: u8,
    pin: *const c_char,
    options: *mut *mut c_void,
    response: *mut *mut SignResponse,
) -> c_int;

/// A loaded middleware library.
pub(super) struct Middleware {
    sign: Sign,
    // Holds the code that `sign` points to.
    _library: Library,
}

impl Middleware {
    /// Loads a library and checks that it speaks this version of the interface.
    pub(super) fn load(path: &Path) -> Result<Self, ModuleFault> {
        let not_one = |reason: String| fault::new(FaultKind::NotAModule, reason);
        // SAFETY: loading runs the library's constructors. That is the trust this process exists to contain; the path was allowed by the user.
        let library = unsafe { Library::new(path) }.map_err(|error| not_one(error.to_string()))?;
        // SAFETY: the symbol's type is that of sk-api.h, which a library that has it is built to.
        let version = unsafe { library.get::<ApiVersion>(b"sk_api_version\0") };
        let version = *version.map_err(|error| not_one(error.to_string()))?;
        // SAFETY: a function without arguments, of a library that is loaded.
        let version = unsafe { version() };
        if version & VERSION_MASK != VERSION {
            return Err(not_one(format!("it speaks version {version:#x} of the interface, not {VERSION:#x}")));
        }
        // SAFETY: as above; the version says that the function has this form.
        let sign = unsafe { library.get::<Sign>(b"sk_sign\0") };
        let sign = *sign.map_err(|error| not_one(error.to_string()))?;
        Ok(Self { sign, _library: library })
    }

    /// Asks a security key for a signature; blocks until it is touched.
    pub(super) fn sign(&self, assertion: Assertion) -> Result<Answer, ModuleFault> {
        let other = |text: &str| fault::new(FaultKind::Other, text);
        let application = CString::new(assertion.application).map_err(|_| other("the application has a zero octet"))?;
        let pin = match assertion.pin {
            Some(pin) => Some(CString::new(pin.0.expose_secret()).map_err(|_| other("the PIN has a zero octet"))?),
            None => None,
        };
        let mut response: *mut SignResponse = ptr::null_mut();
        // SAFETY: every pointer is valid for its length, the strings end in zero, options may be null by the interface, and `response` is a
        // place for one pointer. All of it outlives the call.
        let status = unsafe {
            (self.sign)(
                u32::from(assertion.is_ed25519),
                assertion.data.as_ptr(),
                assertion.data.len(),
                application.as_ptr(),
                assertion.handle.as_ptr(),
                assertion.handle.len(),
                assertion.flags,
                pin.as_ref().map_or(ptr::null(), |pin| pin.as_ptr()),
                ptr::null_mut(),
                &raw mut response,
            )
        };
        if let Some(pin) = pin {
            pin.into_bytes().zeroize();
        }
        match status {
            0 if !response.is_null() => {}
            PIN_REQUIRED => return Err(fault::new(FaultKind::NotLoggedIn, "the key wants a PIN")),
            DEVICE_NOT_FOUND => {
                return Err(fault::new(FaultKind::TokenGone, "no device that holds the key is plugged in"));
            }
            status => return Err(other(&format!("sk_sign answered {status}"))),
        }
        // SAFETY: not null (checked), and the status says that the library made a response there.
        let made = unsafe { response.read() };
        // SAFETY: the interface has both parts valid for their lengths, or null.
        let r = unsafe { part(made.sig_r, made.sig_r_len) };
        // SAFETY: as above.
        let s = unsafe { part(made.sig_s, made.sig_s_len) };
        for allocated in [made.sig_r.cast(), made.sig_s.cast(), response.cast::<c_void>()] {
            // SAFETY: the interface has the library allocate the response and both parts by malloc and the caller free them; nothing points
            // there any more, and freeing null does nothing.
            unsafe { libc::free(allocated) };
        }
        let raw = match assertion.is_ed25519 {
            true => r,
            false => [fixed(&r), fixed(&s)].concat(),
        };
        Ok(Answer::Assertion { raw, flags: made.flags, counter: made.counter })
    }
}

/// # Safety
/// `start` is null or valid for `length` octets.
unsafe fn part(start: *const u8, length: usize) -> Vec<u8> {
    match start.is_null() {
        true => Vec::new(),
        // SAFETY: not null, and valid for the length by the caller's promise.
        false => unsafe { slice::from_raw_parts(start, length) }.to_vec(),
    }
}

/// A number of P-256 in its fixed width; one that is too long makes a signature that does not verify.
fn fixed(number: &[u8]) -> Vec<u8> {
    let width = Curve::P256.field_octets();
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    let number = &number[zeros..];
    [&vec![0; width.saturating_sub(number.len())][..], number].concat()
}
