//! Files of the user's state: small, JSON, written whole or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// More than any state needs, and less than what would be a burden, in octets.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Reads a file; a missing one has nothing.
///
/// # Errors
/// It cannot be read, others may write it, or it is not what this program wrote.
pub fn read<T: DeserializeOwned + Default>(file: &Path) -> io::Result<T> {
    let metadata = match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        metadata => metadata?,
    };
    if metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write it; chmod go-w it"));
    }
    if metadata.len() > LARGEST {
        return Err(io::Error::other("it is too long; remove it"));
    }
    serde_json::from_slice(&fs::read(file)?).map_err(io::Error::from)
}

/// Writes a file that only its owner reads, with its folder.
///
/// # Errors
/// It cannot be written, or would be too long to be read again; the one before is still there.
pub fn write(file: &Path, content: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(content)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("there is more to remember than fits into it"));
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    replace(file, &text, 0o600)
}

/// Puts a file with this content in the place of the one before, in one step.
///
/// # Errors
/// It cannot be written; the one before is still there.
pub fn replace(file: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new);
    let written = written.and_then(|mut open| {
        open.write_all(content)?;
        open.sync_all()?;
        fs::rename(&new, file)
    });
    if written.is_err() {
        drop(fs::remove_file(&new));
    }
    written
}
