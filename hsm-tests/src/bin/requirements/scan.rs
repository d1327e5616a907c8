//! All Rust files of the source tree and what they cite.

use std::fs;
use std::path::Path;

use crate::citation::{self, Citation};

/// Where code and tests are.
const DIRECTORIES: [&str; 3] = ["src", "tests", "hsm-tests"];

/// The citations below `root`, by file and line.
pub(crate) fn citations(root: &Path) -> Result<Vec<Citation>, String> {
    let mut citations = Vec::new();
    for directory in DIRECTORIES {
        walk(root, Path::new(directory), &mut citations)?;
    }
    Ok(citations)
}

fn walk(root: &Path, directory: &Path, citations: &mut Vec<Citation>) -> Result<(), String> {
    let explain = |error| format!("{}: {error}", root.join(directory).display());
    let entries = fs::read_dir(root.join(directory)).map_err(explain)?;
    let mut names =
        entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>().map_err(explain)?;
    names.sort();
    for name in names {
        let path = directory.join(name);
        // This program speaks of citations without citing.
        if root.join(&path).is_dir() && !path.ends_with("src/bin/requirements") {
            walk(root, &path, citations)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(root.join(&path)).map_err(|error| format!("{}: {error}", path.display()))?;
            citations.extend(citation::find(&path.to_string_lossy(), &text)?);
        }
    }
    Ok(())
}
