//! What must hold of everything that reads what others wrote: for any octets whatsoever.
//!
//! Each property is a function that takes octets and panics when the property does not hold of them. The fuzz targets in `fuzz/` call
//! these functions with what libFuzzer finds; the unit tests here call them with the seeds in `fuzz/seeds/` and with random changes
//! of those, so that a property is checked on every test run and not only where a nightly compiler is at hand.
//!
//! A property compares the code with something simpler: a model that is obviously right, the same question asked another way, or
//! the way back from the value to the octets.

pub mod configuration;
pub mod constraints;
pub mod fido_device;
pub mod frames;
pub mod ipc;
pub mod known_hosts;
pub mod payload;
pub mod public_key;
pub mod requests;
pub mod session_bind;
pub mod ssh_argv;
pub mod uri;

mod octets;

#[cfg(test)]
mod tests;

/// A property and its name, which is that of its fuzz target and of the directory with its seeds.
pub type Property = (&'static str, fn(&[u8]));

/// All properties.
pub const ALL: [Property; 12] = [
    ("configuration", configuration::check),
    ("constraints", constraints::check),
    ("fido_device", fido_device::check),
    ("frames", frames::check),
    ("ipc", ipc::check),
    ("known_hosts", known_hosts::check),
    ("payload", payload::check),
    ("public_key", public_key::check),
    ("requests", requests::check),
    ("session_bind", session_bind::check),
    ("ssh_argv", ssh_argv::check),
    ("uri", uri::check),
];
