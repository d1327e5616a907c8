//! The administrator's floor: rules for every user of the machine, which users can add to and not take from.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::rules::{RuleSection, Source, global};
use super::{BadConfig, line_at};
use crate::policy::{Administrator, Rule};

/// Where the floor is.
pub const PATH: &str = "/etc/hardkey/config.toml";
/// Names one more file of the same kind. It adds, as every rule does: the file in `/etc` counts whatever this says.
const MORE: &str = "HARDKEY_FLOOR";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Floor {
    #[serde(default, rename = "rule")]
    rules: Vec<Spanned<RuleSection>>,
}

/// Reads the floor. A file that is there and cannot be used is no floor that may be left out: then nothing is signed.
#[must_use]
pub fn read() -> Administrator {
    let more = std::env::var_os(MORE).filter(|path| !path.is_empty());
    let files = std::iter::once((Path::new(PATH), true)).chain(more.iter().map(|path| (Path::new(path), false)));
    let mut floors = Vec::new();
    for (path, of_root) in files {
        match load(path, of_root) {
            Ok(rules) => floors.extend(rules),
            Err(reason) => {
                let reason = format!("the administrator's file {} cannot be used: {reason}", path.display());
                return Administrator::Unknown(reason.into());
            }
        }
    }
    Administrator::Rules(floors)
}

/// The rules of a file; none if there is no file.
fn load(path: &Path, of_root: bool) -> Result<Option<Vec<Rule>>, String> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(_) => {}
    }
    if of_root {
        for place in [Some(path), path.parent()].into_iter().flatten() {
            let metadata = std::fs::metadata(place).map_err(|error| error.to_string())?;
            sound(metadata.uid(), metadata.mode()).map_err(|fault| format!("{} {fault}", place.display()))?;
        }
    }
    let text = super::read_text(path)?;
    parse(&text, &path.display().to_string().into()).map(Some).map_err(|error| error.to_string())
}

/// Whether only root can have written a file or folder.
fn sound(owner: u32, mode: u32) -> Result<(), &'static str> {
    match (owner, mode & 0o022) {
        (0, 0) => Ok(()),
        (0, _) => Err("may be written by others than root; chmod go-w it"),
        _ => Err("does not belong to root; chown root it"),
    }
}

fn parse(text: &str, file: &Arc<str>) -> Result<Vec<Rule>, BadConfig> {
    let floor: Floor = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        BadConfig { line, reason: error.message().to_owned() }
    })?;
    Ok(global(floor.rules, "administrator's rule", &Source { file: Arc::clone(file), text }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Action;

    #[test]
    fn a_floor_has_rules_and_nothing_else() {
        let rules = parse("\n[[rule]]\norigin = 'forwarded'\naction = 'deny'\n", &"floor".into()).expect("a floor");
        assert_eq!((rules[0].action, &*rules[0].label), (Action::Deny, "administrator's rule 1"));
        assert_eq!(rules[0].place.as_ref().map(ToString::to_string).as_deref(), Some("floor:2"));
        let error = parse("[forwarding]\nsilent = true\n", &"floor".into()).expect_err("not a floor's");
        assert_eq!(error.line, 1);
    }

    #[test]
    fn only_a_file_that_nobody_but_root_can_have_written_is_the_administrators() {
        assert_eq!(sound(0, 0o100_644), Ok(()));
        assert!(sound(1000, 0o100_644).is_err() && sound(0, 0o100_664).is_err() && sound(0, 0o100_646).is_err());
    }

    #[test]
    fn no_file_is_no_floor_and_one_that_cannot_be_used_is_an_error() {
        assert_eq!(load(Path::new("/no/such/file"), true), Ok(None));
        assert!(load(Path::new("/dev"), false).is_err(), "a folder");
        assert!(load(Path::new("/dev/null"), false).is_err(), "no regular file");
    }
}
