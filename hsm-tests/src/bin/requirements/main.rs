//! Which sentences of RFC 9987 hardkey obeys, and where: reads `docs/rfc9987-requirements.toml` and the citations in code and tests.
//!
//!     requirements [--all] [DIRECTORY]
//!
//! Prints what is missing or wrong, with `--all` also every sentence with its places. Exits with 1 if anything is missing or wrong.
//! DIRECTORY is the root of the source tree, by default the one this program was built from.

mod citation;
mod coverage;
mod scan;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use coverage::Coverage;

const REQUIREMENTS: &str = "docs/rfc9987-requirements.toml";

fn main() -> ExitCode {
    let (mut all, mut root) = (false, Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    for argument in std::env::args_os().skip(1) {
        if argument == "--all" {
            all = true;
        } else {
            root = PathBuf::from(argument);
        }
    }
    match judge(&root) {
        Ok(coverage) => report(&coverage, all),
        Err(error) => {
            eprintln!("requirements: {error}");
            ExitCode::from(2)
        }
    }
}

fn judge(root: &Path) -> Result<Coverage, String> {
    let file = root.join(REQUIREMENTS);
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let requirements = coverage::parse(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Coverage::new(requirements, scan::citations(root)?))
}

#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
fn report(coverage: &Coverage, all: bool) -> ExitCode {
    if all {
        println!("{}", coverage.table());
    }
    let complaints = coverage.complaints();
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("{}", coverage.summary());
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
