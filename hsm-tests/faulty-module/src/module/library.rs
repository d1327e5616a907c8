//! Initialising, slots, tokens, mechanisms.

use std::ffi::c_void;
use std::ptr;

use cryptoki_sys::{
    CK_BBOOL, CK_C_INITIALIZE_ARGS, CK_FALSE, CK_FUNCTION_LIST, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_RV,
    CK_SLOT_ID, CK_SLOT_INFO, CK_TOKEN_INFO, CK_ULONG, CKF_HW_SLOT, CKF_PROTECTED_AUTHENTICATION_PATH,
    CKF_REMOVABLE_DEVICE, CKF_TOKEN_PRESENT, CKF_USER_PIN_INITIALIZED, CKF_WRITE_PROTECTED, CKR_MECHANISM_INVALID,
    CKR_OK,
};

use super::{hand_out, login};
use crate::backend::ask;
use crate::call::{Call, Scope};
use crate::names;

pub(super) unsafe extern "C" fn C_Initialize(arguments: *mut c_void) -> CK_RV {
    // SAFETY: null or the structure that the standard demands here.
    let flags = unsafe { arguments.cast::<CK_C_INITIALIZE_ARGS>().as_ref() }.map(|arguments| arguments.flags);
    let flags = flags.map_or_else(|| "none".to_owned(), |flags| format!("{flags:#x}"));
    Call::begin("C_Initialize", Scope::Library, format_args!("flags={flags}"))
        .run(|_, backend| ask!(backend, C_Initialize(arguments)))
}

pub(super) unsafe extern "C" fn C_GetSlotList(
    with_token: CK_BBOOL,
    slots: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    let arguments = format_args!("with_token={with_token}");
    Call::begin("C_GetSlotList", Scope::Library, arguments).run(|call, backend| {
        if call.rules.token.removed && with_token != CK_FALSE {
            // SAFETY: the caller's own list and count.
            return unsafe { hand_out(&[], slots, count) };
        }
        ask!(backend, C_GetSlotList(with_token, slots, count))
    })
}

pub(super) unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    Call::begin("C_GetSlotInfo", Scope::Library, format_args!("slot={slot}")).run(|call, backend| {
        let answer = ask!(backend, C_GetSlotInfo(slot, info));
        if answer == CKR_OK {
            let rules = &call.rules.token;
            // SAFETY: the real module has just filled it.
            let info = unsafe { &mut *info };
            set(&mut info.flags, CKF_REMOVABLE_DEVICE, rules.removable);
            set(&mut info.flags, CKF_HW_SLOT, rules.hardware);
            if rules.removed {
                info.flags &= !CKF_TOKEN_PRESENT;
            }
        }
        answer
    })
}

pub(super) unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    Call::begin("C_GetTokenInfo", Scope::Slot, format_args!("slot={slot}")).run(|call, backend| {
        let answer = ask!(backend, C_GetTokenInfo(slot, info));
        if answer == CKR_OK {
            let rules = &call.rules.token;
            // SAFETY: the real module has just filled it.
            let info = unsafe { &mut *info };
            set(&mut info.flags, CKF_PROTECTED_AUTHENTICATION_PATH, rules.pad.is_some());
            set(&mut info.flags, CKF_WRITE_PROTECTED, rules.write_protected);
            if rules.no_pin {
                info.flags &= !CKF_USER_PIN_INITIALIZED;
            }
            if let Some(count) = rules.pin_count {
                login::tell_tries(info, count);
            }
            if let Some(serial) = &rules.serial {
                fill(&mut info.serialNumber, serial);
            }
            if let Some(label) = &rules.label {
                fill(&mut info.label, label);
            }
        }
        answer
    })
}

pub(super) unsafe extern "C" fn C_GetMechanismList(
    slot: CK_SLOT_ID,
    mechanisms: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    Call::begin("C_GetMechanismList", Scope::Slot, format_args!("slot={slot}")).run(|call, backend| {
        if call.rules.refused.is_empty() {
            return ask!(backend, C_GetMechanismList(slot, mechanisms, count));
        }
        match all_mechanisms(backend, slot) {
            Ok(mut all) => {
                all.retain(|mechanism| !call.rules.refused.contains(mechanism));
                // SAFETY: the caller's own list and count.
                unsafe { hand_out(&all, mechanisms, count) }
            }
            Err(error) => error,
        }
    })
}

pub(super) unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    mechanism: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    let arguments = format!("slot={slot} mechanism={}", names::of_mechanism(mechanism));
    Call::begin("C_GetMechanismInfo", Scope::Slot, arguments).run(|call, backend| {
        if call.rules.refused.contains(&mechanism) {
            return CKR_MECHANISM_INVALID;
        }
        ask!(backend, C_GetMechanismInfo(slot, mechanism, info))
    })
}

fn all_mechanisms(backend: &CK_FUNCTION_LIST, slot: CK_SLOT_ID) -> Result<Vec<CK_MECHANISM_TYPE>, CK_RV> {
    let mut count = 0;
    let answer = ask!(backend, C_GetMechanismList(slot, ptr::null_mut(), &raw mut count));
    if answer != CKR_OK {
        return Err(answer);
    }
    let mut all = vec![0; usize::try_from(count).unwrap_or(0)];
    let answer = ask!(backend, C_GetMechanismList(slot, all.as_mut_ptr(), &raw mut count));
    all.truncate(usize::try_from(count).unwrap_or(0));
    if answer == CKR_OK { Ok(all) } else { Err(answer) }
}

fn set(flags: &mut CK_ULONG, flag: CK_ULONG, on: bool) {
    if on {
        *flags |= flag;
    }
}

/// The standard pads its texts with blanks and does not end them.
fn fill(field: &mut [u8], text: &str) {
    field.fill(b' ');
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
}
