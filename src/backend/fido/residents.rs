//! Resident keys, shown by a device when it was given its PIN for something else, so that nobody has to give it for them.

use secrecy::ExposeSecret as _;

use super::device::Devices;
use super::remembered::Remembered;
use super::session::Session;
use crate::backend::pin::Pin;
use crate::ipc::SecretOctets;
use crate::ipc::fido::{FidoAnswer, FidoCall};

/// Has a device show its resident keys, once while it is plugged in, by the PIN that it has just accepted: no try is at stake. The one who
/// asked for the signature does not wait for this; the next one who wants the device does.
pub(super) fn learn(devices: &Devices, mut session: Session, pin: &Pin) {
    if !session.abilities().manages || !devices.is_to_show(session.device()) {
        return;
    }
    let pin = SecretOctets(pin.expose_secret().to_vec().into());
    tokio::spawn(async move {
        match session.call(FidoCall::Residents { pin }, &mut |_| {}).await {
            Ok(FidoAnswer::Residents(keys)) => {
                if let Err(error) = Remembered::update(|remembered| remembered.note(session.device(), &keys)) {
                    tracing::warn!("{error}");
                }
            }
            Ok(_) => tracing::warn!("{}", session.nonsense()),
            Err(error) => tracing::info!("{}: its resident keys are not known: {error}", session.device()),
        }
    });
}
