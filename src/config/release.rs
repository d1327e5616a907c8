//! When a module lets go of its tokens.

use std::time::Duration;

use serde::Deserialize;

use super::Seconds;
use crate::backend::pkcs11::Release;

/// `release` of a module: a time, or `"never"`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct ReleaseConfig(pub Release);

impl TryFrom<String> for ReleaseConfig {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(Release::Never));
        }
        let time = Seconds::parse(&text).filter(|time| time.0 > 0);
        let time = time.ok_or_else(|| format!("{text:?} is neither a time such as \"5m\" nor \"never\""))?;
        Ok(Self(Release::After(Duration::from_secs(time.0.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_or_never() {
        let read = |text: &str| ReleaseConfig::try_from(text.to_owned()).map(|release| release.0);
        assert_eq!(read("90s"), Ok(Release::After(Duration::from_secs(90))));
        assert_eq!(read("never"), Ok(Release::Never));
        for text in ["", "0", "soon", "Never"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
