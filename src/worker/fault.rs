//! What a module's return values mean for the next step.

use cryptoki::error::{Error, Rv, RvError};
use cryptoki_sys::CK_RV;

use crate::backend::pin::TriesLeft;
use crate::ipc::{FaultKind, ModuleFault};

/// A failure of one function, by the crate's error.
pub(super) fn of(error: Error) -> ModuleFault {
    match error {
        Error::Pkcs11(rv, function) => new(kind(&rv), format!("C_{function:?} answered {}", name(&rv))),
        other => new(FaultKind::Other, other.to_string()),
    }
}

/// A failure of `C_Sign`, by its return value.
pub(super) fn of_sign(rv: CK_RV) -> ModuleFault {
    match Rv::from(rv) {
        Rv::Error(rv) => new(kind(&rv), format!("C_Sign answered {}", name(&rv))),
        Rv::Ok => new(FaultKind::Other, "C_Sign answered CKR_OK without a signature"),
    }
}

/// A failure that the worker itself found.
pub(super) fn new(kind: FaultKind, text: impl Into<String>) -> ModuleFault {
    ModuleFault { kind, text: text.into(), tries: TriesLeft::NoWarning, pin_at_stake: false }
}

/// `CKR_…` as the standard spells it, from the crate's spelling.
fn name(rv: &RvError) -> String {
    let mut name = "CKR".to_owned();
    for letter in format!("{rv:?}").chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

const fn kind(rv: &RvError) -> FaultKind {
    match rv {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => FaultKind::PinIncorrect,
        RvError::PinLocked | RvError::PinExpired | RvError::UserPinNotInitialized => FaultKind::PinLocked,
        RvError::UserNotLoggedIn => FaultKind::NotLoggedIn,
        RvError::SessionHandleInvalid | RvError::SessionClosed | RvError::OperationActive | RvError::DeviceError => {
            FaultKind::SessionLost
        }
        RvError::DeviceRemoved | RvError::TokenNotPresent | RvError::TokenNotRecognized | RvError::SlotIdInvalid => {
            FaultKind::TokenGone
        }
        RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid => FaultKind::KeyGone,
        RvError::MechanismInvalid | RvError::MechanismParamInvalid | RvError::KeyTypeInconsistent => {
            FaultKind::MechanismRefused
        }
        RvError::FunctionCanceled | RvError::FunctionRejected => FaultKind::Cancelled,
        _ => FaultKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn return_values_are_named_as_in_the_standard() {
        let fault = of_sign(cryptoki_sys::CKR_DEVICE_REMOVED);
        assert_eq!((fault.kind, fault.text.as_str()), (FaultKind::TokenGone, "C_Sign answered CKR_DEVICE_REMOVED"));
        let fault = of(Error::Pkcs11(RvError::SessionHandleInvalid, Function::SignInit));
        assert_eq!(fault.text, "C_SignInit answered CKR_SESSION_HANDLE_INVALID");
    }
}
