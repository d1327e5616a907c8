//! Prepared tokens, made once and copied for every test: making RSA keys anew each time would cost seconds.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binary::cache_directory;

/// The PIN of every template; it is part of the key material, so copies have it too.
///
/// Telling enough to be looked for in logs, and with a sign that Assuan has to escape.
pub(crate) const PIN: &str = "Quagga-4%7";

/// The label of every template's token.
pub(crate) const LABEL: &str = "hardkey-test";

/// A directory made by `softhsm/provision.sh` with these keys (words of its `--keys`), not to be changed.
pub(crate) fn template(keys: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../softhsm/provision.sh");
    made_once(&keys.replace(',', "-"), &script, |folder| {
        let output = Command::new(&script)
            .arg(folder)
            .args(["--label", LABEL, "--pin", PIN, "--keys", keys])
            .output()
            .unwrap_or_else(|error| panic!("run {}: {error}", script.display()));
        assert!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    })
}

/// A directory that is made by the first test that wants it, and once more when the script changes that fills it; not to be changed.
pub(crate) fn made_once(name: &str, script: &Path, make: impl FnOnce(&Path)) -> PathBuf {
    let cache = cache_directory();
    fs::create_dir_all(&cache).unwrap_or_else(|error| panic!("make {}: {error}", cache.display()));
    let ready = cache.join(format!("{name}-{:016x}", fingerprint(script)));

    // Tests of several processes may want the same template at once: one makes it, the others wait here.
    let lock = cache.join(format!(".{name}.lock"));
    let lock = File::create(&lock).unwrap_or_else(|error| panic!("lock {}: {error}", lock.display()));
    lock.lock().unwrap_or_else(|error| panic!("lock {name}: {error}"));
    if !ready.exists() {
        let unfinished = ready.with_extension("new");
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir(&unfinished).unwrap_or_else(|error| panic!("make {}: {error}", unfinished.display()));
        make(&unfinished);
        fs::rename(&unfinished, &ready).unwrap_or_else(|error| panic!("keep {}: {error}", ready.display()));
    }
    ready
}

/// Copies files and directories with their modes.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Changes with the script, so that an old template is not taken for a new one.
fn fingerprint(script: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    fs::read(script).unwrap_or_else(|error| panic!("read {}: {error}", script.display())).hash(&mut hasher);
    hasher.finish()
}
