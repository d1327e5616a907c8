//! OpenSSH's patterns (ssh_config(5), PATTERNS): `*`, `?`, and `!` for exceptions in a list.

use std::fmt;

/// A comma-separated list of patterns; an exception that matches outweighs everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternList(Vec<String>);

impl PatternList {
    /// Reads a list.
    pub fn new(list: &str) -> Self {
        Self(list.split(',').filter(|pattern| !pattern.is_empty()).map(str::to_owned).collect())
    }

    /// Whether a text matches a pattern of the list and no exception.
    pub fn matches(&self, text: &str) -> bool {
        let mut found = false;
        for pattern in &self.0 {
            match pattern.strip_prefix('!') {
                Some(exception) if matches(exception, text) => return false,
                None if matches(pattern, text) => found = true,
                _ => {}
            }
        }
        found
    }
}

impl fmt::Display for PatternList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join(","))
    }
}

/// Whether a whole text matches one pattern, case and all. Linear in the product of their lengths at worst.
pub fn matches(pattern: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> bool {
    let (pattern, text) = (pattern.as_ref(), text.as_ref());
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut retry = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                at_pattern += 1;
                retry = Some((at_pattern, at_text));
            }
            Some(octet) if *octet == b'?' || *octet == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    (at_pattern, at_text) = (after_star, from + 1);
                    retry = Some((after_star, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|octet| *octet == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text) in
            [("*", ""), ("a*", "a"), ("*b*c", "abxbc"), ("?", "x"), ("/usr/lib*/*", "/usr/lib/x/y.so"), ("", "")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("?", ""), ("a", "A"), ("*b", "bc"), ("a?c", "abbc")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn an_exception_outweighs_the_rest_of_the_list() {
        let list = PatternList::new("/usr/lib*/*,!/usr/lib/bad*");
        assert!(list.matches("/usr/lib/good.so"));
        assert!(!list.matches("/usr/lib/bad.so"));
        assert!(!list.matches("/opt/x.so"));
    }

    #[test]
    fn many_stars_do_not_take_long() {
        assert!(!matches("a*".repeat(60), "a".repeat(100_000).replace('a', "b")));
        assert!(matches("*a".repeat(60), "a".repeat(5_000)));
    }
}
