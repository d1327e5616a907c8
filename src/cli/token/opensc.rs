//! What is peculiar to OpenSC: it sets PINs anew by the PUK, and only if its configuration says by which of three ways (opensc.conf(5),
//! `user_pin_unblock_style`).

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use rustix::fs::MemfdFlags;

use crate::backend::pkcs11::ModuleSpec;
use crate::ipc::token::TokenState;

const CONFIGURATION: &str = "OPENSC_CONF";
const USUAL: &str = "/etc/opensc/opensc.conf";
/// Stands before what the user has: of several such blocks the first one counts.
const STYLE: &str = "app opensc-pkcs11 { pkcs11 { user_pin_unblock_style = set_pin_in_unlogged_session; } }\n";

/// Whether a module is OpenSC's, by what it says of its maker.
pub(super) fn is_maker(maker: &str) -> bool {
    maker.starts_with("OpenSC")
}

/// Whether a token is a PIV card as OpenSC shows it.
pub(super) fn is_piv(token: &TokenState) -> bool {
    token.seen.name.manufacturer.starts_with("piv")
}

/// A configuration in memory, which the worker inherits.
pub(super) struct Configuration(File);

impl Configuration {
    /// The user's, and that PINs may be set by the PUK.
    pub(super) fn with_puk(spec: &ModuleSpec) -> Result<Self, String> {
        let named = spec.env.iter().find(|(name, _)| name == CONFIGURATION).map(|(_, value)| value.into());
        let named = named.or_else(|| std::env::var_os(CONFIGURATION)).unwrap_or_else(|| USUAL.into());
        let users = std::fs::read_to_string(named).unwrap_or_default();
        let fail = |error: std::io::Error| format!("cannot tell OpenSC to use the PUK: {error}");
        // Not closed by exec: the one process that is started while it lives is the worker.
        let memory = rustix::fs::memfd_create("opensc.conf", MemfdFlags::empty());
        let mut file = File::from(memory.map_err(|error| fail(error.into()))?);
        file.write_all(format!("{STYLE}{users}").as_bytes()).map_err(fail)?;
        Ok(Self(file))
    }

    /// The variable that leads the worker there.
    pub(super) fn variable(&self) -> (String, String) {
        (CONFIGURATION.to_owned(), format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}
