//! Where things are, by the XDG base directory specification.

use std::env;
use std::path::{Path, PathBuf};

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

/// Puts the folder for run-time files in the place of a leading `%t`, as systemd does.
pub fn in_runtime_folder(path: &Path) -> PathBuf {
    match (path.strip_prefix("%t"), env::var_os("XDG_RUNTIME_DIR")) {
        (Ok(rest), Some(folder)) => Path::new(&folder).join(rest),
        _ => path.to_owned(),
    }
}

fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
