//! How a PIN is presented, and what a refusal means.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;
use secrecy::ExposeSecret as _;

use super::fault;
use super::module::name;
use crate::backend::pin::TriesLeft;
use crate::ipc::{FaultKind, ModuleFault, SecretOctets, TokenName};

/// Logs in such that the token judges the PIN: where it says that somebody is logged in already, it is logged out first.
pub(super) fn log_in_anew(session: &Session, pin: Option<SecretOctets>) -> Result<(), Error> {
    let again = pin.as_ref().map(|pin| SecretOctets(pin.0.clone()));
    match user_login(session, UserType::User, pin) {
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn | RvError::UserAnotherAlreadyLoggedIn, _)) => {
            // Nobody may be; what the login then says counts.
            let _ = session.logout();
            user_login(session, UserType::User, again)
        }
        result => result,
    }
}

pub(super) fn user_login(session: &Session, user: UserType, pin: Option<SecretOctets>) -> Result<(), Error> {
    match pin {
        Some(pin) => session.login_with_raw(user, &RawAuthPin::new(Box::new(pin.0.expose_secret().to_vec()))),
        None => session.login(user, None),
    }
}

/// What a failed login means. A module that lost its token just now may say that the PIN was wrong; only one that still shows the token is
/// believed.
pub(super) fn refused(context: &Pkcs11, slot: Slot, token: &TokenName, error: Error) -> ModuleFault {
    let fault = fault_of(error);
    match context.get_token_info(slot) {
        Ok(info) if name(&info) == *token => ModuleFault { tries: tries(&info), pin_at_stake: true, ..fault },
        _ if fault.kind == FaultKind::PinIncorrect => {
            let text = format!("{}, but the token is not there any more", fault.text);
            ModuleFault { kind: FaultKind::TokenGone, text, pin_at_stake: true, ..fault }
        }
        _ => ModuleFault { pin_at_stake: true, ..fault },
    }
}

/// Fails when the PIN is locked, or when presenting one would be the final try and that was not decided by a person.
pub(super) fn check_tries(info: &TokenInfo, even_final_try: bool) -> Result<(), ModuleFault> {
    match tries(info) {
        TriesLeft::Locked => Err(fault::new(FaultKind::PinLocked, "the token says that its PIN is locked")),
        TriesLeft::Final if !even_final_try => {
            Err(fault::new(FaultKind::FinalTry, "the token says that this is the final try"))
        }
        _ => Ok(()),
    }
}

/// A failed login. What says that somebody is in came after a logout: it is not this process that is.
fn fault_of(error: Error) -> ModuleFault {
    let is_taken =
        matches!(error, Error::Pkcs11(RvError::UserAlreadyLoggedIn | RvError::UserAnotherAlreadyLoggedIn, _));
    let fault = fault::of(error);
    match is_taken {
        true => ModuleFault {
            text: format!(
                "{}, after C_Logout as well: another program is logged in to it; log out there, or end that program",
                fault.text
            ),
            ..fault
        },
        false => fault,
    }
}

pub(super) fn tries(info: &TokenInfo) -> TriesLeft {
    if info.user_pin_locked() {
        TriesLeft::Locked
    } else if info.user_pin_final_try() {
        TriesLeft::Final
    } else if info.user_pin_count_low() {
        TriesLeft::Low
    } else {
        TriesLeft::NoWarning
    }
}
