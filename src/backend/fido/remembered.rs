//! Resident keys that devices showed once, when their PIN was given, so that they are listed without one from then on.
//!
//! A file of the user's state. It holds no secret: public keys and handles, which sign nothing without their device.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64ct::{Base64, Encoding as _};
use serde::{Deserialize, Serialize};

use super::device::Device;
use super::key::Handle;
use crate::ipc::fido::Resident;
use crate::protocol::public_key::{KeyMaterial, PublicKey};

/// More than any device holds, and less than what would be a burden.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;
/// The user of a resident key that nobody named (`ssh-keygen`).
const NOBODY: &str = "openssh";

/// What is remembered of all devices.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Remembered {
    keys: Vec<RememberedKey>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RememberedKey {
    vendor: u16,
    product: u16,
    serial: String,
    /// The public key's blob, in base64.
    public: String,
    /// The credential id, in base64.
    handle: String,
    comment: String,
    verify: bool,
}

impl Remembered {
    /// The usual file; `None` without a home.
    pub fn file() -> Option<PathBuf> {
        Some(crate::paths::state_home()?.join("hardkey/security-keys.json"))
    }

    /// When the file was last written; `None` when there is none.
    pub fn changed(file: &Path) -> Option<SystemTime> {
        fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
    }

    /// Reads the file; a missing one has nothing.
    ///
    /// # Errors
    /// It cannot be read, others may write it, or it is not what this program wrote.
    pub fn read(file: &Path) -> io::Result<Self> {
        let metadata = match fs::metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            metadata => metadata?,
        };
        if metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("others may write it; chmod go-w it"));
        }
        if metadata.len() > LARGEST_FILE {
            return Err(io::Error::other("it is too long; remove it"));
        }
        serde_json::from_slice(&fs::read(file)?).map_err(io::Error::from)
    }

    /// Takes over what a device showed: all that there is on it. Two devices of one kind without serial numbers are one here, so what
    /// only one of them showed is kept until it is deleted.
    pub fn note(&mut self, device: &Device, shown: &[Resident]) {
        let id = device.id();
        self.keys.retain(|known| known.id() != id || device.serial.is_empty());
        for resident in shown {
            let Some(material) = resident.material() else { continue };
            let public = Base64::encode_string(PublicKey::from_material(material).blob());
            self.keys.retain(|known| known.public != public);
            let (vendor, product, serial) = (id.0, id.1, id.2.to_owned());
            let comment = match resident.user.as_str() {
                "" | NOBODY => resident.application.clone(),
                user => format!("{} {user}", resident.application),
            };
            let (handle, verify) = (Base64::encode_string(&resident.handle), resident.hidden);
            self.keys.push(RememberedKey { vendor, product, serial, public, handle, comment, verify });
        }
    }

    /// Forgets a key that was deleted.
    pub fn forget(&mut self, handle: &[u8]) {
        let handle = Base64::encode_string(handle);
        self.keys.retain(|known| known.handle != handle);
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written, or devices showed more than there could be on any.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(io::Error::other("the devices show more keys than can be remembered"));
        }
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        // Of this process: the agent and a command may write at the same time.
        let new = file.with_extension(format!("{}.new", std::process::id()));
        let mut open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        open.write_all(&text)?;
        fs::rename(&new, file)
    }

    /// The keys that are on one of these devices, with the device where its serial number tells which one that is.
    pub fn keys_on(&self, plugged: &[Device]) -> Vec<(PublicKey, Handle, Option<Device>)> {
        let on = |key: &RememberedKey| {
            let device = plugged.iter().find(|device| device.id() == key.id())?;
            let (public, handle) = key.parse()?;
            Some((public, handle, (!device.serial.is_empty()).then(|| device.clone())))
        };
        self.keys.iter().filter_map(on).collect()
    }

    /// Changes the usual file, if there is a home for it.
    ///
    /// # Errors
    /// As [`Self::read`] and [`Self::write`], with the file's name.
    pub fn update(change: impl FnOnce(&mut Self)) -> Result<(), String> {
        let Some(file) = Self::file() else { return Ok(()) };
        let written = Self::read(&file).and_then(|mut remembered| {
            change(&mut remembered);
            remembered.write(&file)
        });
        written.map_err(|error| format!("{}: {error}; the agent will not list resident keys", file.display()))
    }
}

