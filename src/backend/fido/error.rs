//! What goes wrong with FIDO devices, and what to do.

use crate::ipc::fido::{FidoCause, FidoFault};

/// `CTAP2_ERR_OPERATION_DENIED`
const OPERATION_DENIED: u8 = 0x27;

/// Why a FIDO device did not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FidoError {
    /// The device, or what stands between, failed.
    #[error("{device}: {}", describe(.fault))]
    Fault {
        /// The device.
        device: String,
        /// What happened.
        fault: FidoFault,
    },
    /// No device holds the key.
    #[error("no security key that holds {key:?} was plugged in{}", seen(.tried))]
    NoDevice {
        /// The key's comment.
        key: String,
        /// The devices that were looked at, and what came of it.
        tried: Vec<String>,
    },
    /// A signature that is not the key's.
    #[error("{device}: its signature does not verify, and was not passed on")]
    BadSignature {
        /// The device.
        device: String,
    },
    /// It signed, and says in the signature that it did not wait for what it was told to wait for.
    #[error(
        "{device}: it signed without {missing}, though it was told to wait for that, so its signature was not passed on; the device is at fault: \
             use another one, or ask its maker for newer firmware"
    )]
    Hasty {
        /// The device.
        device: String,
        /// What it left out.
        missing: &'static str,
    },
    /// The worker answered something else.
    #[error("{device}: the worker answered another call; this is a bug")]
    Nonsense {
        /// The device.
        device: String,
    },
}

impl FidoError {
    /// The status that the device answered, if that is what happened (CTAP 2.1 section 8.2).
    pub const fn status(&self) -> Option<u8> {
        match self {
            Self::Fault { fault: FidoFault { cause: FidoCause::Status(status), .. }, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the person said no on the device.
    pub const fn is_a_no(&self) -> bool {
        matches!(self.status(), Some(OPERATION_DENIED))
    }

    /// Whether this happens while a device is plugged in or pulled out, and may be over in a moment.
    pub const fn is_of_plugging(&self) -> bool {
        matches!(self, Self::Fault { fault: FidoFault { cause: FidoCause::Gone | FidoCause::NotPermitted, .. }, .. })
    }
}

fn seen(tried: &[String]) -> String {
    match tried {
        [] => "; plug it in and try again".to_owned(),
        tried => format!("; looked at: {}", tried.join("; ")),
    }
}

/// What happened, and the remedy.
fn describe(fault: &FidoFault) -> String {
    let status = match &fault.cause {
        FidoCause::Status(status) => *status,
        FidoCause::Gone => return "it was pulled out; plug it in and try again".to_owned(),
        FidoCause::Silent => return "it does not answer; pull it out and plug it in again".to_owned(),
        FidoCause::Busy => return "another program keeps it busy; try again when that is done".to_owned(),
        FidoCause::Cancelled => return "the request was withdrawn".to_owned(),
        FidoCause::TimedOut => return "it was not touched in time".to_owned(),
        FidoCause::NotPermitted => {
            let remedy = "log in at this machine's own screen, or install a udev rule such as libfido2's 70-u2f.rules";
            return format!("no permission to use it; {remedy}");
        }
        FidoCause::Garbled => return "its answer makes no sense; pull it out and plug it in again".to_owned(),
        FidoCause::Unable(reason) | FidoCause::Other(reason) => return reason.clone(),
    };
    match status {
        0x19 => "it holds this key already".to_owned(),
        0x26 => "it does not do this kind of key; try ecdsa-sk".to_owned(),
        0x2b | 0x2c => "it cannot do that".to_owned(),
        OPERATION_DENIED => "declined on the device".to_owned(),
        0x28 => "it is full; delete a key with `hardkey fido delete`".to_owned(),
        0x2d => "the request was withdrawn".to_owned(),
        0x2e => "it does not hold this key".to_owned(),
        0x2f | 0x3a => "it was not touched in time".to_owned(),
        0x31 => match fault.tries {
            Some(0) => {
                "wrong PIN, and the PIN is locked now; only a reset, which erases every key on it, helps".to_owned()
            }
            Some(1) => "wrong PIN; the next wrong one locks it".to_owned(),
            Some(tries) => format!("wrong PIN; {tries} tries are left"),
            None => "wrong PIN".to_owned(),
        },
        0x32 => "its PIN is locked; only a reset, which erases every key on it, helps".to_owned(),
        0x33 | 0x38 => "it does not accept the PIN's session; try again".to_owned(),
        0x34 => "three wrong PINs in a row; pull it out, plug it in, and try again".to_owned(),
        0x35 => "it has no PIN, and the key needs one; set it with `hardkey fido pin`".to_owned(),
        0x36 => "it wants its PIN".to_owned(),
        0x37 => "it does not take this PIN, or wants its PIN changed; see `hardkey fido pin`".to_owned(),
        0x3c => "its fingerprint reader is locked; use the PIN".to_owned(),
        0x3f => "the finger was not recognised".to_owned(),
        status => format!("it answered status {status:#04x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_pin_is_told_with_the_tries_that_are_left() {
        let error = |tries| {
            let fault = FidoFault { cause: FidoCause::Status(0x31), tries };
            FidoError::Fault { device: "key".to_owned(), fault }.to_string()
        };
        assert_eq!(error(Some(7)), "key: wrong PIN; 7 tries are left");
        assert_eq!(error(Some(1)), "key: wrong PIN; the next wrong one locks it");
        assert!(error(Some(0)).contains("reset"));
    }
}
