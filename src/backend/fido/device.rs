//! The devices that are plugged in, and whose turn it is.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hidapi::HidApi;

/// A FIDO device as it is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    /// Its file below `/dev`, which another device may have tomorrow.
    pub path: PathBuf,
    /// The name that it gives itself, or else what its numbers are; safe to show.
    pub name: String,
    /// The serial number, where it tells one; safe to show.
    pub serial: String,
    vendor: u16,
    product: u16,
}

impl Device {
    /// The devices that are plugged in now.
    pub fn all() -> Vec<Self> {
        let found = HidApi::new().map(|found| found.device_list().map(Self::of).collect());
        found.unwrap_or_default()
    }

    fn of(info: &hidapi::DeviceInfo) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        let text = |text: Option<&str>| text.map(|text| crate::text::excerpt(text.as_bytes())).unwrap_or_default();
        let (vendor, product) = (info.vendor_id(), info.product_id());
        let name = match text(info.product_string()) {
            name if name.is_empty() => format!("security key {vendor:04x}:{product:04x}"),
            name => name,
        };
        let path = Path::new(std::ffi::OsStr::from_bytes(info.path().to_bytes())).to_owned();
        Self { path, name, serial: text(info.serial_number()), vendor, product }
    }

    /// What tells it from others, wherever it is plugged in.
    pub(super) fn id(&self) -> (u16, u16, &str) {
        (self.vendor, self.product, &self.serial)
    }

    /// Whether this is the other one, perhaps plugged in elsewhere. Without serial numbers only the place tells two of a kind apart.
    pub fn is_same(&self, other: &Self) -> bool {
        self.id() == other.id() && (!self.serial.is_empty() || self.path == other.path)
    }
}

#[cfg(test)]
impl Device {
    /// A device with this serial number.
    pub(super) fn example(serial: &str) -> Self {
        let (path, name) = ("/dev/hidraw0".into(), "example".to_owned());
        Self { path, name, serial: serial.to_owned(), vendor: 1, product: 2 }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} at {}", self.name, self.path.display())
    }
}

/// What is remembered of devices: whose turn it is on each, and which one signed with which key.
#[derive(Default)]
pub struct Devices {
    turns: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
    holders: Mutex<HashMap<Vec<u8>, Device>>,
    /// Those that showed their resident keys, while they are plugged in.
    shown: Mutex<HashSet<Device>>,
}

impl Devices {
    /// The turn on a device: one operation at a time, the others wait in the order in which they came.
    pub(super) fn turn(&self, device: &Device) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = lock(&self.turns);
        // Whoever waits or works holds a second reference.
        turns.retain(|path, turn| *path == device.path || Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(device.path.clone()).or_default())
    }

    /// Waits until nothing is under way on any device, and what was withdrawn is known to it.
    pub async fn quiet(&self) {
        let turns: Vec<_> = lock(&self.turns).values().cloned().collect();
        for turn in turns {
            drop(turn.lock().await);
        }
    }

    /// Whether this device has not been had to show its resident keys since it was plugged in; from now on it has.
    pub(super) fn is_to_show(&self, device: &Device) -> bool {
        let plugged = Device::all();
        let mut shown = lock(&self.shown);
        shown.retain(|known| plugged.contains(known));
        shown.insert(device.clone())
    }

    /// Remembers that a device holds a key.
    pub fn note_holder(&self, handle: &[u8], device: &Device) {
        lock(&self.holders).insert(handle.to_vec(), device.clone());
    }

    /// The device that held a key when it was last used.
    pub(super) fn holder(&self, handle: &[u8]) -> Option<Device> {
        lock(&self.holders).get(handle).cloned()
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
