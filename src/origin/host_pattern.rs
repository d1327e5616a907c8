//! Host names and the patterns they are matched with, as in `known_hosts`: sshd(8), ssh_config(5) "PATTERNS".

use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding as _};

use crate::pattern;

/// Longer patterns never match, as in OpenSSH: octets.
const LONGEST_PATTERN: usize = 1023;

/// Whether a host, as `name` or `[name]:port`, is meant by the host field of a `known_hosts` line: a hashed name, or a list of
/// patterns separated by commas of which one matches and none that is negated with `!` does. Ignores case, but for hashed
/// names, where OpenSSH does not either.
#[must_use]
pub fn field_names(field: &[u8], host: &str) -> bool {
    if field.starts_with(b"|") {
        return hashed_is(field, host);
    }
    let host = host.to_ascii_lowercase();
    let mut found = false;
    for entry in field.split(|octet| *octet == b',') {
        let (negated, glob) = match entry.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, entry),
        };
        if glob.len() > LONGEST_PATTERN {
            return false;
        }
        if pattern::matches(glob.to_ascii_lowercase(), &host) {
            if negated {
                return false;
            }
            found = true;
        }
    }
    found
}

/// The names in a host field that stand for one host each; none for a hashed field.
pub(crate) fn literal_names(field: &[u8]) -> impl Iterator<Item = &str> {
    let field = if field.starts_with(b"|") { b"" } else { field };
    field
        .split(|octet| *octet == b',')
        .filter(|pattern| !pattern.is_empty() && !pattern.starts_with(b"!"))
        .filter(|pattern| !pattern.iter().any(|octet| matches!(octet, b'*' | b'?')))
        .filter_map(|name| std::str::from_utf8(name).ok())
}

/// Whether `|1|salt|hash` is the hash of `host`: HMAC-SHA1 with the salt as key, both in base64.
fn hashed_is(field: &[u8], host: &str) -> bool {
    let parts = || {
        let (salt, hash) = std::str::from_utf8(field).ok()?.strip_prefix("|1|")?.split_once('|')?;
        let (mut salt_octets, mut hash_octets) = ([0; 20], [0; 20]);
        let whole = Base64::decode(salt, &mut salt_octets).ok()?.len() == 20
            && Base64::decode(hash, &mut hash_octets).ok()?.len() == 20;
        whole.then_some((salt_octets, hash_octets))
    };
    parts().is_some_and(|(salt, hash)| {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
        hmac::verify(&key, host.as_bytes(), &hash).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_openssh() {
        let yes = [
            ("host", "host"),
            ("host", "h*t"),
            ("host", "????"),
            ("host", "*"),
            ("", ""),
            ("", "*"),
            ("aXbXc", "a*X?"),
        ];
        let no = [("host", "hos"), ("host", "host?"), ("host", ""), ("", "?"), ("host", "H*"), ("ab", "*a")];
        for (text, pattern) in yes {
            assert!(pattern::matches(pattern, text), "{text} {pattern}");
        }
        for (text, pattern) in no {
            assert!(!pattern::matches(pattern, text), "{text} {pattern}");
        }
    }

    #[test]
    fn a_pattern_of_stars_does_not_take_forever() {
        let text = vec![b'a'; 1000];
        let pattern = [b"*a".repeat(500), b"b".to_vec()].concat();
        assert!(!pattern::matches(&pattern, &text));
    }

    #[test]
    fn a_negated_pattern_wins_wherever_it_stands() {
        assert!(field_names(b"*.example,!evil.example", "good.example"));
        assert!(!field_names(b"*.example,!evil.example", "evil.example"));
        assert!(!field_names(b"!evil.example,*.example", "evil.example"));
        assert!(!field_names(b"!evil.example", "good.example"));
    }

    #[test]
    fn ports_are_part_of_the_name_and_case_is_not() {
        assert!(field_names(b"[Host.Example]:2222", "[HOST.example]:2222"));
        assert!(!field_names(b"host.example", "[host.example]:2222"));
        assert!(!field_names(b"[host.example]:2222", "host.example"));
        assert!(field_names(b"[*.example]:*", "[host.example]:2222"));
    }

    #[test]
    fn garbage_for_a_hash_names_nobody() {
        for field in [
            "|1|",
            "|1||",
            "|1|AAAA|AAAA",
            "|2|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=",
            "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=,x",
        ] {
            assert!(!field_names(field.as_bytes(), "192.168.1.61"), "{field}");
        }
    }

    #[test]
    fn literal_names_leave_out_patterns_and_hashes() {
        let names: Vec<_> = literal_names(b"a,*.b,!c,[d]:22,e?").collect();
        assert_eq!(names, ["a", "[d]:22"]);
        assert_eq!(literal_names(b"|1|x|y").count(), 0);
    }
}
