//! What a card does to its sessions: it goes, it is reset, its module loses it.

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::{
    CK_FALSE, CK_FUNCTION_LIST, CK_RV, CK_SLOT_ID, CKF_SERIAL_SESSION, CKR_DEVICE_ERROR, CKR_OK,
    CKR_SESSION_HANDLE_INVALID, CKR_TOKEN_NOT_PRESENT,
};

use crate::backend::{self, ask};
use crate::call::Scope;
use crate::rules::TokenRules;

/// The version of the rules file whose one-time events this process has had.
static HAD: Mutex<String> = Mutex::new(String::new());
/// Whether this process' connection to the token is dead until `C_Finalize`.
static STALE: AtomicBool = AtomicBool::new(false);

/// Lets what the rules say happen to the token; the answer of the call if that decides it.
pub(crate) fn check(rules: &TokenRules, version: &str, function: &str, scope: Scope) -> Option<CK_RV> {
    let first = {
        let mut had = HAD.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *had != version;
        version.clone_into(&mut had);
        first
    };
    match function {
        // What is only now initialised has no sessions to lose and no dead connection.
        "C_GetFunctionList" | "C_Initialize" => return None,
        "C_Finalize" => {
            STALE.store(false, Ordering::Relaxed);
            return None;
        }
        _ => {}
    }
    let backend = backend::functions().ok()?;
    if rules.removed || (first && rules.session_lost) {
        close_all_sessions(backend);
    }
    if first && rules.logged_out {
        log_out(backend);
    }
    if first && rules.stale {
        STALE.store(true, Ordering::Relaxed);
    }
    match scope {
        _ if STALE.load(Ordering::Relaxed) => Some(CKR_DEVICE_ERROR),
        Scope::Slot if rules.removed => Some(CKR_TOKEN_NOT_PRESENT),
        Scope::Session if rules.removed => Some(CKR_SESSION_HANDLE_INVALID),
        _ => None,
    }
}

/// Real sessions are closed in the real module, whose handles are then invalid without any book-keeping here.
fn close_all_sessions(backend: &CK_FUNCTION_LIST) {
    for slot in slots(backend) {
        ask!(backend, C_CloseAllSessions(slot));
    }
}

/// The login belongs to all sessions of the process on a token, so any session can end it.
fn log_out(backend: &CK_FUNCTION_LIST) {
    for slot in slots(backend) {
        let mut session = 0;
        if ask!(backend, C_OpenSession(slot, CKF_SERIAL_SESSION, ptr::null_mut(), None, &raw mut session)) == CKR_OK {
            ask!(backend, C_Logout(session));
            ask!(backend, C_CloseSession(session));
        }
    }
}

fn slots(backend: &CK_FUNCTION_LIST) -> Vec<CK_SLOT_ID> {
    let mut count = 0;
    if ask!(backend, C_GetSlotList(CK_FALSE, ptr::null_mut(), &raw mut count)) != CKR_OK {
        return Vec::new();
    }
    let mut slots = vec![0; usize::try_from(count).unwrap_or(0)];
    if ask!(backend, C_GetSlotList(CK_FALSE, slots.as_mut_ptr(), &raw mut count)) != CKR_OK {
        return Vec::new();
    }
    slots.truncate(usize::try_from(count).unwrap_or(0));
    slots
}
