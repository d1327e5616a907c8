//! A drop-in for the part of `hidapi` that `ctap-hid-fido2` uses, made for FIDO devices on Linux.
//!
//! It reads `/dev/hidraw*` and `/sys/class/hidraw` directly: no C code, no libudev. Under the crate's one call to write and one to read it
//! does what an agent needs and the crate does not: it locks the device for as long as it is open (`flock`, as libfido2 does), drops the
//! frames of other applications' channels, repeats a message to a device that is busy, gives up on one that is silent or gone, tells when
//! the device waits for its touch, and withdraws the command (CTAPHID_CANCEL) when nobody wants it any more. See [`Operation`].

mod channel;
mod device;
mod operation;
pub mod played;
mod sysfs;

use std::ffi::CStr;

pub use channel::{Channel, Heard, REPORT, Report};
pub use device::HidDevice;
pub use operation::{Fault, Operation, last_fault};
pub use sysfs::DeviceInfo;

/// The usage page of FIDO devices (CTAP 2.1 section 11.2.8.2).
pub const FIDO_USAGE_PAGE: u16 = 0xf1d0;

/// What failed; the reason in full is what [`last_fault`] says.
pub type HidError = Fault;

/// As the crate knows it.
pub type HidResult<T> = Result<T, HidError>;

/// The devices that are plugged in.
pub struct HidApi(Vec<DeviceInfo>);

impl HidApi {
    /// Looks at what is plugged in now. A folder that cannot be read is an empty one.
    ///
    /// # Errors
    /// None; the form is `hidapi`'s.
    pub fn new() -> HidResult<Self> {
        Ok(Self(sysfs::devices()))
    }

    /// The FIDO devices that were found.
    pub fn device_list(&self) -> impl Iterator<Item = &DeviceInfo> {
        self.0.iter()
    }

    /// Opens and locks a device.
    ///
    /// # Errors
    /// It is gone, not permitted, or another program holds it for longer than the operation may last.
    pub fn open_path(&self, path: &CStr) -> HidResult<HidDevice> {
        HidDevice::open(path)
    }
}
