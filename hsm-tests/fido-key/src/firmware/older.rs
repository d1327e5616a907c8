//! What keys before CTAP 2.1 lack, taken from newer firmware: PIN protocol 2, tokens with permissions, `authenticatorSelection`; and
//! their resident keys are managed by the drafts' command.

use ctap_types::ctap2::Request;
use ctap_types::ctap2::client_pin::PinV1Subcommand;

/// `CTAP1_ERR_INVALID_COMMAND`, `CTAP1_ERR_INVALID_PARAMETER`, `CTAP2_ERR_PIN_AUTH_INVALID`
const INVALID_COMMAND: u8 = 0x01;
const INVALID_PARAMETER: u8 = 0x02;
const PIN_AUTH_INVALID: u8 = 0x33;
const CLIENT_PIN: u8 = 0x06;
/// The only PIN protocol of CTAP 2.0.
const FIRST_PROTOCOL: u32 = 1;

/// The status with which such a key refuses a command of later days.
pub(super) fn refuses(request: &[u8]) -> Option<u8> {
    let other = |protocol: Option<u32>| protocol.is_some_and(|protocol| protocol != FIRST_PROTOCOL);
    if matches!(request, [0x09..=0x40, ..]) {
        return Some(INVALID_COMMAND);
    }
    match Request::deserialize(request).ok()? {
        Request::ClientPin(request) => {
            use PinV1Subcommand::{ChangePin, GetKeyAgreement, GetPinToken, GetRetries, SetPin};
            let known = matches!(request.sub_command, GetRetries | GetKeyAgreement | SetPin | ChangePin | GetPinToken);
            (!known || other(request.pin_protocol.map(u32::from))).then_some(INVALID_PARAMETER)
        }
        Request::MakeCredential(request) if other(request.pin_protocol) => Some(PIN_AUTH_INVALID),
        Request::GetAssertion(request) if other(request.pin_protocol) => Some(PIN_AUTH_INVALID),
        _ => None,
    }
}

/// A command as the newer firmware has to be given it: the one kind of token that there was is good for everything, what is now a matter of
/// permissions (CTAP 2.1 section 6.5.5.7.1).
pub(super) fn translated(request: &[u8]) -> Vec<u8> {
    match request {
        // {1: protocol, 2: getPinToken, …}
        [CLIENT_PIN, 0xa4, 1, protocol, 2, 5, rest @ ..] => {
            let permissions = [9, 0x01 | 0x02 | 0x04];
            [&[CLIENT_PIN, 0xa5, 1, *protocol, 2, 9], rest, &permissions].concat()
        }
        request => request.to_vec(),
    }
}

/// What such a key says of itself, where the newer firmware says `info` (CTAP 2.0 section 5.4).
pub(super) fn info(info: &[u8]) -> Vec<u8> {
    let has_pin = b"\x69clientPin\xf5";
    let has_pin = info.windows(has_pin.len()).any(|window| window == has_pin);
    [
        &b"\x00\xa6\x01\x82\x66U2F_V2\x68FIDO_2_0\x02\x81\x6bcredProtect"[..],
        b"\x03\x50older than today",
        b"\x04\xa4\x62rk\xf5\x62up\xf5\x69clientPin",
        if has_pin { b"\xf5" } else { b"\xf4" },
        b"\x75credentialMgmtPreview\xf5",
        b"\x05\x19\x04\xb0\x06\x81\x01",
    ]
    .concat()
}
