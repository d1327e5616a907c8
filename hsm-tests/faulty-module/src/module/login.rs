//! Logging in: PIN pads and PINs that lock.

use std::thread;

use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_TOKEN_INFO, CK_ULONG, CK_USER_TYPE, CK_UTF8CHAR,
    CKF_USER_PIN_COUNT_LOW, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, CKR_GENERAL_ERROR, CKR_OK, CKR_PIN_INCORRECT,
    CKR_PIN_LOCKED, CKU_CONTEXT_SPECIFIC, CKU_SO, CKU_USER,
};

use crate::backend::ask;
use crate::call::{Call, Scope, rules_path};
use crate::ledger::{Counts, Ledger};
use crate::rules::PinCount;

pub(super) unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    pin_len: CK_ULONG,
) -> CK_RV {
    let who = match user {
        CKU_SO => "CKU_SO",
        CKU_USER => "CKU_USER",
        CKU_CONTEXT_SPECIFIC => "CKU_CONTEXT_SPECIFIC",
        _ => "unknown",
    };
    let whence = if pin.is_null() { "pad" } else { "caller" };
    let arguments = format_args!("session={session} user={who} pin={whence}");
    Call::begin("C_Login", Scope::Session, arguments).run(|call, backend| {
        let ask_token = |pin, pin_len| match call.rules.token.pin_count {
            Some(count) if user != CKU_SO => {
                counted(backend, session, count, || ask!(backend, C_Login(session, user, pin, pin_len)))
            }
            _ => ask!(backend, C_Login(session, user, pin, pin_len)),
        };
        match &call.rules.token.pad {
            Some(pad) if pin.is_null() => {
                thread::sleep(pad.delay);
                let mut entered = pad.pin.0.clone().into_bytes();
                ask_token(entered.as_mut_ptr(), entered.len() as CK_ULONG)
            }
            _ => ask_token(pin, pin_len),
        }
    })
}

pub(super) unsafe extern "C" fn C_InitPIN(
    session: CK_SESSION_HANDLE,
    pin: *mut CK_UTF8CHAR,
    pin_len: CK_ULONG,
) -> CK_RV {
    Call::begin("C_InitPIN", Scope::Session, format_args!("session={session}")).run(|_, backend| {
        let answer = ask!(backend, C_InitPIN(session, pin, pin_len));
        if answer == CKR_OK
            && let Some(token) = token_of(backend, session)
        {
            with_counts(|counts| counts.set_pin_failures(&token, 0));
        }
        answer
    })
}

/// Puts what a real counter would tell into the token's flags, in the place of what the real module says.
pub(super) fn tell_tries(info: &mut CK_TOKEN_INFO, count: PinCount) {
    info.flags &= !(CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED);
    let token = name_of(info);
    let failures = with_counts(|counts| counts.pin_failures(&token)).unwrap_or(0);
    if count.silent || failures == 0 {
        return;
    }
    info.flags |= CKF_USER_PIN_COUNT_LOW;
    match count.limit.saturating_sub(failures) {
        0 => info.flags |= CKF_USER_PIN_LOCKED,
        1 => info.flags |= CKF_USER_PIN_FINAL_TRY,
        _ => {}
    }
}

/// Tries a PIN under the counter's lock, so that two processes cannot both have the last try.
fn counted(
    backend: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    count: PinCount,
    attempt: impl FnOnce() -> CK_RV,
) -> CK_RV {
    let Some(token) = token_of(backend, session) else {
        return attempt();
    };
    let tried = with_counts(|counts| {
        let failures = counts.pin_failures(&token);
        if failures >= count.limit {
            return CKR_PIN_LOCKED;
        }
        match attempt() {
            CKR_PIN_INCORRECT => {
                counts.set_pin_failures(&token, failures + 1);
                // As cards do: the try that locks already says so.
                if failures + 1 == count.limit { CKR_PIN_LOCKED } else { CKR_PIN_INCORRECT }
            }
            CKR_OK => {
                counts.set_pin_failures(&token, 0);
                CKR_OK
            }
            other => other,
        }
    });
    tried.unwrap_or(CKR_GENERAL_ERROR)
}

fn token_of(backend: &CK_FUNCTION_LIST, session: CK_SESSION_HANDLE) -> Option<String> {
    let mut session_info = CK_SESSION_INFO::default();
    if ask!(backend, C_GetSessionInfo(session, &raw mut session_info)) != CKR_OK {
        return None;
    }
    let mut info = CK_TOKEN_INFO::default();
    let answer = ask!(backend, C_GetTokenInfo(session_info.slotID, &raw mut info));
    (answer == CKR_OK).then(|| name_of(&info))
}

fn name_of(info: &CK_TOKEN_INFO) -> String {
    String::from_utf8_lossy(&info.serialNumber).trim_end().to_owned()
}

fn with_counts<T>(work: impl FnOnce(&mut Counts) -> T) -> Option<T> {
    let counted = Ledger::beside(&rules_path()?).update(work);
    counted.inspect_err(|error| eprintln!("faulty-module: cannot count PINs: {error}")).ok()
}
