//! Whether the module takes its tokens from readers. By which `pcscd` is the agent's to know: a module could name it any socket.

/// The client library of `pcscd`, whichever version.
const LIBRARY: &str = "/libpcsclite.so";

/// Whether the module has loaded the client library of `pcscd`.
pub(super) fn is_used() -> bool {
    std::fs::read_to_string("/proc/self/maps").is_ok_and(|loaded| loaded.lines().any(|line| line.contains(LIBRARY)))
}
