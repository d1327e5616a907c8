//! Security keys' keys that nobody added: those that live on a device that is plugged in and showed them once, and those that the
//! configuration names by their files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::certificates::of_line;
use crate::backend::Signer;
use crate::backend::fido::{Device, FidoKey, Handle, Helpers, Remembered};
use crate::keyring::{Identity, Keyring, Names, Provider};
use crate::protocol::Malformed;
use crate::protocol::key_file::private_section;
use crate::protocol::private_key::PrivateKey;
use crate::protocol::public_key::PublicKey;
use crate::protocol::wire::Reader;

/// The provider that resident keys are kept under; no path of a module looks so.
const PROVIDER: &str = "security keys";

/// The resident keys that are listed now.
#[derive(Default)]
pub(super) struct Residents(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    file: Option<SystemTime>,
    remembered: Remembered,
    plugged: Vec<Device>,
}

impl Residents {
    /// Looks whether devices or what is remembered of them changed, and has the keyring show what there is. Without anything remembered
    /// this is one look for a file.
    pub(super) fn refresh(&self, keyring: &Mutex<Keyring>, helpers: &Helpers) {
        let Some(file) = Remembered::file() else { return };
        let changed = Remembered::changed(&file);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.is_none() && seen.file.is_none() {
            return;
        }
        let plugged = Device::all();
        if changed == seen.file && plugged == seen.plugged {
            return;
        }
        if changed != seen.file {
            seen.file = changed;
            seen.remembered = Remembered::read(&file).unwrap_or_else(|error| {
                tracing::warn!("{}: {error}", file.display());
                Remembered::default()
            });
        }
        seen.plugged = plugged;
        let provider: Provider = PROVIDER.into();
        let keys = seen.remembered.keys_on(&seen.plugged).into_iter();
        let identities = keys.filter_map(|(public, handle, device)| {
            if let Some(device) = device {
                helpers.devices.note_holder(handle.id(), &device);
            }
            let signer = Arc::new(FidoKey::new(handle.clone(), helpers.clone()).ok()?);
            Some(identity(public, handle.comment(), signer, Some(Arc::clone(&provider))))
        });
        let identities = identities.collect();
        keyring.lock().unwrap_or_else(PoisonError::into_inner).replace_provider(&provider, identities);
    }
}

/// The keys that the configuration names, with their certificates. A file that cannot be used is named in the log, and the others are
/// served.
pub(super) fn configured(files: &[PathBuf], helpers: &Helpers) -> Vec<Identity> {
    let mut identities = Vec::new();
    for file in files {
        // Either of the two names the key.
        let file =
            if file.extension().is_some_and(|end| end == "pub") { file.with_extension("") } else { file.clone() };
        match read(&file, helpers) {
            Ok(found) => identities.extend(found),
            Err(error) => tracing::warn!("security key {}: {error}", file.display()),
        }
    }
    identities
}

fn read(file: &Path, helpers: &Helpers) -> Result<Vec<Identity>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let section = private_section(&text).map_err(|error| error.to_string())?;
    let malformed = |error: Malformed| error.to_string();
    let mut reader = Reader::new(&section);
    let key = PrivateKey::read(&mut reader).map_err(malformed)?;
    let comment = reader.string().map_err(malformed)?.to_vec();
    let handle = Handle::new(&key, &comment).map_err(malformed)?;
    let signer: Arc<dyn Signer> = Arc::new(FidoKey::new(handle, helpers.clone()).map_err(malformed)?);
    let certificate = certificate(file).filter(|certificate| certificate.material() == key.public.material());
    let publics = std::iter::once(key.public).chain(certificate);
    let comment = String::from_utf8_lossy(&comment).into_owned();
    Ok(publics.map(|public| identity(public, &comment, Arc::clone(&signer), None)).collect())
}

/// The certificate beside a key, as `ssh` looks for it.
fn certificate(file: &Path) -> Option<PublicKey> {
    let mut name = file.as_os_str().to_owned();
    name.push("-cert.pub");
    let line = std::fs::read_to_string(name).ok()?;
    of_line(&line).ok().filter(|public| public.certificate().is_some())
}

fn identity(public: PublicKey, comment: &str, signer: Arc<dyn Signer>, provider: Option<Provider>) -> Identity {
    let comment = comment.as_bytes().to_vec();
    Identity {
        public,
        comment,
        signer,
        provider,
        confirm: false,
        destinations: Arc::default(),
        expires: None,
        names: Names::default(),
    }
}
