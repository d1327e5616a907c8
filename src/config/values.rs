//! The forms in which values of rules are written, and what they mean.

use std::time::Duration;

use serde::Deserialize;
use toml::Value;

use super::Seconds;
use crate::backend::pkcs11::uri::Uri;
use crate::origin::classify::Origin;
use crate::policy::asked::Kind;
use crate::policy::matcher::{KeyPattern, Patterns};
use crate::policy::{Action, Cache, FORWARDED, HostList, Rate, Requirements};

/// `"allow"`, `"deny"`, or what is demanded: one word or a list.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct ActionValue(pub(super) Action);

impl TryFrom<Value> for ActionValue {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let unknown = |word: &str| {
            format!(
                "{word:?} is no action; write \"allow\", \"deny\", or a list of \"notify\", \"confirm\", \"touch\", \"pin\""
            )
        };
        let words = words(value)?;
        match &words[..] {
            [word] if word == "allow" => return Ok(Self(Action::ALLOW)),
            [word] if word == "deny" => return Ok(Self(Action::Deny)),
            _ => {}
        }
        let mut all = Requirements::NONE;
        for word in &words {
            all = all.union(Requirements::named(word).ok_or_else(|| unknown(word))?);
        }
        Ok(Self(Action::Require(all)))
    }
}

/// One pattern or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct PatternsValue(pub(super) Patterns);

impl TryFrom<Value> for PatternsValue {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        Patterns::new(words(value)?).map(Self).map_err(|error| error.to_string())
    }
}

/// One name of a host or a list of them, with patterns.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct HostsValue(pub(super) Patterns);

impl TryFrom<Value> for HostsValue {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let words = words(value)?;
        if let Some(word) = words.iter().find(|word| word.contains('@')) {
            return Err(format!("{word:?} names a user; write the host here, and the user as user = \"…\""));
        }
        let words = words.into_iter().map(|word| word.to_ascii_lowercase());
        Patterns::new(words).map(Self).map_err(|error| error.to_string())
    }
}

/// The hosts that a key is for.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct HostListValue(pub(super) HostList);

impl TryFrom<Value> for HostListValue {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        Ok(Self(HostList::new(&words(value)?)))
    }
}

/// Patterns of which each has to match an argument.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct WordsValue(pub(super) Vec<String>);

impl TryFrom<Value> for WordsValue {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        words(value).map(Self)
    }
}

/// Classes of origins: one word or a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct OriginsValue(pub(super) Option<Vec<Origin>>);

const CLASSES: [Origin; 6] = [
    Origin::LocalDirect,
    Origin::LocalTool,
    Origin::ForwardedVerified,
    Origin::ForwardedKnownHop,
    Origin::ForwardedUnverified,
    Origin::Unknown,
];

/// The classes of what is local for certain.
pub(super) const LOCAL: [Origin; 2] = [Origin::LocalDirect, Origin::LocalTool];

/// The classes that a word stands for.
pub(crate) fn origins(word: &str) -> Result<Vec<Origin>, String> {
    match word {
        "any" => Ok(CLASSES.to_vec()),
        "local" => Ok(LOCAL.to_vec()),
        "forwarded" => Ok(FORWARDED.to_vec()),
        _ => CLASSES.iter().find(|class| class.to_string() == word).map(|class| vec![*class]).ok_or_else(|| {
            let classes = CLASSES.map(|class| format!("{:?}", class.to_string())).join(", ");
            format!("{word:?} is no origin; write \"any\", \"local\", \"forwarded\", or one of {classes}")
        }),
    }
}

impl TryFrom<Value> for OriginsValue {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let words = words(value)?;
        let all: Vec<Vec<Origin>> = words.iter().map(|word| origins(word)).collect::<Result<_, _>>()?;
        Ok(Self(Some(all.concat()).filter(|all| !CLASSES.iter().all(|class| all.contains(class)))))
    }
}

/// Kinds of payloads: one word or a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct KindsValue(pub(super) Vec<Kind>);

/// The kinds that a word stands for: `login` is any login, `bound-login` one whose server is certain.
pub(crate) fn kinds(word: &str) -> Result<Vec<Kind>, String> {
    match Kind::named(word) {
        Some(Kind::Login) => Ok(vec![Kind::Login, Kind::BoundLogin]),
        Some(kind) => Ok(vec![kind]),
        None => {
            let kinds = Kind::ALL.map(|kind| format!("{:?}", kind.to_string())).join(", ");
            Err(format!("{word:?} is no kind of request; write one of {kinds}"))
        }
    }
}

impl TryFrom<Value> for KindsValue {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let kinds: Vec<Vec<Kind>> = words(value)?.iter().map(|word| kinds(word)).collect::<Result<_, _>>()?;
        Ok(Self(kinds.concat()))
    }
}

/// A key: a `pkcs11:` URI, a fingerprint, or a pattern for the comment.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct KeyValue {
    pub(super) pattern: KeyPattern,
    /// As it was written.
    pub(super) text: String,
}

impl TryFrom<String> for KeyValue {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let pattern = if Uri::is_meant(&text) {
            let uri = Uri::parse(&text).map_err(|error| error.to_string())?;
            if !uri.can_name_keys() {
                return Err("a rule knows token, serial, object and id of a key; leave the other attributes out".into());
            }
            KeyPattern::Uri(uri)
        } else if text.starts_with("SHA256:") {
            KeyPattern::Fingerprint(text.clone())
        } else if text.starts_with("MD5:") {
            return Err("a rule knows keys by their SHA256 fingerprints; `ssh-keygen -l` prints it".into());
        } else if text.is_empty() {
            return Err(
                "it names no key; write a pkcs11: URI, a SHA256: fingerprint or a pattern for the comment".into()
            );
        } else {
            KeyPattern::Comment(text.clone())
        };
        Ok(Self { pattern, text })
    }
}

/// `"15m"` or `{ time = "15m", count = 50 }`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct CacheValue(pub(super) Cache);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheTable {
    time: Seconds,
    count: Option<std::num::NonZeroU32>,
}

impl TryFrom<Value> for CacheValue {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let table = match value {
            Value::String(time) => CacheTable { time: Seconds::try_from(time)?, count: None },
            table @ Value::Table(_) => table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?,
            _ => return Err("write a time such as \"15m\", or { time = \"15m\", count = 50 }".to_owned()),
        };
        let time = Duration::from_secs(table.time.0.into());
        Ok(Self(Cache { time, count: table.count.map(Into::into) }))
    }
}

/// `{ count = 5, per = "1m" }`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateValue {
    count: std::num::NonZeroU32,
    per: Seconds,
}

impl From<RateValue> for Rate {
    fn from(value: RateValue) -> Self {
        Self { count: value.count.into(), per: Duration::from_secs(value.per.0.into()) }
    }
}

/// One string or a list of them, none of them empty.
fn words(value: Value) -> Result<Vec<String>, String> {
    let word = |value| match value {
        Value::String(word) if !word.is_empty() => Ok(word),
        _ => Err("write a string in quotes, or a list of such".to_owned()),
    };
    match value {
        Value::Array(list) if list.is_empty() => {
            Err("an empty list; leave the setting out if it does not matter".into())
        }
        Value::Array(list) => list.into_iter().map(word).collect(),
        other => word(other).map(|word| vec![word]),
    }
}
