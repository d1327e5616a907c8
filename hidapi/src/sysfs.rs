//! Which FIDO devices are plugged in, as the kernel tells it in `/sys/class/hidraw`.

use std::ffi::{CStr, CString};
use std::fs;
use std::path::Path;

use crate::FIDO_USAGE_PAGE;

const CLASS: &str = "/sys/class/hidraw";
/// The longest report descriptor that the kernel takes (`HID_MAX_DESCRIPTOR_SIZE`).
const LONGEST_DESCRIPTOR: usize = 4096;

/// A FIDO device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    path: CString,
    vendor: u16,
    product: u16,
    name: Option<String>,
    serial: Option<String>,
    usage: u16,
}

impl DeviceInfo {
    /// Its file below `/dev`.
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// USB vendor.
    pub const fn vendor_id(&self) -> u16 {
        self.vendor
    }

    /// USB product.
    pub const fn product_id(&self) -> u16 {
        self.product
    }

    /// The name that it gives itself.
    pub fn product_string(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The serial number, where it tells one.
    pub fn serial_number(&self) -> Option<&str> {
        self.serial.as_deref()
    }

    /// [`FIDO_USAGE_PAGE`].
    pub const fn usage_page(&self) -> u16 {
        FIDO_USAGE_PAGE
    }

    /// The usage on that page.
    pub const fn usage(&self) -> u16 {
        self.usage
    }
}

/// The FIDO devices there are, in the order of their files' names. What cannot be read is not there.
pub(crate) fn devices() -> Vec<DeviceInfo> {
    let Ok(entries) = fs::read_dir(CLASS) else { return Vec::new() };
    let mut found: Vec<_> = entries.filter_map(|entry| device(&entry.ok()?.path())).collect();
    found.sort_by(|one, other| (one.path.as_bytes().len(), &one.path).cmp(&(other.path.as_bytes().len(), &other.path)));
    found
}

fn device(folder: &Path) -> Option<DeviceInfo> {
    let descriptor = fs::read(folder.join("device/report_descriptor")).ok()?;
    let usage = fido_usage(&descriptor)?;
    let name = folder.file_name()?.to_str()?;
    let event = fs::read_to_string(folder.join("device/uevent")).unwrap_or_default();
    let field = |key: &str| {
        let value = event.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.map(str::trim).filter(|value| !value.is_empty())
    };
    // HID_ID=0003:00001050:00000407: bus, vendor, product (the kernel's hid-core).
    let mut id = field("HID_ID").unwrap_or_default().split(':').skip(1);
    let mut number = || id.next().and_then(|text| u32::from_str_radix(text, 16).ok()?.try_into().ok()).unwrap_or(0);
    Some(DeviceInfo {
        path: CString::new(format!("/dev/{name}")).ok()?,
        vendor: number(),
        product: number(),
        name: field("HID_NAME").map(str::to_owned),
        serial: field("HID_UNIQ").map(str::to_owned),
        usage,
    })
}

/// The usage of a FIDO device's first collection; `None` for other devices. Items as in the HID specification 1.11, section 6.2.2.
fn fido_usage(descriptor: &[u8]) -> Option<u16> {
    let mut rest = descriptor.get(..descriptor.len().min(LONGEST_DESCRIPTOR))?;
    let mut page = 0;
    while let Some((&prefix, tail)) = rest.split_first() {
        if prefix == 0xfe {
            // A long item: its length, its tag, its data.
            let length = usize::from(*tail.first()?);
            rest = tail.get(2 + length..)?;
            continue;
        }
        let size = [0, 1, 2, 4][usize::from(prefix & 3)];
        let data = tail.get(..size)?;
        rest = &tail[size..];
        let value = data.iter().rev().fold(0_u32, |value, octet| value << 8 | u32::from(*octet));
        match prefix & 0xfc {
            0x04 => page = value,
            // A usage of four octets names its page itself.
            0x08 if size == 4 && value >> 16 == u32::from(FIDO_USAGE_PAGE) => {
                return u16::try_from(value & 0xffff).ok();
            }
            0x08 if size < 4 && page == u32::from(FIDO_USAGE_PAGE) => return u16::try_from(value).ok(),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fido_device_is_known_by_its_usage_page() {
        let fido = [0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20];
        assert_eq!(fido_usage(&fido), Some(1));
        let keyboard = [0x05, 0x01, 0x09, 0x06, 0xa1, 0x01];
        assert_eq!(fido_usage(&keyboard), None);
        assert_eq!(fido_usage(&[0x0b, 0x01, 0x00, 0xd0, 0xf1]), Some(1), "page and usage in one item");
    }

    #[test]
    fn a_descriptor_that_ends_early_is_nobodys() {
        for cut in [&[0x06, 0xd0][..], &[0xfe], &[0xfe, 0xff, 0], &[0x06, 0xd0, 0xf1, 0x09], &[]] {
            assert_eq!(fido_usage(cut), None, "{cut:02x?}");
        }
    }
}
