//! Functions that the rules only delay, break off or answer: everything else about them is the real module's.

use std::ffi::c_void;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BYTE, CK_FLAGS, CK_INFO, CK_MECHANISM, CK_NOTIFY, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE,
    CK_SESSION_INFO, CK_SLOT_ID, CK_ULONG, CK_UTF8CHAR,
};

use crate::backend::ask;
use crate::call::{Call, Scope};

/// `SCOPE C_Name[logged arguments](further arguments);` – pointers are not worth logging, PINs and their lengths must
/// not be.
macro_rules! forward {
    ($($scope:ident $name:ident[$($seen:ident: $seen_type:ty),*]($($hidden:ident: $hidden_type:ty),*);)*) => {
        $(
            pub(super) unsafe extern "C" fn $name($($seen: $seen_type,)* $($hidden: $hidden_type,)*) -> CK_RV {
                let arguments: &[String] = &[$(format!(concat!(stringify!($seen), "={}"), $seen)),*];
                Call::begin(stringify!($name), Scope::$scope, arguments.join(" "))
                    .run(|_, backend| ask!(backend, $name($($seen,)* $($hidden,)*)))
            }
        )*
    };
}

forward! {
    Library C_Finalize[](reserved: *mut c_void);
    Library C_GetInfo[](info: *mut CK_INFO);
    Library C_WaitForSlotEvent[flags: CK_FLAGS](slot: *mut CK_SLOT_ID, reserved: *mut c_void);

    Slot C_InitToken[slot: CK_SLOT_ID](pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG, label: *mut CK_UTF8CHAR);
    Slot C_OpenSession[slot: CK_SLOT_ID, flags: CK_FLAGS](
        application: *mut c_void, notify: CK_NOTIFY, session: *mut CK_SESSION_HANDLE
    );
    Slot C_CloseAllSessions[slot: CK_SLOT_ID]();

    Session C_SetPIN[session: CK_SESSION_HANDLE](
        old: *mut CK_UTF8CHAR, old_len: CK_ULONG, new: *mut CK_UTF8CHAR, new_len: CK_ULONG
    );
    Session C_CloseSession[session: CK_SESSION_HANDLE]();
    Session C_GetSessionInfo[session: CK_SESSION_HANDLE](info: *mut CK_SESSION_INFO);
    Session C_GetOperationState[session: CK_SESSION_HANDLE](state: *mut CK_BYTE, state_len: *mut CK_ULONG);
    Session C_SetOperationState[session: CK_SESSION_HANDLE](
        state: *mut CK_BYTE, state_len: CK_ULONG, encryption: CK_OBJECT_HANDLE, authentication: CK_OBJECT_HANDLE
    );
    Session C_Logout[session: CK_SESSION_HANDLE]();
    Session C_GetFunctionStatus[session: CK_SESSION_HANDLE]();
    Session C_CancelFunction[session: CK_SESSION_HANDLE]();

    Session C_CreateObject[session: CK_SESSION_HANDLE](
        template: *mut CK_ATTRIBUTE, count: CK_ULONG, object: *mut CK_OBJECT_HANDLE
    );
    Session C_CopyObject[session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE](
        template: *mut CK_ATTRIBUTE, count: CK_ULONG, copy: *mut CK_OBJECT_HANDLE
    );
    Session C_DestroyObject[session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE]();
    Session C_GetObjectSize[session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE](size: *mut CK_ULONG);
    Session C_SetAttributeValue[session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE](
        template: *mut CK_ATTRIBUTE, count: CK_ULONG
    );
    Session C_FindObjectsFinal[session: CK_SESSION_HANDLE]();

    Session C_EncryptInit[session: CK_SESSION_HANDLE](mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    Session C_Encrypt[session: CK_SESSION_HANDLE](
        data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );
    Session C_EncryptUpdate[session: CK_SESSION_HANDLE](
        data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );
    Session C_EncryptFinal[session: CK_SESSION_HANDLE](out: *mut CK_BYTE, out_len: *mut CK_ULONG);
    Session C_DecryptInit[session: CK_SESSION_HANDLE](mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    Session C_Decrypt[session: CK_SESSION_HANDLE](
        data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );
    Session C_DecryptUpdate[session: CK_SESSION_HANDLE](
        data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );
    Session C_DecryptFinal[session: CK_SESSION_HANDLE](out: *mut CK_BYTE, out_len: *mut CK_ULONG);
    Session C_DigestInit[session: CK_SESSION_HANDLE](mechanism: *mut CK_MECHANISM);
    Session C_Digest[session: CK_SESSION_HANDLE](
        data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );
    Session C_DigestUpdate[session: CK_SESSION_HANDLE](data: *mut CK_BYTE, data_len: CK_ULONG);
    Session C_DigestKey[session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE]();
    Session C_DigestFinal[session: CK_SESSION_HANDLE](out: *mut CK_BYTE, out_len: *mut CK_ULONG);

    Session C_SignUpdate[session: CK_SESSION_HANDLE](data: *mut CK_BYTE, data_len: CK_ULONG);
    Session C_SignRecoverInit[session: CK_SESSION_HANDLE](mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    Session C_SignRecover[session: CK_SESSION_HANDLE](
        data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );
    Session C_VerifyInit[session: CK_SESSION_HANDLE](mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    Session C_Verify[session: CK_SESSION_HANDLE](
        data: *mut CK_BYTE, data_len: CK_ULONG, signature: *mut CK_BYTE, signature_len: CK_ULONG
    );
    Session C_VerifyUpdate[session: CK_SESSION_HANDLE](data: *mut CK_BYTE, data_len: CK_ULONG);
    Session C_VerifyFinal[session: CK_SESSION_HANDLE](signature: *mut CK_BYTE, signature_len: CK_ULONG);
    Session C_VerifyRecoverInit[session: CK_SESSION_HANDLE](mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    Session C_VerifyRecover[session: CK_SESSION_HANDLE](
        signature: *mut CK_BYTE, signature_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );
    Session C_DigestEncryptUpdate[session: CK_SESSION_HANDLE](
        data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );
    Session C_DecryptDigestUpdate[session: CK_SESSION_HANDLE](
        data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );
    Session C_SignEncryptUpdate[session: CK_SESSION_HANDLE](
        data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );
    Session C_DecryptVerifyUpdate[session: CK_SESSION_HANDLE](
        data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );

    Session C_GenerateKey[session: CK_SESSION_HANDLE](
        mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE
    );
    Session C_GenerateKeyPair[session: CK_SESSION_HANDLE](
        mechanism: *mut CK_MECHANISM,
        public_template: *mut CK_ATTRIBUTE, public_count: CK_ULONG,
        private_template: *mut CK_ATTRIBUTE, private_count: CK_ULONG,
        public: *mut CK_OBJECT_HANDLE, private: *mut CK_OBJECT_HANDLE
    );
    Session C_WrapKey[session: CK_SESSION_HANDLE](
        mechanism: *mut CK_MECHANISM, wrapping: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE,
        out: *mut CK_BYTE, out_len: *mut CK_ULONG
    );
    Session C_UnwrapKey[session: CK_SESSION_HANDLE](
        mechanism: *mut CK_MECHANISM, unwrapping: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE, wrapped_len: CK_ULONG,
        template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE
    );
    Session C_DeriveKey[session: CK_SESSION_HANDLE](
        mechanism: *mut CK_MECHANISM, base: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
        key: *mut CK_OBJECT_HANDLE
    );
    Session C_SeedRandom[session: CK_SESSION_HANDLE](seed: *mut CK_BYTE, seed_len: CK_ULONG);
    Session C_GenerateRandom[session: CK_SESSION_HANDLE](out: *mut CK_BYTE, out_len: CK_ULONG);
}
