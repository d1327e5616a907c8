//! FIDO devices: which are plugged in, whose turn it is on each, and keys that sign on them.
//!
//! Each operation has a worker process for its device, so that several devices can be asked at the same time, and a device that hangs
//! delays nobody but those who wait for it. Never decides whether a signature is allowed.

mod choose;
mod device;
pub mod error;
mod key;
mod remembered;
mod residents;
mod session;

pub use choose::touched;
pub use device::{Device, Devices};
pub use error::FidoError;
pub use key::{FidoKey, Handle, Helpers};
pub use remembered::Remembered;
pub use session::Session;
