//! Destination constraints: `restrict-destination-v00@openssh.com` (OpenSSH PROTOCOL.agent section 2), as data.

use std::sync::Arc;

use super::Malformed;
use super::wire::Reader;

/// The extension's name.
pub const NAME: &str = "restrict-destination-v00@openssh.com";

const MAX_CONSTRAINTS: usize = 1024;
/// The longest pattern for a user, in octets; glob matching is not for free.
const MAX_USER: usize = 256;

/// One permitted step of a path: from a host, or from here, to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationConstraint {
    /// Where the step begins; `None` is the machine of this agent.
    pub from: Option<Hop>,
    /// Where it leads.
    pub to: Hop,
    /// The users that may be logged in as there; a pattern.
    pub user: Option<String>,
}

/// A host, by its keys and the authorities that may vouch for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The name that `ssh-add -h` was given; certificates have to name it.
    pub hostname: String,
    /// Its keys.
    pub keys: Vec<HopKey>,
}

/// A key of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopKey {
    /// The key's blob.
    pub blob: Arc<[u8]>,
    /// It is an authority's: it vouches for hosts by certificates.
    pub is_authority: bool,
}

/// Reads the extension's payload.
///
/// # Errors
/// Out of form, too many constraints, or a constraint that says something this form does not allow.
pub fn parse(reader: &mut Reader<'_>) -> Result<Vec<DestinationConstraint>, Malformed> {
    let mut list = Reader::new(reader.string()?);
    let mut constraints = Vec::new();
    while !list.is_empty() {
        if constraints.len() == MAX_CONSTRAINTS {
            return Err(Malformed::new(format!("more than {MAX_CONSTRAINTS} destination constraints")));
        }
        constraints.push(constraint(Reader::new(list.string()?))?);
    }
    Ok(constraints)
}

fn constraint(mut reader: Reader<'_>) -> Result<DestinationConstraint, Malformed> {
    let (from_user, from) = hop(Reader::new(reader.string()?))?;
    let (user, to) = hop(Reader::new(reader.string()?))?;
    if !reader.string()?.is_empty() {
        return Err(Malformed::new("destination constraint with extensions that are not known"));
    }
    if from_user.is_some() {
        return Err(Malformed::new("destination constraint that names a user at its beginning"));
    }
    let from = match (from.hostname.is_empty(), from.keys.is_empty()) {
        (true, true) => None,
        (false, false) => Some(from),
        _ => return Err(Malformed::new("destination constraint from a host without name or without keys")),
    };
    if to.hostname.is_empty() || to.keys.is_empty() {
        return Err(Malformed::new("destination constraint to a host without name or without keys"));
    }
    Ok(DestinationConstraint { from, to, user })
}

fn hop(mut reader: Reader<'_>) -> Result<(Option<String>, Hop), Malformed> {
    let user = reader.text()?;
    let hostname = reader.text()?.to_owned();
    if !reader.string()?.is_empty() {
        return Err(Malformed::new("destination constraint with a hop of a kind that is not known"));
    }
    if user.len() > MAX_USER {
        return Err(Malformed::new(format!("destination constraint with a user pattern above {MAX_USER} octets")));
    }
    let mut keys = Vec::new();
    while !reader.is_empty() {
        keys.push(HopKey { blob: reader.string()?.into(), is_authority: reader.bool()? });
    }
    Ok(((!user.is_empty()).then(|| user.to_owned()), Hop { hostname, keys }))
}

#[cfg(test)]
mod tests {
    use super::super::wire::Put as _;
    use super::*;

    fn hop_octets(user: &str, hostname: &str, keys: &[&[u8]]) -> Vec<u8> {
        let mut hop = Vec::new();
        for field in [user, hostname, ""] {
            hop.put_string(field.as_bytes());
        }
        for key in keys {
            hop.put_string(key);
            hop.push(0);
        }
        hop
    }

    fn payload(constraints: &[(Vec<u8>, Vec<u8>, &[u8])]) -> Vec<u8> {
        let mut list = Vec::new();
        for (from, to, reserved) in constraints {
            let mut constraint = Vec::new();
            constraint.put_string(from);
            constraint.put_string(to);
            constraint.put_string(reserved);
            list.put_string(&constraint);
        }
        let mut payload = Vec::new();
        payload.put_string(&list);
        payload
    }

    fn read(payload: &[u8]) -> Result<Vec<DestinationConstraint>, Malformed> {
        parse(&mut Reader::new(payload))
    }

    #[test]
    fn a_step_is_read_with_its_user_and_keys() {
        let here = hop_octets("", "", &[]);
        let parsed = read(&payload(&[(here, hop_octets("dev*", "host", &[b"key"]), b"")])).expect("valid");
        assert_eq!(parsed[0].from, None);
        assert_eq!(parsed[0].user.as_deref(), Some("dev*"));
        assert_eq!((parsed[0].to.hostname.as_str(), parsed[0].to.keys.len()), ("host", 1));
        assert_eq!(read(&payload(&[])), Ok(Vec::new()));
    }

    #[test]
    fn steps_that_contradict_themselves_are_refused() {
        let here = || hop_octets("", "", &[]);
        let there = || hop_octets("", "host", &[b"key"]);
        for (from, to, reserved) in [
            (here(), there(), &b"x"[..]),
            (hop_octets("user", "", &[]), there(), b""),
            (hop_octets("", "host", &[]), there(), b""),
            (hop_octets("", "", &[b"key"]), there(), b""),
            (here(), hop_octets("", "", &[b"key"]), b""),
            (here(), hop_octets("", "host", &[]), b""),
            (here(), hop_octets(&"u".repeat(257), "host", &[b"key"]), b""),
        ] {
            assert!(read(&payload(&[(from, to, reserved)])).is_err());
        }
    }

    #[test]
    fn there_may_be_1024_constraints_and_no_more() {
        let one = (hop_octets("", "", &[]), hop_octets("", "h", &[b"k"]), &b""[..]);
        assert_eq!(read(&payload(&vec![one.clone(); 1024])).map(|list| list.len()), Ok(1024));
        assert!(read(&payload(&vec![one; 1025])).is_err());
    }
}
