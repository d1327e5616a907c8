//! Modules that the system knows: p11-kit's module files (pkcs11.conf(5)).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where p11-kit looks for module files, the later the stronger.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/share/p11-kit/modules", "/etc/pkcs11/modules"];
/// The name by which module files may address this program.
const PROGRAM: &str = "hardkey";
/// p11-kit's own shims: they show other modules' tokens a second time.
const SHIMS: [&str; 2] = ["p11-kit-proxy.so", "p11-kit-client.so"];

/// The modules that hold keys, by the module files of the system and the user.
///
/// Left out: modules for certificates only (`trust-policy`), modules disabled for this program, p11-kit's own shims, and files that are
/// not there.
pub fn modules(user_folder: Option<&Path>) -> Vec<PathBuf> {
    let mut files: BTreeMap<std::ffi::OsString, BTreeMap<String, String>> = BTreeMap::new();
    let folders = SYSTEM_FOLDERS.iter().map(PathBuf::from).chain(user_folder.map(Path::to_owned));
    for folder in folders {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "module")
                && let (Some(name), Ok(text)) = (path.file_name(), fs::read_to_string(&path))
            {
                // A file in a stronger folder adds to the one of the same name.
                files.entry(name.to_owned()).or_default().extend(settings(&text));
            }
        }
    }
    let mut modules: Vec<PathBuf> = files.values().filter(|file| is_wanted(file)).filter_map(path_of).collect();
    modules.sort();
    modules.dedup();
    modules
}

fn settings(text: &str) -> impl Iterator<Item = (String, String)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once(':')?;
        (!name.starts_with('#')).then(|| (name.trim().to_owned(), value.trim().to_owned()))
    })
}

fn is_wanted(file: &BTreeMap<String, String>) -> bool {
    let names_us = |list: &String| list.split([',', ' ']).any(|name| name.trim() == PROGRAM);
    file.get("trust-policy").is_none_or(|value| value != "yes")
        && file.get("enable-in").is_none_or(names_us)
        && !file.get("disable-in").is_some_and(names_us)
}

fn path_of(file: &BTreeMap<String, String>) -> Option<PathBuf> {
    let module = Path::new(file.get("module")?);
    if SHIMS.iter().any(|shim| module.ends_with(shim)) {
        return None;
    }
    if module.is_absolute() {
        return fs::canonicalize(module).ok();
    }
    module_folders().into_iter().find_map(|folder| fs::canonicalize(folder.join(module)).ok())
}

/// Where p11-kit resolves relative module names: `pkcs11/` below the library folder of this machine.
fn module_folders() -> Vec<PathBuf> {
    // Debian's names for machines (multiarch tuples), which for some are not Rust's.
    let machine = match std::env::consts::ARCH {
        "x86" => "i386-linux-gnu".to_owned(),
        "arm" => "arm-linux-gnueabihf".to_owned(),
        arch => format!("{arch}-linux-gnu"),
    };
    let multiarch = format!("/usr/lib/{machine}/pkcs11");
    [multiarch.as_str(), "/usr/lib64/pkcs11", "/usr/lib/pkcs11"].map(PathBuf::from).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> BTreeMap<String, String> {
        settings(text).collect()
    }

    #[test]
    fn modules_for_certificates_and_for_others_are_left_out() {
        assert!(is_wanted(&file("# comment\nmodule: a.so\n")));
        assert!(!is_wanted(&file("module: a.so\ntrust-policy: yes\n")));
        assert!(!is_wanted(&file("module: a.so\nenable-in: firefox, chrome\n")));
        assert!(is_wanted(&file("module: a.so\nenable-in: firefox, hardkey\n")));
        assert!(!is_wanted(&file("module: a.so\ndisable-in: hardkey\n")));
    }

    #[test]
    fn shims_and_missing_files_are_left_out() {
        assert_eq!(path_of(&file("module: /usr/lib/pkcs11/p11-kit-client.so")), None);
        assert_eq!(path_of(&file("module: /nowhere/at/all.so")), None);
        assert_eq!(path_of(&file("priority: 1")), None);
    }
}
