//! Messages on a channel of our own (CTAPHID, CTAP 2.1 section 11.2), for what `ctap-hid-fido2` has no call for: U2F, the capabilities of
//! a device, and the choice by touch on devices before CTAP 2.1.

use std::ffi::CStr;

use hidapi::{Fault, HidDevice, REPORT, Report};

const BROADCAST: [u8; 4] = [0xff; 4];
const INIT: u8 = 0x86;
/// `CAPABILITY_CBOR`
const SPEAKS_CBOR: u8 = 0x04;
/// A U2F message.
pub(super) const MSG: u8 = 0x83;
/// A CTAP2 command.
pub(super) const CBOR: u8 = 0x90;

/// An open device with a channel.
pub(super) struct Wire {
    device: HidDevice,
    id: [u8; 4],
    capabilities: u8,
}

impl Wire {
    /// Opens a device and a channel on it.
    pub(super) fn open(path: &CStr) -> Result<Self, Fault> {
        let device = HidDevice::open(path)?;
        let mut nonce = [0; 8];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Fault::Kernel("there are no random numbers".to_owned()))?;
        let mut wire = Self { device, id: BROADCAST, capabilities: 0 };
        let answer = wire.transact(INIT, &nonce)?;
        let id = answer.get(8..12).and_then(|id| id.try_into().ok());
        let (Some(id), Some(&capabilities)) = (id, answer.get(16)) else { return Err(Fault::Garbled) };
        (wire.id, wire.capabilities) = (id, capabilities);
        Ok(wire)
    }

    /// Whether the device speaks CTAP2, and not U2F alone.
    pub(super) const fn speaks_cbor(&self) -> bool {
        self.capabilities & SPEAKS_CBOR != 0
    }

    /// Sends a message and returns the answer.
    pub(super) fn transact(&self, command: u8, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let length = u16::try_from(message.len()).map_err(|_| Fault::Garbled)?;
        let head = [&[command][..], &length.to_be_bytes()].concat();
        let (first, mut rest) = message.split_at(message.len().min(REPORT - 4 - head.len()));
        self.write(&head, first)?;
        let mut sequence = 0;
        while !rest.is_empty() {
            let (part, later) = rest.split_at(rest.len().min(REPORT - 5));
            self.write(&[sequence], part)?;
            (rest, sequence) = (later, sequence + 1);
        }
        let report = self.read()?;
        let length = usize::from(u16::from_be_bytes([report[5], report[6]]));
        let mut answer = report[7..].to_vec();
        while answer.len() < length {
            answer.extend_from_slice(&self.read()?[5..]);
        }
        answer.truncate(length);
        Ok(answer)
    }

    /// Waits a moment, before a device is asked once more that does not say by itself when it was touched.
    pub(super) fn pause(&self) -> Result<(), Fault> {
        self.device.pause()
    }

    fn write(&self, head: &[u8], payload: &[u8]) -> Result<(), Fault> {
        let mut report = [0; REPORT + 1];
        report[1..5].copy_from_slice(&self.id);
        report[5..5 + head.len()].copy_from_slice(head);
        report[5 + head.len()..][..payload.len()].copy_from_slice(payload);
        self.device.write(&report).map(drop)
    }

    fn read(&self) -> Result<Report, Fault> {
        let mut report = [0; REPORT];
        self.device.read(&mut report)?;
        Ok(report)
    }
}
