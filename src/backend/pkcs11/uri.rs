//! PKCS#11 URIs (RFC 7512): which token and which object, by attributes whose values are octets.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use crate::ipc::{KeySeen, TokenName, TokenSeen};

/// A parsed URI. Absent attributes match everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uri {
    token: Option<Vec<u8>>,
    manufacturer: Option<Vec<u8>>,
    model: Option<Vec<u8>>,
    serial: Option<Vec<u8>>,
    slot: Option<u64>,
    object: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    /// `module-path`: the module that shows the token.
    pub module_path: Option<PathBuf>,
    /// `pin-source`: the file that holds the token's PIN.
    pub pin_source: Option<PathBuf>,
}

/// Why a text is not a URI that selects keys here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PKCS#11 URI: {0}")]
pub struct BadUri(String);

impl Uri {
    /// The scheme that such URIs begin with.
    pub const SCHEME: &'static str = "pkcs11:";

    /// Whether a text is meant as one.
    pub fn is_meant(text: &str) -> bool {
        text.get(..Self::SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(Self::SCHEME))
    }

    /// Parses a URI.
    ///
    /// # Errors
    /// Not the scheme, an escape out of form, an attribute twice, a path attribute that is not known (it could never match, RFC 7512
    /// section 2.3), or `pin-value`, which would put a PIN into files and process lists.
    pub fn parse(text: &str) -> Result<Self, BadUri> {
        if !Self::is_meant(text) {
            return Err(BadUri("it does not begin with \"pkcs11:\"".to_owned()));
        }
        let (path, query) = match text[Self::SCHEME.len()..].split_once('?') {
            Some((path, query)) => (path, query),
            None => (&text[Self::SCHEME.len()..], ""),
        };
        let mut uri = Self::default();
        for attribute in path.split(';').filter(|attribute| !attribute.is_empty()) {
            let (name, value) = split(attribute)?;
            let place = match name {
                "token" => &mut uri.token,
                "manufacturer" => &mut uri.manufacturer,
                "model" => &mut uri.model,
                "serial" => &mut uri.serial,
                "object" => &mut uri.object,
                "id" => &mut uri.id,
                "slot-id" => {
                    let number = String::from_utf8_lossy(&value).parse();
                    let number = number.map_err(|_| BadUri("slot-id is not a number".to_owned()))?;
                    once(&mut uri.slot, number, name)?;
                    continue;
                }
                "type" if matches!(&value[..], b"private" | b"public" | b"cert") => continue,
                _ => return Err(BadUri(format!("attribute {name:?} is not known here"))),
            };
            once(place, value, name)?;
        }
        for attribute in query.split('&').filter(|attribute| !attribute.is_empty()) {
            let (name, value) = split(attribute)?;
            match name {
                "module-path" => once(&mut uri.module_path, to_path(&value), name)?,
                "pin-source" => {
                    let file = value.strip_prefix(b"file:").unwrap_or(&value);
                    once(&mut uri.pin_source, to_path(file), name)?;
                }
                "pin-value" => {
                    return Err(BadUri(
                        "pin-value would show the PIN to everybody; put it into a file and name that by pin-source"
                            .to_owned(),
                    ));
                }
                _ => {}
            }
        }
        Ok(uri)
    }

    /// Whether the URI's token attributes describe this token.
    pub fn matches_token(&self, token: &TokenSeen) -> bool {
        let same = |wanted: &Option<Vec<u8>>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted.trim_ascii_end() == found.as_bytes().trim_ascii_end())
        };
        same(&self.token, &token.name.label)
            && same(&self.manufacturer, &token.name.manufacturer)
            && same(&self.model, &token.name.model)
            && same(&self.serial, &token.name.serial)
            && self.slot.is_none_or(|slot| slot == token.slot)
    }

    /// Whether the URI's object attributes describe this key.
    pub fn matches_key(&self, key: &KeySeen) -> bool {
        self.object.as_ref().is_none_or(|object| *object == key.label)
            && self.id.as_ref().is_none_or(|id| *id == key.id)
    }

    /// Whether the URI is about certain keys of its token, not about all.
    pub fn names_a_key(&self) -> bool {
        self.object.is_some() || self.id.is_some()
    }

    /// Whether everything this URI asks for is what `other` says; for two URIs that were both written by people or by [`Self::of_key`].
    pub fn covers(&self, other: &Self) -> bool {
        fn within<T: PartialEq>(wanted: &Option<T>, found: &Option<T>) -> bool {
            wanted.is_none() || wanted == found
        }
        within(&self.token, &other.token)
            && within(&self.serial, &other.serial)
            && within(&self.object, &other.object)
            && within(&self.id, &other.id)
            && [&self.manufacturer, &self.model].iter().all(|wanted| wanted.is_none())
            && self.slot.is_none()
    }

    /// Whether the URI asks only for what [`Self::of_key`] says of a key.
    pub fn can_name_keys(&self) -> bool {
        self.manufacturer.is_none() && self.model.is_none() && self.slot.is_none() && self.module_path.is_none()
    }

    /// The URI that selects a token, however the slots are numbered; one that is not initialised has nothing but its slot.
    pub fn of_token(token: &TokenSeen) -> Self {
        let filled = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
        let (label, serial) = (filled(&token.name.label), filled(&token.name.serial));
        let slot = (label.is_none() && serial.is_none()).then_some(token.slot);
        Self { token: label, serial, slot, ..Self::default() }
    }

    /// The URI that selects one key on one token, however the slots are numbered.
    pub fn of_key(token: &TokenName, key: &KeySeen) -> Self {
        let filled = |octets: &[u8]| (!octets.is_empty()).then(|| octets.to_vec());
        Self {
            token: filled(token.label.as_bytes()),
            serial: filled(token.serial.as_bytes()),
            object: filled(&key.label),
            id: filled(&key.id),
            ..Self::default()
        }
    }
}

