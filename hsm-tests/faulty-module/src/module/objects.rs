//! Objects that cannot be found or do not say what they are.

use std::slice;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BBOOL, CK_FALSE, CK_FUNCTION_LIST, CK_OBJECT_CLASS, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE,
    CK_ULONG, CK_UNAVAILABLE_INFORMATION, CKA_CLASS, CKA_LABEL, CKA_SIGN, CKO_CERTIFICATE, CKO_PRIVATE_KEY,
    CKO_PUBLIC_KEY, CKR_OK,
};

use super::spoil;
use crate::backend::ask;
use crate::call::{Call, Scope};
use crate::rules::ObjectRules;

pub(super) unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    Call::begin("C_FindObjectsInit", Scope::Session, format_args!("session={session}")).run(|call, backend| {
        if !call.rules.objects.no_sign || template.is_null() {
            return ask!(backend, C_FindObjectsInit(session, template, count));
        }
        // SAFETY: the caller's template has `count` attributes.
        let wanted = unsafe { slice::from_raw_parts(template, usize::try_from(count).unwrap_or(0)) };
        let mut label = *b"what no key has for its label";
        // SAFETY: each attribute points to as many bytes as it says, by the same promise.
        let mut template = unsafe { as_if_no_key_signed(wanted, &mut label) };
        ask!(backend, C_FindObjectsInit(session, template.as_mut_ptr(), template.len() as CK_ULONG))
    })
}

pub(super) unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    room: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    let arguments = format_args!("session={session} room={room}");
    Call::begin("C_FindObjects", Scope::Session, arguments).run(|call, backend| {
        loop {
            let answer = ask!(backend, C_FindObjects(session, objects, room, count));
            if answer != CKR_OK {
                return answer;
            }
            // SAFETY: the real module has just written it.
            let count = unsafe { &mut *count };
            if *count == 0 {
                return CKR_OK;
            }
            // SAFETY: the real module has just written so many handles.
            let found = unsafe { slice::from_raw_parts_mut(objects, usize::try_from(*count).unwrap_or(0)) };
            *count = keep_visible(&call.rules.objects, backend, session, found);
            // None at all would mean the end of the search.
            if *count > 0 {
                return CKR_OK;
            }
        }
    })
}

pub(super) unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let arguments = format_args!("session={session} object={object} count={count}");
    Call::begin("C_GetAttributeValue", Scope::Session, arguments).run(|call, backend| {
        let answer = ask!(backend, C_GetAttributeValue(session, object, template, count));
        if template.is_null() {
            return answer;
        }
        let cannot_sign = call.rules.objects.no_sign && class_of(backend, session, object) == Some(CKO_PRIVATE_KEY);
        // SAFETY: the caller's template has `count` attributes.
        let attributes = unsafe { slice::from_raw_parts_mut(template, usize::try_from(count).unwrap_or(0)) };
        let written = |attribute: &&mut CK_ATTRIBUTE| {
            !attribute.pValue.is_null() && attribute.ulValueLen != CK_UNAVAILABLE_INFORMATION
        };
        for attribute in attributes.iter_mut().filter(written) {
            let value = attribute.pValue.cast::<CK_BBOOL>();
            if cannot_sign && attribute.type_ == CKA_SIGN {
                // SAFETY: the real module has just written the one byte of a truth value there.
                unsafe { *value = CK_FALSE };
            }
            // Unless all went well, a length may be there that the buffer did not have room for.
            if answer == CKR_OK {
                // SAFETY: the real module has just written a value of that length.
                unsafe { spoil(call.spoils(), value, &mut attribute.ulValueLen) };
            }
        }
        answer
    })
}

/// The object's class, if the real module tells.
pub(super) fn class_of(
    backend: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
) -> Option<CK_OBJECT_CLASS> {
    let mut class: CK_OBJECT_CLASS = 0;
    let mut attribute =
        CK_ATTRIBUTE { type_: CKA_CLASS, pValue: (&raw mut class).cast(), ulValueLen: size_of_val(&class) as CK_ULONG };
    let answer = ask!(backend, C_GetAttributeValue(session, object, &raw mut attribute, 1));
    (answer == CKR_OK).then_some(class)
}

/// Moves the handles that may be found to the front and counts them.
fn keep_visible(
    rules: &ObjectRules,
    backend: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    found: &mut [CK_OBJECT_HANDLE],
) -> CK_ULONG {
    if !rules.no_public && !rules.no_certificate {
        return found.len() as CK_ULONG;
    }
    let mut kept = 0;
    for index in 0..found.len() {
        let hidden = match class_of(backend, session, found[index]) {
            Some(CKO_PUBLIC_KEY) => rules.no_public,
            Some(CKO_CERTIFICATE) => rules.no_certificate,
            _ => false,
        };
        if !hidden {
            found[kept] = found[index];
            kept += 1;
        }
    }
    kept as CK_ULONG
}

/// The template that finds with signing keys what `wanted` would find if none of them could sign: without the
/// attribute when it asks for keys that cannot, nothing at all when it asks for keys that can.
///
/// # Safety
///
/// The attributes' values are valid for their lengths, and `label` outlives the result.
unsafe fn as_if_no_key_signed(wanted: &[CK_ATTRIBUTE], label: &mut [u8]) -> Vec<CK_ATTRIBUTE> {
    let mut template = Vec::with_capacity(wanted.len());
    for attribute in wanted {
        if attribute.type_ != CKA_SIGN || attribute.pValue.is_null() || attribute.ulValueLen != 1 {
            template.push(*attribute);
            continue;
        }
        // SAFETY: one byte long by the comparison above and valid by this function's contract.
        if unsafe { *attribute.pValue.cast::<CK_BBOOL>() } != CK_FALSE {
            let ulValueLen = label.len() as CK_ULONG;
            template.push(CK_ATTRIBUTE { type_: CKA_LABEL, pValue: label.as_mut_ptr().cast(), ulValueLen });
        }
    }
    template
}
