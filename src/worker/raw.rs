//! The one thing `cryptoki`'s safe interface cannot do: `C_Sign` alone, with a buffer that is large enough.
//!
//! Its `sign` goes through `C_SignInit` and asks for the length first, which leaves no place for the context-specific login of
//! `CKA_ALWAYS_AUTHENTICATE` keys and costs a second round trip to the token.

use std::path::Path;
use std::ptr;

use cryptoki::session::Session;
use cryptoki_sys::{CK_FUNCTION_LIST, CK_INFO, CK_RV, CK_ULONG, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_OK};

/// The longest signature a token can answer here, in octets: RSA with 8192 bits.
const LONGEST: usize = 1024;

/// The module's own function list, from a second handle to the library that `cryptoki` loaded.
pub(super) struct RawModule {
    list: *mut CK_FUNCTION_LIST,
    // Declared last, dropped last: the list points into the library.
    _library: cryptoki_sys::Pkcs11,
}

impl RawModule {
    /// Takes the function list of the module at `path`.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        // SAFETY: loading runs the library's constructors. That is the trust this process exists to contain; the path was named by the user.
        let library = unsafe { cryptoki_sys::Pkcs11::new(path) }.map_err(|error| error.to_string())?;
        let mut list: *mut CK_FUNCTION_LIST = ptr::null_mut();
        // SAFETY: the symbol has the type of the standard (PKCS#11 2.40 section 5.4); `list` is a valid place for one pointer.
        let rv = unsafe { library.C_GetFunctionList(&raw mut list) };
        if rv != CKR_OK || list.is_null() {
            return Err(format!("C_GetFunctionList answered {rv:#x}"));
        }
        Ok(Self { list, _library: library })
    }

    /// Whether this list is about the module that `cryptoki` initialised. p11-kit's client makes each caller of `C_GetFunctionList` a module of
    /// its own.
    pub(super) fn is_initialized(&self) -> bool {
        // SAFETY: `load` checked that the list is there, and the library that holds it is still open.
        let Some(function) = (unsafe { (*self.list).C_GetInfo }) else { return true };
        let mut info = std::mem::MaybeUninit::<CK_INFO>::zeroed();
        // SAFETY: `info` is a valid place for the answer, which is not read.
        let rv = unsafe { function(info.as_mut_ptr()) };
        rv != CKR_CRYPTOKI_NOT_INITIALIZED
    }

    /// Ends the signature that `C_SignInit` began in `session`, with one `C_Sign`.
    ///
    /// `Err` carries the return value (PKCS#11 2.40 section 5.1).
    pub(super) fn sign(&self, session: &Session, input: &[u8]) -> Result<Vec<u8>, CK_RV> {
        // SAFETY: `load` checked that the list is there, and the library that holds it is still open.
        let function = unsafe { (*self.list).C_Sign }.ok_or(cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED)?;
        let mut output = vec![0_u8; LONGEST];
        let mut length = LONGEST as CK_ULONG;
        // SAFETY: the session is open (borrowed), input and output are valid for the given lengths, and the standard forbids the module to
        // write to the input although its type is not const.
        let rv = unsafe {
            function(
                session.handle(),
                input.as_ptr().cast_mut(),
                input.len() as CK_ULONG,
                output.as_mut_ptr(),
                &raw mut length,
            )
        };
        match usize::try_from(length) {
            Ok(length) if rv == CKR_OK && length <= LONGEST => {
                output.truncate(length);
                Ok(output)
            }
            _ if rv == CKR_OK => Err(cryptoki_sys::CKR_SIGNATURE_LEN_RANGE),
            _ => Err(rv),
        }
    }
}
