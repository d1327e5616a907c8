//! The part of the configuration that says where certificates for keys on tokens are.

use std::path::PathBuf;

use serde::Deserialize;

use super::AbsolutePath;

/// `[certificates]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificatesConfig {
    /// The folder that they are in.
    folder: Option<AbsolutePath>,
}

impl CertificatesConfig {
    /// The folder; without one in the file it is the usual one.
    pub fn folder(&self) -> Option<PathBuf> {
        let usual = || crate::paths::config_home().map(|home| home.join("hardkey/certificates"));
        self.folder.as_ref().map(|folder| folder.0.clone()).or_else(usual)
    }
}
