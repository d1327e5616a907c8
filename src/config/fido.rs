//! The part of the configuration that names keys on security keys.

use std::path::PathBuf;

use serde::Deserialize;

/// `[fido]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FidoConfig {
    /// The files of keys, as `ssh-keygen` makes them; the public or the private one of each.
    #[serde(default)]
    pub keys: Vec<KeyPath>,
}

/// The absolute path of a key's file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PathBuf")]
pub struct KeyPath(pub PathBuf);

impl TryFrom<PathBuf> for KeyPath {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, String> {
        match path.is_absolute() {
            true => Ok(Self(path)),
            false => Err(format!("{} is not an absolute path", path.display())),
        }
    }
}
