//! The real module behind this one.

use std::ptr;
use std::sync::OnceLock;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_GENERAL_ERROR, CKR_OK, Pkcs11};

/// Debian's SoftHSM.
const DEFAULT: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Calls one function of the real module, in the words of the standard.
macro_rules! ask {
    ($backend:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $backend.$function {
            // SAFETY: the arguments are either the caller's own, for whom the standard's contract of this very
            // function holds, or point to live locals of the sizes passed with them.
            Some(function) => unsafe { function($($argument),*) },
            None => cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED,
        }
    };
}
pub(crate) use ask;

/// The real module's functions, loaded at first use and kept until the process ends.
///
/// # Errors
///
/// `CKR_GENERAL_ERROR` when it cannot be loaded; the reason is on standard error.
pub(crate) fn functions() -> Result<&'static CK_FUNCTION_LIST, CK_RV> {
    static BACKEND: OnceLock<Option<&'static CK_FUNCTION_LIST>> = OnceLock::new();
    BACKEND.get_or_init(load).ok_or(CKR_GENERAL_ERROR)
}

fn load() -> Option<&'static CK_FUNCTION_LIST> {
    let path = std::env::var_os(crate::BACKEND).unwrap_or_else(|| DEFAULT.into());
    // SAFETY: loading runs the library's initialisers, which is what whoever named it asked for.
    let library = unsafe { Pkcs11::new(&path) };
    let library = library.inspect_err(|error| eprintln!("faulty-module: cannot load {}: {error}", path.display()));
    // Modules do not stand being unloaded, so the library lives as long as the process.
    let library: &'static Pkcs11 = Box::leak(Box::new(library.ok()?));
    let mut list = ptr::null_mut();
    let get = library.C_GetFunctionList.as_ref().inspect_err(|error| eprintln!("faulty-module: {error}")).ok()?;
    // SAFETY: `list` is a live place for the one pointer that the function writes.
    if unsafe { get(&raw mut list) } != CKR_OK {
        eprintln!("faulty-module: {} has no function list", path.display());
        return None;
    }
    // SAFETY: after CKR_OK the pointer is to the library's list, which it never changes or frees (PKCS#11 2.40,
    // C_GetFunctionList), or null.
    unsafe { list.as_ref() }
}
