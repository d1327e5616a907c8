//! `pin` of a module: where its PIN comes from, and how long it is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::Seconds;
use crate::backend::pin::{PinCache, PinSource};

/// `pin = "ask"`, or a table with `file` or without, and with `cache` or without.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct PinConfig {
    from: From,
    /// How long a PIN is kept that the token accepted.
    pub cache: PinCache,
}

#[derive(Debug, Clone)]
enum From {
    Unsaid,
    Ask,
    File(PathBuf),
}

impl PinConfig {
    /// Where the PIN comes from, if that is said.
    pub fn source(&self) -> Option<PinSource> {
        match &self.from {
            From::Unsaid => None,
            From::Ask => Some(PinSource::Ask),
            From::File(path) => Some(PinSource::File(path.clone())),
        }
    }
}

impl TryFrom<toml::Value> for PinConfig {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, Self::Error> {
        let table = match value {
            toml::Value::String(word) if word == "ask" => {
                return Ok(Self { from: From::Ask, cache: PinCache::default() });
            }
            toml::Value::Table(table) if !table.is_empty() => table,
            // Whatever it is, it may be a PIN, and is not repeated.
            _ => return Err(FORMS),
        };
        let mut pin = Self { from: From::Unsaid, cache: PinCache::default() };
        for (name, value) in table {
            match (name.as_str(), value) {
                ("file", toml::Value::String(path)) if Path::new(&path).is_absolute() => {
                    pin.from = From::File(path.into());
                }
                ("file", _) => return Err("the PIN's file has to be an absolute path"),
                ("cache", toml::Value::String(text)) => pin.cache = cache(&text).ok_or(CACHES)?,
                ("cache", _) => return Err(CACHES),
                _ => return Err(FORMS),
            }
        }
        Ok(pin)
    }
}

const FORMS: &str = "a PIN does not belong in this file; write pin = \"ask\", or pin = { file = \"/path\", cache = \"8h\" } with one of both or both";
const CACHES: &str = "cache is \"never\", \"until-removal\", or a time such as \"8h\"";

fn cache(text: &str) -> Option<PinCache> {
    match text {
        "never" => Some(PinCache::Never),
        "until-removal" => Some(PinCache::UntilRemoval),
        time => match Seconds::parse(time)?.0 {
            0 => None,
            seconds => Some(PinCache::For(Duration::from_secs(seconds.into()))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn pin(text: &str) -> Option<PinConfig> {
        Config::parse(&format!("[[module]]\npath = \"/a\"\npin = {text}")).ok()?.modules.pop()?.pin
    }

    #[test]
    fn a_pin_is_kept_as_long_as_is_said() {
        let cache = |text: &str| pin(text).map(|pin| pin.cache);
        assert_eq!(cache("\"ask\""), Some(PinCache::UntilRemoval));
        assert_eq!(cache("{ cache = \"never\" }"), Some(PinCache::Never));
        assert_eq!(cache("{ cache = \"8h\", file = \"/pin\" }"), Some(PinCache::For(Duration::from_secs(28_800))));
        for bad in ["{ cache = \"0\" }", "{ cache = \"soon\" }", "{ cache = 8 }", "{ cash = \"8h\" }", "{}"] {
            assert!(pin(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_module_that_only_says_how_long_leaves_open_where_from() {
        assert!(pin("{ cache = \"8h\" }").is_some_and(|pin| pin.source().is_none()));
        assert!(matches!(pin("\"ask\"").and_then(|pin| pin.source()), Some(PinSource::Ask)));
    }
}
