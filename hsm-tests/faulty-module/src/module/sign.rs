//! Signing.

use cryptoki_sys::{
    CK_BYTE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKR_BUFFER_TOO_SMALL,
    CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_MECHANISM_INVALID, CKR_OK,
};

use super::spoil;
use crate::backend::ask;
use crate::call::{Call, Scope};
use crate::names;

/// Room for any signature: an RSA key of 32,768 bits.
const LONGEST: usize = 4096;

pub(super) unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    // SAFETY: null or the caller's mechanism.
    let kind = unsafe { mechanism.as_ref() }.map(|mechanism| mechanism.mechanism);
    let name = kind.map_or_else(|| "none".to_owned(), names::of_mechanism);
    let arguments = format_args!("session={session} mechanism={name} key={key}");
    Call::begin("C_SignInit", Scope::Session, arguments).run(|call, backend| {
        if kind.is_some_and(|kind| call.rules.refused.contains(&kind)) {
            return CKR_MECHANISM_INVALID;
        }
        if call.rules.objects.no_sign {
            return CKR_KEY_FUNCTION_NOT_PERMITTED;
        }
        ask!(backend, C_SignInit(session, mechanism, key))
    })
}

pub(super) unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_len: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_len: *mut CK_ULONG,
) -> CK_RV {
    let arguments = format!("session={session} data={data_len} {}", destination(signature));
    Call::begin("C_Sign", Scope::Session, arguments).run_to_the_end(|call, backend, decided| {
        if let Some(answer) = decided {
            if ends_the_operation(answer) {
                let (mut scratch, mut length) = ([0; LONGEST], LONGEST as CK_ULONG);
                ask!(backend, C_Sign(session, data, data_len, scratch.as_mut_ptr(), &raw mut length));
            }
            return answer;
        }
        let answer = ask!(backend, C_Sign(session, data, data_len, signature, signature_len));
        // SAFETY: the real module answers with the caller's own buffer and length.
        unsafe { finish(call, answer, signature, signature_len) }
    })
}

pub(super) unsafe extern "C" fn C_SignFinal(
    session: CK_SESSION_HANDLE,
    signature: *mut CK_BYTE,
    signature_len: *mut CK_ULONG,
) -> CK_RV {
    let arguments = format!("session={session} {}", destination(signature));
    Call::begin("C_SignFinal", Scope::Session, arguments).run_to_the_end(|call, backend, decided| {
        if let Some(answer) = decided {
            if ends_the_operation(answer) {
                let (mut scratch, mut length) = ([0; LONGEST], LONGEST as CK_ULONG);
                ask!(backend, C_SignFinal(session, scratch.as_mut_ptr(), &raw mut length));
            }
            return answer;
        }
        let answer = ask!(backend, C_SignFinal(session, signature, signature_len));
        // SAFETY: the real module answers with the caller's own buffer and length.
        unsafe { finish(call, answer, signature, signature_len) }
    })
}

fn destination(signature: *mut CK_BYTE) -> &'static str {
    if signature.is_null() { "out=length" } else { "out=signature" }
}

/// Every answer but this one, and success in telling the length, ends the operation (PKCS#11 2.40, section 5.11,
/// `C_Sign`), so an answer that the rules give has to end it in the real module.
fn ends_the_operation(answer: CK_RV) -> bool {
    answer != CKR_BUFFER_TOO_SMALL && answer != CKR_OK
}

/// # Safety
///
/// After `CKR_OK`, `length` is valid and `signature` null or valid for so many bytes.
unsafe fn finish(call: &Call, answer: CK_RV, signature: *mut CK_BYTE, length: *mut CK_ULONG) -> CK_RV {
    if answer == CKR_OK {
        // SAFETY: valid by this function's contract.
        let length = unsafe { &mut *length };
        // SAFETY: likewise.
        unsafe { spoil(call.spoils(), signature, length) };
    }
    answer
}