impl RememberedKey {
    fn id(&self) -> (u16, u16, &str) {
        (self.vendor, self.product, &self.serial)
    }

    fn parse(&self) -> Option<(PublicKey, Handle)> {
        let public = PublicKey::from_blob(&Base64::decode_vec(&self.public).ok()?).ok()?;
        let handle = Handle::of_resident(&public, Base64::decode_vec(&self.handle).ok()?, self.verify, &self.comment)?;
        Some((public, handle))
    }
}

impl Resident {
    /// The key as SSH has it; `None` if the device's numbers make none.
    pub fn material(&self) -> Option<KeyMaterial> {
        KeyMaterial::of_security_key(self.is_ed25519, &self.public, &self.application)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident(number: u8, user: &str) -> Resident {
        Resident {
            application: "ssh:work".to_owned(),
            handle: vec![number; 8],
            is_ed25519: true,
            public: vec![number; 32],
            user: user.to_owned(),
            hidden: false,
        }
    }

    fn comments(remembered: &Remembered, plugged: &[Device]) -> Vec<String> {
        remembered.keys_on(plugged).into_iter().map(|(_, handle, _)| handle.comment).collect()
    }

    #[test]
    fn a_device_shows_what_it_showed_last_and_only_while_it_is_plugged_in() {
        let (one, other) = (Device::example("1"), Device::example("2"));
        let mut remembered = Remembered::default();
        remembered.note(&one, &[resident(1, "openssh"), resident(2, "ada")]);
        remembered.note(&other, &[resident(3, "eve")]);
        assert_eq!(comments(&remembered, std::slice::from_ref(&one)), ["ssh:work", "ssh:work ada"]);
        assert_eq!(comments(&remembered, &[]), [""; 0]);
        remembered.note(&one, &[resident(2, "ada")]);
        assert_eq!(comments(&remembered, &[one.clone(), other.clone()]), ["ssh:work eve", "ssh:work ada"]);
        let holders = remembered.keys_on(&[one.clone(), other.clone()]).into_iter().map(|(_, _, device)| device);
        assert_eq!(holders.collect::<Vec<_>>(), [Some(other), Some(one)]);
    }

    #[test]
    fn devices_that_cannot_be_told_apart_keep_each_others_keys() {
        let nameless = Device::example("");
        let mut remembered = Remembered::default();
        remembered.note(&nameless, &[resident(1, "ada")]);
        remembered.note(&nameless, &[resident(2, "eve")]);
        remembered.forget(&[1; 8]);
        let left = remembered.keys_on(&[nameless]);
        assert_eq!(left.len(), 1);
        assert!(matches!(&left[0], (_, handle, None) if handle.comment == "ssh:work eve"), "whose it is nobody knows");
    }

    #[test]
    fn a_device_that_shows_too_much_spoils_nothing() {
        let folder = std::env::temp_dir().join(format!("hardkey-remembered-much-{}", std::process::id()));
        let file = folder.join("security-keys.json");
        let mut remembered = Remembered::default();
        remembered.note(&Device::example("1"), &[resident(1, "ada")]);
        remembered.write(&file).expect("write");
        remembered.note(&Device::example("2"), &[resident(2, &"a".repeat(5 << 20))]);
        assert!(remembered.write(&file).is_err());
        assert_eq!(Remembered::read(&file).map(|read| read.keys.len()).ok(), Some(1));
        fs::remove_dir_all(&folder).expect("tidy up");
    }

    #[test]
    fn the_file_reads_back_and_nobody_elses_file_is_believed() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("hardkey-remembered-{}", std::process::id()));
        let file = folder.join("security-keys.json");
        let device = Device::example("1");
        let mut remembered = Remembered::default();
        remembered.note(&device, &[resident(1, "ada")]);
        remembered.write(&file).expect("write");
        let read = Remembered::read(&file).expect("read");
        assert_eq!(comments(&read, &[device]), ["ssh:work ada"]);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("chmod");
        assert!(Remembered::read(&file).is_err());
        fs::remove_dir_all(&folder).expect("tidy up");
        assert!(Remembered::read(&file).is_ok_and(|nothing| nothing.keys.is_empty()));
    }
}
