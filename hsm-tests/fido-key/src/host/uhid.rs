//! Keys in the kernel: `/dev/uhid` makes HID devices of them (Documentation/hid/uhid.rst), with nodes that are hidraw's own.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use fido_key::packet::{REPORT, Report};
use fido_key::{Device, PacketSender};

use super::Place;
use super::mock::{DESCRIPTOR, PRODUCT, VENDOR};

/// The types of events (linux/uhid.h).
mod event {
    pub(super) const DESTROY: u32 = 1;
    pub(super) const OUTPUT: u32 = 6;
    pub(super) const CREATE2: u32 = 11;
    pub(super) const INPUT2: u32 = 12;
}

/// The longest data of an event, and of a descriptor.
const ROOM: usize = 4096;
/// The longest event: its type, then that of `UHID_CREATE2`.
const EVENT: usize = 4 + 128 + 64 + 64 + 2 + 2 + 4 * 4 + ROOM;
/// USB, as `linux/input.h` numbers it.
const BUS: u16 = 3;
/// How long the kernel may take to make a node.
const SOON: Duration = Duration::from_secs(10);

/// The keys that the kernel has, by name.
#[derive(Default)]
pub(crate) struct Uhid {
    devices: HashMap<String, File>,
}

impl Place for Uhid {
    fn plug(&mut self, name: &str, key: &Device) -> io::Result<PathBuf> {
        let mut device = File::options().read(true).write(true).open("/dev/uhid")?;
        device.write_all(&create(name))?;
        let (sender, reports) = key.open().map_err(io::Error::other)?.split();
        let (reader, writer) = (device.try_clone()?, device.try_clone()?);
        thread::spawn(move || receive(reader, &sender));
        thread::spawn(move || send(writer, &reports));
        self.devices.insert(name.to_owned(), device);
        node(name)
    }

    fn unplug(&mut self, name: &str) {
        if let Some(mut device) = self.devices.remove(name) {
            // It cannot fail while the device is there.
            let _ = device.write_all(&event::DESTROY.to_ne_bytes());
        }
    }
}

fn create(name: &str) -> Vec<u8> {
    let mut octets = event::CREATE2.to_ne_bytes().to_vec();
    let mut text = |text: &str, room: usize| {
        let end = octets.len() + room;
        octets.extend(text.bytes().take(room - 1));
        octets.resize(end, 0);
    };
    text("hardkey software key", 128);
    text("", 64);
    text(name, 64);
    let size = u16::try_from(DESCRIPTOR.len()).unwrap_or_default();
    octets.extend(size.to_ne_bytes());
    octets.extend(BUS.to_ne_bytes());
    for number in [u32::from(VENDOR), u32::from(PRODUCT), 0, 0] {
        octets.extend(number.to_ne_bytes());
    }
    octets.extend(DESCRIPTOR);
    octets.resize(EVENT, 0);
    octets
}

/// Finds the node that the kernel made.
fn node(name: &str) -> io::Result<PathBuf> {
    let start = Instant::now();
    loop {
        for entry in fs::read_dir("/sys/class/hidraw").into_iter().flatten().flatten() {
            let uevent = fs::read_to_string(entry.path().join("device/uevent")).unwrap_or_default();
            let node = PathBuf::from("/dev").join(entry.file_name());
            if uevent.lines().any(|line| line.strip_prefix("HID_UNIQ=") == Some(name)) && node.exists() {
                return Ok(node);
            }
        }
        if start.elapsed() > SOON {
            return Err(io::Error::other("the kernel makes no node"));
        }
        // The kernel tells by netlink, which says no more than that it is time to look again.
        thread::sleep(Duration::from_millis(5));
    }
}

/// Carries packets from programs to the key, until the kernel forgets the device.
fn receive(mut reader: File, key: &PacketSender) {
    let mut octets = [0; EVENT];
    while let Ok(length) = reader.read(&mut octets) {
        let Some((kind, data)) = octets[..length].split_first_chunk() else { return };
        if u32::from_ne_bytes(*kind) != event::OUTPUT {
            continue;
        }
        // The data, then their size; in front the number of the report, which is 0.
        let Some((data, [low, high, ..])) = data.split_at_checked(ROOM) else { continue };
        let size = usize::from(u16::from_ne_bytes([*low, *high]));
        let mut report = [0; REPORT];
        if let Some(content) = data.get(size.saturating_sub(REPORT)..size)
            && content.len() == REPORT
        {
            report.copy_from_slice(content);
            key.send(report);
        }
    }
}

/// Carries the key's packets to the programs.
fn send(mut writer: File, reports: &Receiver<Report>) {
    while let Ok(report) = reports.recv() {
        let mut octets = event::INPUT2.to_ne_bytes().to_vec();
        octets.extend(u16::try_from(REPORT).unwrap_or_default().to_ne_bytes());
        octets.extend(report);
        octets.resize(EVENT, 0);
        if writer.write_all(&octets).is_err() {
            return;
        }
    }
}
