//! Constraints: what was understood, written down again, is understood the same way; and no limit is exceeded.

use hardkey::protocol::constraint::{Constraints, Subject};
use hardkey::protocol::destination::{DestinationConstraint, Hop};
use hardkey::protocol::wire::Reader;

use crate::octets::{assert_fits_a_log, string};

const DESTINATIONS: &str = "restrict-destination-v00@openssh.com";

/// Input: one octet for what is being added, then the constraints.
pub fn check(input: &[u8]) {
    let Some((kind, octets)) = input.split_first() else { return };
    let subject = [Subject::Software, Subject::SecurityKey, Subject::Provider][usize::from(kind % 3)];
    match Constraints::parse(Reader::new(octets), subject) {
        Ok(constraints) => {
            understood(&constraints, subject);
            // Nothing was passed over: each constraint stands there once, and only an empty list of destinations means nothing.
            let empty_list = extension(DESTINATIONS, &string(b"")).len();
            let passed_over = octets.len() - encode(&constraints).len();
            assert!(passed_over == 0 || (passed_over == empty_list && constraints.destinations.is_empty()));
        }
        Err(error) => assert_fits_a_log(&error.to_string()),
    }
}

/// What must hold of constraints that were accepted for this kind of key.
pub(crate) fn understood(constraints: &Constraints, subject: Subject) {
    assert!(constraints.destinations.len() <= 1024);
    for constraint in &constraints.destinations {
        assert!(!constraint.to.hostname.is_empty() && !constraint.to.keys.is_empty());
        assert!(constraint.from.as_ref().is_none_or(|from| !from.hostname.is_empty() && !from.keys.is_empty()));
        assert!(constraint.user.as_ref().is_none_or(|user| !user.is_empty() && user.len() <= 256));
    }
    assert!(constraints.sk_provider.is_none() || subject == Subject::SecurityKey);
    if let Some(associated) = &constraints.certificates {
        assert_eq!(subject, Subject::Provider);
        assert!(associated.certificates.len() <= 1024);
        assert!(associated.certificates.iter().all(|key| key.certificate().is_some()));
    }
    let octets = encode(constraints);
    assert_eq!(Constraints::parse(Reader::new(&octets), subject).as_ref(), Ok(constraints));
}

fn encode(constraints: &Constraints) -> Vec<u8> {
    let mut octets = Vec::new();
    if !constraints.destinations.is_empty() {
        let list: Vec<u8> = constraints.destinations.iter().flat_map(|one| string(&encode_destination(one))).collect();
        octets.extend(extension(DESTINATIONS, &string(&list)));
    }
    if let Some(provider) = &constraints.sk_provider {
        octets.extend(extension("sk-provider@openssh.com", &string(provider.as_bytes())));
    }
    if let Some(associated) = &constraints.certificates {
        let list: Vec<u8> = associated.certificates.iter().flat_map(|key| string(key.blob())).collect();
        let payload = [&[u8::from(associated.only)], &string(&list)[..]].concat();
        octets.extend(extension("associated-certs-v00@openssh.com", &payload));
    }
    if constraints.confirm {
        octets.push(2);
    }
    if let Some(seconds) = constraints.lifetime {
        octets.push(1);
        octets.extend(seconds.to_be_bytes());
    }
    octets
}

fn encode_destination(constraint: &DestinationConstraint) -> Vec<u8> {
    let nowhere = Hop { hostname: String::new(), keys: Vec::new() };
    let from = encode_hop("", constraint.from.as_ref().unwrap_or(&nowhere));
    let to = encode_hop(constraint.user.as_deref().unwrap_or_default(), &constraint.to);
    [string(&from), string(&to), string(b"")].concat()
}

fn encode_hop(user: &str, hop: &Hop) -> Vec<u8> {
    let mut octets = [string(user.as_bytes()), string(hop.hostname.as_bytes()), string(b"")].concat();
    for key in &hop.keys {
        octets.extend(string(&key.blob));
        octets.push(key.is_authority.into());
    }
    octets
}

fn extension(name: &str, payload: &[u8]) -> Vec<u8> {
    [&[255], &string(name.as_bytes())[..], payload].concat()
}
