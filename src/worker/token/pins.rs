//! PINs of tokens: set, changed and set anew. Before each presentation the token is looked at; afterwards nothing is repeated.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use secrecy::ExposeSecret as _;

use super::{find, so_tries};
use crate::backend::pin::TriesLeft;
use crate::ipc::token::{Holder, Presented, Role};
use crate::ipc::{FaultKind, ModuleFault, SecretOctets, TokenName};
use crate::worker::fault;
use crate::worker::login::{tries, user_login};
use crate::worker::module::name;

/// Erases a token and gives it a label and PINs.
pub(super) fn initialize(
    context: &Pkcs11,
    at: &Holder,
    label: &str,
    so_pin: Presented,
    pin: SecretOctets,
) -> Result<TokenName, ModuleFault> {
    let (slot, info) = find(context, at)?;
    let (so_pin, pin) = (text_of(so_pin)?, text(pin)?);
    if info.token_initialized() {
        check(&info, Role::SecurityOfficer, so_pin.even_final_try)?;
    }
    context
        .init_token(slot, &so_pin.pin, label)
        .map_err(|error| refused(context, slot, &at.token, Role::SecurityOfficer, of(error)))?;
    let named = |info: TokenInfo| name(&info);
    let now = context.get_token_info(slot).map(named).map_err(fault::of)?;
    set_first_pin(context, slot, &so_pin.pin, &pin).map_err(|fault| {
        let text = format!("the token is initialised, but the user's PIN could not be set: {}", fault.text);
        ModuleFault { kind: FaultKind::Other, text, ..fault }
    })?;
    Ok(now)
}

fn set_first_pin(context: &Pkcs11, slot: Slot, so_pin: &AuthPin, pin: &AuthPin) -> Result<(), ModuleFault> {
    let session = context.open_rw_session(slot).map_err(of)?;
    session.login(UserType::So, Some(so_pin)).map_err(of)?;
    session.init_pin(pin).map_err(of)
}

/// Changes the PIN of a role; the old one is proved by a login, and only then presented with the new one.
pub(super) fn change(
    context: &Pkcs11,
    at: &Holder,
    role: Role,
    old: Presented,
    new: SecretOctets,
) -> Result<(), ModuleFault> {
    let new = text(new)?;
    let again = old.pin.as_ref().map(|pin| SecretOctets(pin.0.clone()));
    let again = text(again.ok_or_else(|| fault::new(FaultKind::NotSupported, "the token asks for its PIN itself"))?)?;
    let session = logged_in(context, at, role, old)?;
    session.set_pin(&again, &new).map_err(not_taken)
}

/// Sets the user's PIN anew, as the security officer.
pub(super) fn unblock(context: &Pkcs11, at: &Holder, so_pin: Presented, pin: SecretOctets) -> Result<(), ModuleFault> {
    let pin = text(pin)?;
    let session = logged_in(context, at, Role::SecurityOfficer, so_pin)?;
    session.init_pin(&pin).map_err(not_taken)
}

/// Sets the user's PIN anew by the PUK.
pub(super) fn unblock_by_puk(
    context: &Pkcs11,
    at: &Holder,
    puk: SecretOctets,
    pin: SecretOctets,
) -> Result<(), ModuleFault> {
    let (puk, pin) = (text(puk)?, text(pin)?);
    let (slot, _) = find(context, at)?;
    let session = context.open_rw_session(slot).map_err(of)?;
    session.set_pin(&puk, &pin).map_err(|error| refused(context, slot, &at.token, Role::SecurityOfficer, of(error)))
}

/// A session that is logged in, after a look at which token is in the slot and how many tries the role has.
pub(super) fn logged_in(
    context: &Pkcs11,
    at: &Holder,
    role: Role,
    presented: Presented,
) -> Result<Session, ModuleFault> {
    let (slot, _) = find(context, at)?;
    let session = context.open_rw_session(slot).map_err(of)?;
    let (_, info) = find(context, at)?;
    check(&info, role, presented.even_final_try)?;
    let user = match role {
        Role::User => UserType::User,
        Role::SecurityOfficer => UserType::So,
    };
    user_login(&session, user, presented.pin).map_err(|error| refused(context, slot, &at.token, role, of(error)))?;
    Ok(session)
}

/// Fails when the PIN is locked or was never set, or when presenting one would be a final try that nobody decided on.
fn check(info: &TokenInfo, role: Role, even_final_try: bool) -> Result<(), ModuleFault> {
    let left = match role {
        Role::User if !info.user_pin_initialized() && !info.protected_authentication_path() => {
            return Err(fault::new(FaultKind::PinLocked, "no user PIN was ever set on the token"));
        }
        Role::User => tries(info),
        Role::SecurityOfficer => so_tries(info),
    };
    match left {
        TriesLeft::Locked => Err(fault::new(FaultKind::PinLocked, "the token says that this PIN is locked")),
        TriesLeft::Final if !even_final_try => {
            Err(fault::new(FaultKind::FinalTry, "the token says that this is the final try"))
        }
        _ => Ok(()),
    }
}

/// What a refused PIN means. Only a token that is still there is believed.
fn refused(context: &Pkcs11, slot: Slot, token: &TokenName, role: Role, fault: ModuleFault) -> ModuleFault {
    let pin_at_stake = fault.kind != FaultKind::NotSupported;
    match context.get_token_info(slot) {
        Ok(info) if name(&info) == *token => {
            let tries = if role == Role::User { tries(&info) } else { so_tries(&info) };
            ModuleFault { tries, pin_at_stake, ..fault }
        }
        _ if fault.kind == FaultKind::PinIncorrect => {
            let text = format!("{}, but the token is not there any more", fault.text);
            ModuleFault { kind: FaultKind::TokenGone, text, pin_at_stake, ..fault }
        }
        _ => ModuleFault { pin_at_stake, ..fault },
    }
}

/// A failure after the PIN in force was accepted is about the new one.
fn not_taken(error: Error) -> ModuleFault {
    match of(error) {
        fault if fault.kind == FaultKind::PinIncorrect => ModuleFault {
            kind: FaultKind::Other,
            text: format!("the token does not take the new PIN: {}", fault.text),
            ..fault
        },
        fault => fault,
    }
}

/// A failure of one function; one that the module does not have is told from one that failed.
pub(super) fn of(error: Error) -> ModuleFault {
    let is_missing = matches!(error, Error::Pkcs11(RvError::FunctionNotSupported, _));
    let fault = fault::of(error);
    if is_missing { ModuleFault { kind: FaultKind::NotSupported, ..fault } } else { fault }
}

struct TextPresented {
    pin: AuthPin,
    even_final_try: bool,
}

fn text_of(presented: Presented) -> Result<TextPresented, ModuleFault> {
    let pin = presented.pin.ok_or_else(|| fault::new(FaultKind::NotSupported, "the token asks for its PIN itself"))?;
    Ok(TextPresented { pin: text(pin)?, even_final_try: presented.even_final_try })
}

/// PKCS#11 has PINs as UTF-8 wherever they are set (2.40 section 5.5).
fn text(pin: SecretOctets) -> Result<AuthPin, ModuleFault> {
    let text = String::from_utf8(pin.0.expose_secret().to_vec());
    text.map(AuthPin::from).map_err(|_| fault::new(FaultKind::Other, "a PIN has to be UTF-8 text"))
}