impl fmt::Display for Uri {
    /// Writes the path attributes; where modules and PINs are is nobody else's concern.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
        formatter.write_str(Self::SCHEME)?;
        let named = [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("object", &self.object),
        ];
        let mut separator = "";
        for (name, value) in named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            write!(formatter, "{separator}{name}={}", percent_encode(value, PLAIN))?;
            separator = ";";
        }
        if let Some(id) = &self.id {
            write!(formatter, "{separator}id=")?;
            id.iter().try_for_each(|octet| write!(formatter, "%{octet:02X}"))?;
            separator = ";";
        }
        match self.slot {
            Some(slot) => write!(formatter, "{separator}slot-id={slot}"),
            None => Ok(()),
        }
    }
}

fn split(attribute: &str) -> Result<(&str, Vec<u8>), BadUri> {
    let (name, value) = attribute.split_once('=').ok_or_else(|| BadUri(format!("{attribute:?} has no value")))?;
    let octets = value.as_bytes();
    let escapes_well = octets
        .iter()
        .enumerate()
        .filter(|(_, octet)| **octet == b'%')
        .all(|(at, _)| octets.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    if !escapes_well {
        return Err(BadUri(format!("the value of {name:?} has a % without two hexadecimal digits")));
    }
    Ok((name, percent_decode(octets).collect()))
}

fn once<T>(place: &mut Option<T>, value: T, name: &str) -> Result<(), BadUri> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(BadUri(format!("attribute {name:?} is given twice"))),
    }
}

fn to_path(octets: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    PathBuf::from(std::ffi::OsStr::from_bytes(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::pin::TriesLeft;

    fn token() -> TokenSeen {
        TokenSeen {
            name: TokenName {
                manufacturer: "SoftHSM project".into(),
                model: "SoftHSM v2".into(),
                serial: "0a1b".into(),
                label: "ci token".into(),
            },
            slot: 7,
            reader: String::new(),
            login_required: true,
            protected_path: false,
            pin_initialized: true,
            tries: TriesLeft::NoWarning,
            device: false,
            logged_in: false,
            keys: Vec::new(),
            left_out: Vec::new(),
            twins: 0,
        }
    }

    fn key() -> KeySeen {
        KeySeen {
            id: vec![1, 0xff],
            label: b"deploy;1".to_vec(),
            public: vec![],
            always_authenticate: false,
            private_seen: true,
        }
    }

    #[test]
    fn a_keys_own_uri_selects_it_and_reads_back() {
        let uri = Uri::of_key(&token().name, &key());
        assert_eq!(uri.to_string(), "pkcs11:token=ci%20token;serial=0a1b;object=deploy%3B1;id=%01%FF");
        let read = Uri::parse(&uri.to_string()).expect("own text");
        assert_eq!(read, uri);
        assert!(read.matches_token(&token()) && read.matches_key(&key()));
    }

    #[test]
    fn every_attribute_can_rule_a_token_or_key_out() {
        for other in ["token=other", "serial=1", "model=x", "manufacturer=y", "slot-id=8"] {
            assert!(!Uri::parse(&format!("pkcs11:{other}")).expect("valid").matches_token(&token()), "{other}");
        }
        for other in ["object=deploy", "id=%01"] {
            assert!(!Uri::parse(&format!("pkcs11:{other}")).expect("valid").matches_key(&key()), "{other}");
        }
        assert!(
            Uri::parse("pkcs11:token=ci%20token%20%20;slot-id=7;type=private").expect("valid").matches_token(&token())
        );
        assert!(Uri::parse("PKCS11:").expect("valid").matches_token(&token()));
    }

    #[test]
    fn a_token_with_an_odd_label_is_selected_by_its_own_uri() {
        for label in ["ends with a tab\t", "with a vertical tab\x0b", "with a wide blank\u{3000}", "  "] {
            let mut token = token();
            token.name.label = label.to_owned();
            assert!(Uri::of_key(&token.name, &key()).matches_token(&token), "{label:?}");
        }
    }

    #[test]
    fn query_attributes_name_module_and_pin_file() {
        let uri =
            Uri::parse("pkcs11:token=a?module-path=/lib/m.so&pin-source=file:/run/pin&x-future=1").expect("valid");
        assert_eq!(uri.module_path, Some("/lib/m.so".into()));
        assert_eq!(uri.pin_source, Some("/run/pin".into()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [
            "pkcs12:a=b",
            "pkcs11:token",
            "pkcs11:id=%zz",
            "pkcs11:id=%1",
            "pkcs11:id=1;id=2",
            "pkcs11:tokn=x",
            "pkcs11:?pin-value=1234",
        ] {
            let error = Uri::parse(bad).expect_err(bad).to_string();
            assert!(!error.contains("1234"), "{error}");
        }
    }
}
