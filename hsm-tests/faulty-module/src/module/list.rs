//! The function list, the library's only exported symbol.
//!
//! The other functions are not exported by name: the standard asks for none but this, p11-kit's modules have none but
//! this, and a program that relies on more shall fail here.

use cryptoki_sys::{CK_FUNCTION_LIST, CK_FUNCTION_LIST_PTR_PTR, CK_RV, CK_VERSION, CKR_ARGUMENTS_BAD, CKR_OK};

use super::{forward, library, login, objects, sign};
use crate::call::{Call, Scope};

/// Where every program begins (PKCS#11 2.40, section 5.4).
///
/// # Safety
///
/// `list` is null or valid for writing one pointer.
// SAFETY: the name is the standard's and no other crate of this workspace defines it.
#[unsafe(no_mangle)]
#[allow(unreachable_pub, reason = "reached by its symbol, not by its path")]
pub unsafe extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    Call::begin("C_GetFunctionList", Scope::Library, "").run(|_, _| {
        if list.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        // SAFETY: valid by the caller's promise, and not null.
        unsafe { *list = (&raw const FUNCTIONS).cast_mut() };
        CKR_OK
    })
}

macro_rules! functions {
    ($($room:ident: $($name:ident)*;)*) => {
        CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            C_GetFunctionList: Some(C_GetFunctionList),
            $($($name: Some($room::$name),)*)*
        }
    };
}

static FUNCTIONS: CK_FUNCTION_LIST = functions! {
    library: C_Initialize C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList C_GetMechanismInfo;
    login: C_Login C_InitPIN;
    objects: C_FindObjectsInit C_FindObjects C_GetAttributeValue;
    sign: C_SignInit C_Sign C_SignFinal;
    forward: C_Finalize C_GetInfo C_InitToken C_SetPIN C_OpenSession C_CloseSession C_CloseAllSessions
        C_GetSessionInfo C_GetOperationState C_SetOperationState C_Logout C_CreateObject C_CopyObject
        C_DestroyObject C_GetObjectSize C_SetAttributeValue C_FindObjectsFinal C_EncryptInit C_Encrypt
        C_EncryptUpdate C_EncryptFinal C_DecryptInit C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest
        C_DigestUpdate C_DigestKey C_DigestFinal C_SignUpdate C_SignRecoverInit C_SignRecover C_VerifyInit C_Verify
        C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover C_DigestEncryptUpdate
        C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate C_GenerateKey C_GenerateKeyPair C_WrapKey
        C_UnwrapKey C_DeriveKey C_SeedRandom C_GenerateRandom C_GetFunctionStatus C_CancelFunction
        C_WaitForSlotEvent;
};
