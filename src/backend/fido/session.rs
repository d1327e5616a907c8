//! A turn on one device: a worker process that serves it, until the session is dropped.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

use super::device::{Device, Devices};
use super::error::FidoError;
use crate::backend::SignError;
use crate::backend::link::Link;
use crate::ipc::fido::{Abilities, FidoAnswer, FidoCall};
use crate::ipc::{Answer, Call};

/// For the start of the process, and beyond the worker's own deadlines: a worker that does not keep those hangs.
const HANGS: Duration = Duration::from_secs(60);

/// A device to oneself. Dropping it withdraws what runs: the device is told, and the turn passes on after that.
pub struct Session {
    device: Device,
    /// Both taken when the session ends.
    at_work: Option<(Link, OwnedMutexGuard<()>)>,
    abilities: Abilities,
}

impl Session {
    /// Waits for the turn on a device and looks at it.
    ///
    /// # Errors
    /// It does not serve.
    pub async fn open(devices: &Devices, device: &Device) -> Result<Self, SignError> {
        let turn = devices.turn(device).lock_owned().await;
        Self::begin(device, turn).await
    }

    /// As [`Self::open`], if nobody else has the turn; `None` if somebody has.
    pub(super) async fn open_now(devices: &Devices, device: &Device) -> Option<Result<Self, SignError>> {
        let turn = devices.turn(device).try_lock_owned().ok()?;
        Some(Self::begin(device, turn).await)
    }

    async fn begin(device: &Device, turn: OwnedMutexGuard<()>) -> Result<Self, SignError> {
        let start = Call::StartFido { device: device.path.clone() };
        let link = Link::start(&device.path, &start, &[], HANGS).await?;
        let (device, abilities) = (device.clone(), Abilities::default());
        let mut session = Self { device, at_work: Some((link, turn)), abilities };
        match session.call(FidoCall::Abilities, &mut |_| {}).await? {
            FidoAnswer::Abilities(abilities) => session.abilities = *abilities,
            _ => return Err(session.nonsense().into()),
        }
        Ok(session)
    }

    /// The device.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// What it is able to do.
    pub const fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// Makes one call; `on_touch` is told when the device begins to wait for a touch, and when it no longer does.
    ///
    /// # Errors
    /// The device or its worker failed.
    pub async fn call(
        &mut self,
        call: FidoCall,
        on_touch: &mut (dyn FnMut(bool) + Send),
    ) -> Result<FidoAnswer, SignError> {
        let Some((link, _)) = &mut self.at_work else { return Err(self.nonsense().into()) };
        match link.call_telling(&Call::Fido(call), HANGS, on_touch).await? {
            Answer::Fido(FidoAnswer::Failed(fault)) => {
                Err(FidoError::Fault { device: self.device.name.clone(), fault }.into())
            }
            Answer::Fido(answer) => Ok(answer),
            _ => Err(self.nonsense().into()),
        }
    }

    /// The error for an answer to another call.
    pub fn nonsense(&self) -> FidoError {
        FidoError::Nonsense { device: self.device.name.clone() }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (Some((link, turn)), Ok(runtime)) = (self.at_work.take(), Handle::try_current()) else { return };
        runtime.spawn(async move {
            link.part().await;
            drop(turn);
        });
    }
}
