//! The part of the configuration that says how decisions are recorded.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;

/// `[audit]`
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct AuditConfig {
    /// Where the log is.
    pub path: AuditPath,
    /// Refuse what cannot be recorded.
    pub required: bool,
    /// A file that has grown to this size is set aside, in MiB.
    pub size: NonZeroU32,
    /// How many files there are at most, the current one included.
    pub files: NonZeroU32,
}

/// Where the log is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum AuditPath {
    /// At the usual place.
    #[default]
    Usual,
    /// In this file.
    At(PathBuf),
    /// Nowhere.
    Off,
}

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    path: AuditPath,
    #[serde(default)]
    required: bool,
    size: Option<NonZeroU32>,
    files: Option<NonZeroU32>,
}

const USUAL_SIZE: NonZeroU32 = NonZeroU32::new(8).expect("not zero");
const USUAL_FILES: NonZeroU32 = NonZeroU32::new(5).expect("not zero");

impl Default for AuditConfig {
    fn default() -> Self {
        Self { path: AuditPath::Usual, required: false, size: USUAL_SIZE, files: USUAL_FILES }
    }
}

impl TryFrom<Written> for AuditConfig {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        if written.required && written.path == AuditPath::Off {
            return Err("required = true with path = \"off\" would refuse everything; choose one");
        }
        Ok(Self {
            path: written.path,
            required: written.required,
            size: written.size.unwrap_or(USUAL_SIZE),
            files: written.files.unwrap_or(USUAL_FILES),
        })
    }
}

impl TryFrom<String> for AuditPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match PathBuf::from(&text) {
            _ if text == "off" => Ok(Self::Off),
            path if path.is_absolute() => Ok(Self::At(path)),
            _ => Err(format!("{text:?} is neither an absolute path nor \"off\"")),
        }
    }
}

impl AuditPath {
    /// The file; none when nothing is recorded.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Usual => crate::audit::default_path(),
            Self::At(path) => Some(path.clone()),
            Self::Off => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn contradictions_and_nonsense_are_refused() {
        for text in ["required = true\npath = \"off\"", "path = \"here\"", "size = 0", "files = 0", "pth = \"/a\""] {
            assert!(Config::parse(&format!("[audit]\n{text}")).is_err(), "{text}");
        }
        let config = Config::parse("[audit]\npath = \"/var/log/a\"\nsize = 1").expect("valid").audit;
        assert_eq!(config.path.file().as_deref(), Some(std::path::Path::new("/var/log/a")));
    }
}
