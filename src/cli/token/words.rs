//! The states of tokens and PINs in words.

use crate::backend::pin::TriesLeft;
use crate::backend::pkcs11::manage::ManageError;
use crate::crypto::fingerprint::FingerprintHash;
use crate::ipc::token::{KeyKind, TokenState};
use crate::ipc::{FaultKind, KeySeen};
use crate::protocol::public_key::PublicKey;

/// Text from a token, safe to show.
pub(super) fn shown(text: &str) -> String {
    crate::text::excerpt(text.as_bytes())
}

/// The state of the user's PIN.
pub(super) fn pin(token: &TokenState) -> String {
    if !token.initialized {
        return "not initialised".to_owned();
    }
    if !token.seen.login_required {
        return "not needed".to_owned();
    }
    if !token.seen.pin_initialized && !token.seen.protected_path {
        return "not set".to_owned();
    }
    let place = if token.seen.protected_path { ", on device" } else { "" };
    format!("{}{place}", state(token.seen.tries, token.pin_to_be_changed))
}

/// The state of the security officer's PIN.
pub(super) fn so_pin(token: &TokenState) -> String {
    match token.initialized {
        true => state(token.so_tries, token.so_pin_to_be_changed),
        false => "not initialised".to_owned(),
    }
}

fn state(tries: TriesLeft, to_be_changed: bool) -> String {
    match tries {
        TriesLeft::Locked => "locked".to_owned(),
        TriesLeft::Final => "final try".to_owned(),
        TriesLeft::Low => "low".to_owned(),
        TriesLeft::Left(count) => format!("{count} tries left"),
        TriesLeft::NoWarning if to_be_changed => "to be changed".to_owned(),
        TriesLeft::NoWarning => "ok".to_owned(),
    }
}

/// A key on one line: what `hardkey list` and `ssh-add -l` show of it.
pub(super) fn key(key: &KeySeen) -> String {
    let fingerprint = PublicKey::from_blob(&key.public).map(|public| FingerprintHash::Sha256.of(&public));
    format!("{}  {}", crate::text::excerpt(&key.label), fingerprint.unwrap_or_default())
}

/// What `--type` calls a kind of key.
pub(super) fn kind(kind: KeyKind) -> String {
    match kind {
        KeyKind::Rsa(bits) => format!("rsa{bits}"),
        KeyKind::P256 => "ecdsa-p256".to_owned(),
        KeyKind::P384 => "ecdsa-p384".to_owned(),
        KeyKind::Ed25519 => "ed25519".to_owned(),
    }
}

/// A secret that a token wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Secret {
    /// The user's PIN.
    Pin,
    /// The security officer's PIN.
    SoPin,
    /// The PUK of a card.
    Puk,
}

impl Secret {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pin => "PIN",
            Self::SoPin => "SO PIN",
            Self::Puk => "PUK",
        }
    }

    /// What helps when it is locked.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Pin => "`hardkey token unblock` sets a new one, with the SO PIN or the PUK",
            Self::SoPin => "nothing unlocks it but erasing the token, with the token's own tool",
            Self::Puk => "nothing unlocks it but resetting the card, which erases its keys, with the card's own tool",
        }
    }
}

/// What came of a call that had a secret with it.
pub(super) fn refusal(secret: Secret, token: &TokenState, error: &ManageError) -> String {
    let (name, label) = (secret.name(), shown(&token.seen.name.label));
    let fault = match error {
        ManageError::Fault(fault) => fault,
        ManageError::Worker(error) => {
            return format!("{error}. Whether it was done, and whether a try of the {name} is spent, is not known");
        }
    };
    let is_locked = fault.tries == TriesLeft::Locked || fault.text.contains("CKR_PIN_LOCKED");
    match fault.kind {
        FaultKind::PinIncorrect | FaultKind::PinLocked if fault.pin_at_stake && is_locked => {
            format!("token {label:?} refused the {name}, and it is locked now: {}", secret.remedy())
        }
        FaultKind::PinIncorrect => {
            let left = match fault.tries {
                TriesLeft::Final => "; the next wrong one locks it",
                TriesLeft::Low | TriesLeft::Left(_) => "; few are left",
                TriesLeft::NoWarning | TriesLeft::Locked => "; the token does not say how many are left",
            };
            format!("token {label:?} refused the {name}: one try is spent{left}")
        }
        FaultKind::PinLocked if is_locked || fault.text.contains("locked") => locked(secret, token),
        FaultKind::FinalTry => format!("the next wrong {name} locks token {label:?}; nothing was presented"),
        FaultKind::NotSupported => format!(
            "the module does not do this for token {label:?} ({}); use the token's own tool, for a PIV card `ykman piv` or yubico-piv-tool",
            fault.text
        ),
        _ => format!("token {label:?}: {}", fault.text),
    }
}

/// A secret is locked.
pub(super) fn locked(secret: Secret, token: &TokenState) -> String {
    let label = shown(&token.seen.name.label);
    format!("the {} of token {label:?} is locked: {}", secret.name(), secret.remedy())
}

/// Adds what to do where a module wants another login.
pub(super) fn with_hint(text: String) -> String {
    match text.contains("CKR_USER_TYPE_INVALID") {
        true => format!("{text}; it wants the SO PIN for this (with ykcs11 the management key): --so"),
        false => text,
    }
}
