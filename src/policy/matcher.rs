//! Which requests a rule is about. What a rule does not mention it does not look at; what it mentions has to be known and to match.

use super::asked::{Asked, KeyFacts, Kind};
use crate::backend::pkcs11::uri::Uri;
use crate::origin::classify::Origin;
use crate::pattern;

/// The conditions of a rule; all that are there must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    /// The key.
    pub key: Option<KeyPattern>,
    /// Where requests come from.
    pub origins: Option<Vec<Origin>>,
    /// What is to be signed.
    pub kinds: Option<Vec<Kind>>,
    /// Names of the server.
    pub hosts: Option<Patterns>,
    /// The user that is logged in as.
    pub users: Option<Patterns>,
    /// Names of the first hop.
    pub via: Option<Patterns>,
    /// The namespace of a message signature.
    pub namespaces: Option<Patterns>,
    /// The path of the program that asks.
    pub programs: Option<Patterns>,
    /// Patterns of which each has to match an argument of the program.
    pub arguments: Option<Vec<String>>,
    /// The path of a program above it.
    pub parents: Option<Patterns>,
    /// The label of the listener.
    pub listeners: Option<Patterns>,
    /// Whether the key was added for certain destinations (`ssh-add -h`), and this is one of them. Presets only.
    pub named_destination: Option<bool>,
    /// Forwarded through exactly one host. Presets only.
    pub one_hop: bool,
}

/// A list of OpenSSH's patterns (ssh_config(5)), `!` before an exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns {
    patterns: Vec<String>,
    exceptions: Vec<String>,
}

/// Which keys a rule or a section is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPattern {
    /// A fingerprint, `SHA256:…`.
    Fingerprint(String),
    /// Keys on tokens.
    Uri(Uri),
    /// A pattern for the comment.
    Comment(String),
}

/// A list has nothing but exceptions, and could never match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is nothing in the list that could match; put a pattern before the exceptions, such as \"*\"")]
pub struct NothingToMatch;

impl Matcher {
    /// Whether a request is one of those that are meant.
    #[must_use]
    pub fn matches(&self, asked: &Asked<'_>, named_destination: bool) -> bool {
        let text = |patterns: &Option<Patterns>, text: Option<&str>| match (patterns, text) {
            (None, _) => true,
            (Some(patterns), Some(text)) => patterns.matches(&[text]),
            (Some(_), None) => false,
        };
        let any = |patterns: &Option<Patterns>, texts: &[String]| {
            patterns.as_ref().is_none_or(|patterns| patterns.matches(texts))
        };
        let arguments = asked.program.map(|program| program.arguments).unwrap_or_default();
        let argued = |pattern: &String| arguments.iter().any(|argument| pattern::matches(pattern, argument));
        self.origins.as_ref().is_none_or(|origins| origins.contains(&asked.origin))
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&asked.kind))
            && self.named_destination.is_none_or(|named| named == named_destination)
            && (!self.one_hop || asked.hops == 1)
            && self.key.as_ref().is_none_or(|key| key.matches(&asked.key))
            && text(&self.users, asked.user)
            && text(&self.namespaces, asked.namespace)
            && text(&self.listeners, asked.listener)
            && text(&self.programs, asked.program.map(|program| program.path))
            && any(&self.hosts, asked.hosts)
            && any(&self.via, asked.via)
            && any(&self.parents, asked.parents)
            && self.arguments.as_ref().is_none_or(|patterns| patterns.iter().all(argued))
    }

    /// Whether it says which programs are meant, or that those are which nobody knows.
    pub(super) fn names_programs(&self) -> bool {
        let is_unknown = self.origins.as_ref().is_some_and(|origins| origins.contains(&Origin::Unknown));
        is_unknown || self.programs.is_some() || self.parents.is_some() || self.arguments.is_some()
    }
}

impl Patterns {
    /// Takes a list.
    ///
    /// # Errors
    /// It could match nothing.
    pub fn new<T: Into<String>>(list: impl IntoIterator<Item = T>) -> Result<Self, NothingToMatch> {
        let (mut patterns, mut exceptions) = (Vec::new(), Vec::new());
        for entry in list {
            let entry: String = entry.into();
            match entry.strip_prefix('!') {
                Some(exception) => exceptions.push(exception.to_owned()),
                None => patterns.push(entry),
            }
        }
        match patterns.is_empty() {
            true => Err(NothingToMatch),
            false => Ok(Self { patterns, exceptions }),
        }
    }

    /// Whether one of these names is meant and none of them is excepted: one thing may have several names.
    #[must_use]
    pub fn matches<T: AsRef<str>>(&self, names: &[T]) -> bool {
        let any = |patterns: &[String]| {
            names.iter().any(|name| patterns.iter().any(|pattern| pattern::matches(pattern, name.as_ref())))
        };
        any(&self.patterns) && !any(&self.exceptions)
    }

    /// Whether every pattern says something about what it matches, unlike `*`.
    #[must_use]
    pub fn names_something(&self) -> bool {
        self.patterns.iter().all(|pattern| says_something(pattern))
    }

    /// The patterns that are plain names.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        let all = self.patterns.iter().chain(&self.exceptions).map(String::as_str);
        all.filter(|pattern| !pattern.contains(['*', '?']))
    }

    /// The patterns that are no exceptions.
    pub fn positive(&self) -> &[String] {
        &self.patterns
    }

    /// The exceptions.
    pub fn exceptions(&self) -> &[String] {
        &self.exceptions
    }
}

impl KeyPattern {
    /// Whether this key is meant.
    #[must_use]
    pub fn matches(&self, key: &KeyFacts<'_>) -> bool {
        match self {
            Self::Fingerprint(fingerprint) => fingerprint == key.fingerprint,
            Self::Uri(uri) => key.uri.is_some_and(|own| uri.covers(own)),
            Self::Comment(comment) => pattern::matches(comment, key.comment),
        }
    }

    /// Whether it names keys, rather than taking any.
    #[must_use]
    pub fn names_something(&self) -> bool {
        match self {
            Self::Fingerprint(_) => true,
            Self::Uri(uri) => !uri.covers(&Uri::default()),
            Self::Comment(comment) => says_something(comment),
        }
    }
}

fn says_something(pattern: &str) -> bool {
    pattern.chars().any(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_with_several_names_is_meant_by_one_of_them_and_excepted_by_any() {
        let patterns = Patterns::new(["*.example", "!bad.example"]).expect("a list");
        assert!(patterns.matches(&["192.0.2.1", "a.example"]));
        assert!(!patterns.matches(&["a.example", "bad.example"]));
        assert!(!patterns.matches::<&str>(&[]));
        assert_eq!(Patterns::new(["!x"]), Err(NothingToMatch));
    }

    #[test]
    fn what_takes_anything_names_nothing() {
        let names = |pattern: &str| Patterns::new([pattern]).expect("a list").names_something();
        assert!(!names("*") && !names("*.*") && !names("[*]:?") && names("*.example"));
        assert!(!KeyPattern::Comment("*".to_owned()).names_something());
        assert!(!KeyPattern::Uri(Uri::parse("pkcs11:").expect("a URI")).names_something());
        assert!(KeyPattern::Uri(Uri::parse("pkcs11:id=%01").expect("a URI")).names_something());
    }
}
