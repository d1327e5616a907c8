//! Where things are, by the XDG base directory specification.

use std::env;
use std::path::PathBuf;

/// The user's home: `$HOME`, when absolute.
pub fn home() -> Option<PathBuf> {
    absolute("HOME")
}

/// `$XDG_CONFIG_HOME`, else `~/.config`.
pub fn config_home() -> Option<PathBuf> {
    absolute("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")))
}

/// `$XDG_STATE_HOME`, else `~/.local/state`.
pub fn state_home() -> Option<PathBuf> {
    absolute("XDG_STATE_HOME").or_else(|| Some(home()?.join(".local/state")))
}

/// The folder for sockets: below `$XDG_RUNTIME_DIR`, else one of the user's own below the folder for temporary files.
pub fn runtime() -> PathBuf {
    match absolute("XDG_RUNTIME_DIR") {
        Some(folder) => folder.join("hardkey"),
        None => env::temp_dir().join(format!("hardkey-{}", rustix::process::getuid().as_raw())),
    }
}

fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
