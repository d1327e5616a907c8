//! The C interface: what a program finds when it loads the library.
//!
//! It owns the functions' own behaviour under the rules; which calls get that far is [`Call`](crate::call::Call)'s.
//! All pointers come from the calling program, which promises what the standard demands of it, function by function
//! (PKCS#11 2.40, section 5); the functions are unsafe for that reason alone.

#![allow(non_snake_case, reason = "the functions have the standard's names")]

mod forward;
mod library;
mod list;
mod login;
mod objects;
mod sign;

use std::ptr;

use cryptoki_sys::{CK_RV, CK_ULONG, CKR_ARGUMENTS_BAD, CKR_BUFFER_TOO_SMALL, CKR_OK};

use crate::rules::Spoil;

/// Hands out a list in the standard's way (section 5.2): its length alone, or as much as there is room for.
///
/// # Safety
///
/// `count` is null or valid; `out` is null or has room for as many items as `count` says.
unsafe fn hand_out<T: Copy>(items: &[T], out: *mut T, count: *mut CK_ULONG) -> CK_RV {
    // SAFETY: valid or null by this function's contract.
    let Some(count) = (unsafe { count.as_mut() }) else {
        return CKR_ARGUMENTS_BAD;
    };
    let room = usize::try_from(*count).unwrap_or(usize::MAX);
    *count = items.len() as CK_ULONG;
    if out.is_null() {
        return CKR_OK;
    }
    if room < items.len() {
        return CKR_BUFFER_TOO_SMALL;
    }
    // SAFETY: there is room, as just compared, and a caller's buffer does not overlap our slice.
    unsafe { ptr::copy_nonoverlapping(items.as_ptr(), out, items.len()) };
    CKR_OK
}

/// Spoils a value of `*length` bytes that was just written to `value`.
///
/// # Safety
///
/// `value` is null or valid for `*length` bytes.
unsafe fn spoil(spoils: impl Iterator<Item = Spoil>, value: *mut u8, length: &mut CK_ULONG) {
    let written = *length;
    if value.is_null() || written == 0 {
        return;
    }
    for spoil in spoils {
        if spoil == Spoil::Value {
            // SAFETY: within the value, which is not empty.
            let last = unsafe { value.add(usize::try_from(written - 1).unwrap_or(0)) };
            // SAFETY: valid by this function's contract.
            unsafe { *last ^= 1 };
        }
        *length = spoil.claimed(written);
    }
}
