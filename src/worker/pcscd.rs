//! Whether the module takes its tokens from readers, and by which `pcscd`.

use std::path::PathBuf;

/// The client library of `pcscd`, whichever version.
const LIBRARY: &str = "/libpcsclite.so";
/// The library's own names for where the service listens.
const VARIABLE: &str = "PCSCLITE_CSOCK_NAME";
const USUAL: &str = "/run/pcscd/pcscd.comm";

/// Where the service listens that the module speaks to, as the client library would find it; `None` when the module has not loaded that.
pub(super) fn socket() -> Option<PathBuf> {
    let loaded = std::fs::read_to_string("/proc/self/maps").ok()?;
    loaded.lines().any(|line| line.contains(LIBRARY)).then(|| {
        let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        named.map_or_else(|| PathBuf::from(USUAL), PathBuf::from)
    })
}
