//! Keys that are on a token for something else than logins, and are offered only to who names them: those in the retired slots of a PIV card
//! (82 to 95), which decrypt old messages, and the one that attests the others (F9).

use crate::ipc::{KeySeen, TokenSeen};

/// How modules call the manufacturer of PIV cards: OpenSC and ykcs11.
const PIV: [&str; 2] = ["piv_II", "Yubico"];
/// Slots 9A, 9C, 9D and 9E are 1 to 4 in both; the retired ones follow, and in ykcs11 the one for attestation.
const LAST_USUAL: u8 = 4;

/// Whether a key is to be left out unless somebody names it.
pub(super) fn is_set_aside(token: &TokenSeen, key: &KeySeen) -> bool {
    let is_piv = PIV.iter().any(|piv| token.name.manufacturer.starts_with(piv));
    is_piv && matches!(key.id[..], [id] if id > LAST_USUAL)
}
