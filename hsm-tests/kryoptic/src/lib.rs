//! The shared object `libkryoptic.so`: Kryoptic's functions under the one name by which programs find a PKCS#11 module.

use kryoptic_lib::fns::general::fn_get_function_list;
use kryoptic_lib::pkcs11::{CK_FUNCTION_LIST_PTR_PTR, CK_RV};

/// `C_GetFunctionList` (PKCS#11 2.40 section 5.4).
// SAFETY: a shared object has one such symbol, and no other library in this one defines it.
#[unsafe(no_mangle)]
pub extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    fn_get_function_list(list)
}
