//! Managing tokens: what is there, initialising, PINs, keys and certificates. Each call opens a session of its own and closes it, which logs out.

mod objects;
mod pins;

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::MechanismType;
use cryptoki::slot::{Slot, TokenInfo};

use super::module::{name, seen};
use super::{fault, keys};
use crate::backend::pin::TriesLeft;
use crate::ipc::token::{Holder, KeyKind, TokenAnswer, TokenCall, TokenState};
use crate::ipc::{FaultKind, ModuleFault};
use crate::worker::keys::Scan;

/// Serves one call.
pub(super) fn serve(context: &Pkcs11, call: TokenCall) -> Result<TokenAnswer, ModuleFault> {
    match call {
        TokenCall::Survey => survey(context),
        TokenCall::Initialize { at, label, so_pin, pin } => {
            pins::initialize(context, &at, &label, so_pin, pin).map(TokenAnswer::Initialized)
        }
        TokenCall::ChangePin { at, role, old, new } => pins::change(context, &at, role, old, new).map(done),
        TokenCall::Unblock { at, so_pin, pin } => pins::unblock(context, &at, so_pin, pin).map(done),
        TokenCall::GenerateKey { at, kind, label, id, login } => {
            objects::generate(context, &at, kind, &label, id, login).map(TokenAnswer::Key)
        }
        TokenCall::Beside { at, certificate } => objects::beside(context, &at, &certificate).map(TokenAnswer::Beside),
        TokenCall::StoreCertificate { at, certificate, login } => {
            objects::store_certificate(context, &at, &certificate, login).map(TokenAnswer::Key)
        }
        TokenCall::UnblockByPuk { at, puk, pin } => pins::unblock_by_puk(context, &at, puk, pin).map(done),
    }
}

const fn done((): ()) -> TokenAnswer {
    TokenAnswer::Done
}

fn survey(context: &Pkcs11) -> Result<TokenAnswer, ModuleFault> {
    let maker = context.get_library_info().map_err(fault::of)?.manufacturer_id().trim_end().to_owned();
    let slots = context.get_slots_with_token().map_err(fault::of)?;
    // A token that was pulled between two calls is simply not there.
    let tokens = slots.into_iter().filter_map(|slot| state(context, slot).ok()).collect();
    Ok(TokenAnswer::Tokens { maker, tokens })
}

fn state(context: &Pkcs11, slot: Slot) -> Result<TokenState, ModuleFault> {
    let info = context.get_token_info(slot).map_err(fault::of)?;
    let slot_info = context.get_slot_info(slot).map_err(fault::of)?;
    let contents = match info.token_initialized() {
        true => contents(context, slot, &info),
        false => Ok((Scan::default(), 0)),
    };
    let unreadable = contents.as_ref().err().map(|fault| fault.text.clone());
    let (found, objects) = contents.unwrap_or_default();
    Ok(TokenState {
        seen: seen(slot, &info, &slot_info, false, found),
        initialized: info.token_initialized(),
        objects,
        unreadable,
        write_protected: info.write_protected(),
        pin_to_be_changed: info.user_pin_to_be_changed(),
        so_tries: so_tries(&info),
        so_pin_to_be_changed: info.so_pin_to_be_changed(),
        pin_lengths: (info.min_pin_length() as u64, info.max_pin_length() as u64),
        makes: KeyKind::ALL.into_iter().filter(|kind| makes(context, slot, *kind)).collect(),
    })
}

/// The keys that show before a login, and how many objects of all kinds do.
fn contents(context: &Pkcs11, slot: Slot, info: &TokenInfo) -> Result<(Scan, u64), ModuleFault> {
    let session = context.open_ro_session(slot).map_err(fault::of)?;
    let objects = session.find_objects(&[]).map_err(fault::of)?;
    Ok((keys::scan(&session, !info.login_required())?, objects.len() as u64))
}

/// Whether the module says that the token makes keys of this kind; some promise more than they keep.
fn makes(context: &Pkcs11, slot: Slot, kind: KeyKind) -> bool {
    let (mechanism, bits) = match kind {
        KeyKind::Rsa(bits) => (MechanismType::RSA_PKCS_KEY_PAIR_GEN, usize::from(bits)),
        KeyKind::P256 => (MechanismType::ECC_KEY_PAIR_GEN, 256),
        KeyKind::P384 => (MechanismType::ECC_KEY_PAIR_GEN, 384),
        KeyKind::Ed25519 => (MechanismType::ECC_EDWARDS_KEY_PAIR_GEN, 255),
    };
    let Ok(info) = context.get_mechanism_info(slot, mechanism) else { return false };
    let is_in_range = match kind {
        // Modules give the size of Edwards curves as 255, 256 or 448.
        KeyKind::Ed25519 => true,
        _ => (info.min_key_size()..=info.max_key_size()).contains(&bits),
    };
    info.generate_key_pair() && is_in_range
}

fn so_tries(info: &TokenInfo) -> TriesLeft {
    if info.so_pin_locked() {
        TriesLeft::Locked
    } else if info.so_pin_final_try() {
        TriesLeft::Final
    } else if info.so_pin_count_low() {
        TriesLeft::Low
    } else {
        TriesLeft::NoWarning
    }
}

/// The token in its slot, unless another one is there by now.
fn find(context: &Pkcs11, at: &Holder) -> Result<(Slot, TokenInfo), ModuleFault> {
    let slots = context.get_slots_with_token().map_err(fault::of)?;
    let found = slots.into_iter().find(|slot| slot.id() == at.slot);
    let found = found.and_then(|slot| Some((slot, context.get_token_info(slot).ok()?)));
    found
        .filter(|(_, info)| name(info) == at.token)
        .ok_or_else(|| fault::new(FaultKind::TokenGone, "the token is not there any more"))
}
