//! What commands are called in logs and in rules for faults.

use ctap_types::ctap2::Request;
use ctap_types::ctap2::client_pin::PinV1Subcommand;
use ctap_types::ctap2::credential_management::Subcommand;

use crate::packet::{Message, command};

/// The name of a message: `getInfo`, `getAssertion`, `getAssertion[silent]`, `clientPIN.getPINToken`, `u2f.authenticate[check]`, and the like.
pub(crate) fn name(message: &Message) -> String {
    match message.command {
        command::CBOR => ctap2(&message.payload),
        command::MSG => ctap1(&message.payload).into(),
        command::PING => "ping".into(),
        command::WINK => "wink".into(),
        command::LOCK => "lock".into(),
        command::INIT => "init".into(),
        other => format!("{other:02x}"),
    }
}

fn ctap2(payload: &[u8]) -> String {
    let first = payload.first().copied().unwrap_or(0);
    // The firmware wants arguments where clients of CTAP 2.0 send some and 2.1 none.
    let Ok(request) = Request::deserialize(payload) else {
        return match first {
            0x01 => "makeCredential[malformed]".into(),
            0x02 => "getAssertion[malformed]".into(),
            other => format!("ctap2.{other:02x}"),
        };
    };
    match request {
        Request::MakeCredential(request) => {
            let options = request.options.as_ref();
            let resident = options.and_then(|options| options.rk).unwrap_or(false);
            let selects = request.pin_auth.is_some_and(|auth| auth.is_empty());
            let kind = if selects {
                "[select]"
            } else if resident {
                "[resident]"
            } else {
                ""
            };
            format!("makeCredential{kind}")
        }
        Request::GetAssertion(request) => {
            let touch = request.options.as_ref().and_then(|options| options.up).unwrap_or(true);
            format!("getAssertion{}", if touch { "" } else { "[silent]" })
        }
        Request::GetNextAssertion => "getNextAssertion".into(),
        Request::GetInfo => "getInfo".into(),
        Request::ClientPin(request) => format!("clientPIN.{}", pin(request.sub_command)),
        Request::Reset => "reset".into(),
        Request::CredentialManagement(request) => format!("credMgmt.{}", management(request.sub_command)),
        Request::Selection => "selection".into(),
        Request::LargeBlobs(_) => "largeBlobs".into(),
        Request::Config(_) => "config".into(),
        _ => format!("ctap2.{first:02x}"),
    }
}

const fn pin(subcommand: PinV1Subcommand) -> &'static str {
    match subcommand {
        PinV1Subcommand::GetRetries => "getRetries",
        PinV1Subcommand::GetKeyAgreement => "getKeyAgreement",
        PinV1Subcommand::SetPin => "setPIN",
        PinV1Subcommand::ChangePin => "changePIN",
        PinV1Subcommand::GetPinToken => "getToken",
        PinV1Subcommand::GetPinUvAuthTokenUsingUvWithPermissions => "getTokenByUV",
        PinV1Subcommand::GetUVRetries => "getUVRetries",
        PinV1Subcommand::GetPinUvAuthTokenUsingPinWithPermissions => "getTokenByPIN",
        _ => "unknown",
    }
}

const fn management(subcommand: Subcommand) -> &'static str {
    match subcommand {
        Subcommand::GetCredsMetadata => "metadata",
        Subcommand::EnumerateRpsBegin => "rps",
        Subcommand::EnumerateRpsGetNextRp => "nextRP",
        Subcommand::EnumerateCredentialsBegin => "credentials",
        Subcommand::EnumerateCredentialsGetNextCredential => "nextCredential",
        Subcommand::DeleteCredential => "delete",
        Subcommand::UpdateUserInformation => "update",
        _ => "unknown",
    }
}

/// APDUs of U2F raw messages 1.2, section 3.
const fn ctap1(apdu: &[u8]) -> &'static str {
    match apdu {
        [_, 0x01, ..] => "u2f.register",
        [_, 0x02, 0x07, ..] => "u2f.authenticate[check]",
        [_, 0x02, ..] => "u2f.authenticate",
        [_, 0x03, ..] => "u2f.version",
        _ => "u2f.unknown",
    }
}
