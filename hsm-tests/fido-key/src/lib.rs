//! A FIDO2 security key in software, for tests: the firmware of real keys behind a CTAPHID device of our own, whose button, plug and faults a test directs.
//!
//! [`Device`] is the key. [`Device::open`] is what `open("/dev/hidraw0")` is with a real one: every [`Handle`] sees every packet that the key sends.
//! The program `fido-key` puts devices where unmodified programs find them; see `README.md`.

mod button;
mod device;
mod faults;
mod firmware;
pub mod hid;
mod log;
mod names;
pub mod packet;
mod works;

pub use button::{Button, Presence};
pub use device::{Device, Gone, Handle, Options, PacketSender};
pub use faults::{Fault, Faults};
pub use firmware::{Memory, OpenSk};
pub use log::Log;
