//! Which agent is under test.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static NAMED: OnceLock<PathBuf> = OnceLock::new();

/// The program under test: the one given to [`use_agent`], `$HARDKEY_BIN`, or `hardkey` in the build directory of the running test.
///
/// # Panics
/// When there is no such program: the harness builds nothing itself.
#[must_use]
pub fn agent_binary() -> PathBuf {
    let named = || env::var_os("HARDKEY_BIN").map(PathBuf::from);
    let path = NAMED.get().cloned().or_else(named).unwrap_or_else(|| build_directory().join("hardkey"));
    assert!(
        path.is_absolute() && path.is_file(),
        "no agent binary at {}: run cargo build first, or set HARDKEY_BIN to an absolute path",
        path.display()
    );
    path
}

/// Names the program under test, for programs that are told by their command line. The first one named stays.
pub fn use_agent(program: PathBuf) {
    let _ = NAMED.set(program);
}

/// Whether the program under test is OpenSSH's agent, which is told by its name.
#[must_use]
pub fn is_stock() -> bool {
    agent_binary().file_name().is_some_and(|name| name == "ssh-agent")
}

/// For the first line of a test about something OpenSSH's agent cannot do: true, and said in the output, when it is the one under test.
///
/// ```no_run
/// if hsm_tests::stock_cannot("read a configuration file") {
///     return;
/// }
/// ```
#[must_use]
pub fn stock_cannot(what: &str) -> bool {
    if is_stock() {
        eprintln!("skipped: stock ssh-agent cannot {what}");
    }
    is_stock()
}

/// `target/<profile>`, found from the own path: `target/<profile>/deps/<test>`, or `target/<profile>/<program>`.
pub(crate) fn build_directory() -> PathBuf {
    let test = env::current_exe().expect("path of the running test");
    let folder = test.parent().expect("a program lies in a folder");
    folder.parent().filter(|_| folder.ends_with("deps")).unwrap_or(folder).to_path_buf()
}

/// Where prepared tokens are kept between runs: beside the profiles in the target directory.
pub(crate) fn cache_directory() -> PathBuf {
    build_directory().parent().unwrap_or(Path::new("/")).join("hsm-templates")
}
