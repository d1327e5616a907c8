//! Constraints a key is added with (RFC 9987 section 5.2.7, OpenSSH PROTOCOL.agent sections 2 and 3).

use super::Malformed;
use super::destination::{self, DestinationConstraint};
use super::public_key::PublicKey;
use super::wire::Reader;
use crate::text;

const LIFETIME: u8 = 1;
const CONFIRM: u8 = 2;
const EXTENSION: u8 = 255;

const SK_PROVIDER: &str = "sk-provider@openssh.com";
const ASSOCIATED_CERTS: &str = "associated-certs-v00@openssh.com";
const MAX_CERTIFICATES: usize = 1024;

/// The limits that a key was added with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Seconds until the key is forgotten; zero is gone before the next request.
    pub lifetime: Option<u32>,
    /// Every use needs the user's consent.
    pub confirm: bool,
    /// The only paths the key may be used on; empty means any.
    pub destinations: Vec<DestinationConstraint>,
    /// The middleware that talks to a security key; `internal` for the agent's own.
    pub sk_provider: Option<String>,
    /// Certificates for the keys of a PKCS#11 provider.
    pub certificates: Option<AssociatedCertificates>,
}

/// `associated-certs-v00@openssh.com`
#[derive(Debug, Clone, Default)]
pub struct AssociatedCertificates {
    /// List the certificates only, not the plain keys.
    pub only: bool,
    /// The certificates.
    pub certificates: Vec<PublicKey>,
}

impl PartialEq for AssociatedCertificates {
    fn eq(&self, other: &Self) -> bool {
        let blobs = |list: &Self| list.certificates.iter().map(|key| key.blob().to_vec()).collect::<Vec<_>>();
        self.only == other.only && blobs(self) == blobs(other)
    }
}

impl Eq for AssociatedCertificates {}

/// What is being added; some constraints belong to one kind only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A private key held in memory.
    Software,
    /// A security key's handle.
    SecurityKey,
    /// A PKCS#11 provider.
    Provider,
}

impl Constraints {
    /// Reads constraints until the end of the request.
    ///
    /// # Errors
    /// An unknown constraint, one given twice, or one for another kind of key: the whole addition has to fail.
    pub fn parse(mut reader: Reader<'_>, subject: Subject) -> Result<Self, Malformed> {
        let mut constraints = Self::default();
        let mut destinations = None;
        while !reader.is_empty() {
            match reader.u8()? {
                LIFETIME => once(&mut constraints.lifetime, reader.u32()?)?,
                CONFIRM if !constraints.confirm => constraints.confirm = true,
                CONFIRM => return Err(twice()),
                //= RFC 9987 section 5.2.7.3: The "extension name" MUST consist of a UTF-8 string.
                EXTENSION => match reader.text()? {
                    destination::NAME => once(&mut destinations, destination::parse(&mut reader)?)?,
                    SK_PROVIDER if subject == Subject::SecurityKey => {
                        once(&mut constraints.sk_provider, reader.text()?.to_owned())?;
                    }
                    ASSOCIATED_CERTS if subject == Subject::Provider => {
                        once(&mut constraints.certificates, certificates(&mut reader)?)?;
                    }
                    //= RFC 9987 section 5.2.7: if an agent does not recognise or support a requested constraint, it
                    //= MUST abort parsing, refuse the request
                    name => {
                        let name = text::excerpt(name.as_bytes());
                        return Err(Malformed::new(format!("constraint \"{name}\" is not known for this kind of key")));
                    }
                },
                code => return Err(Malformed::new(format!("constraint {code} is not known"))),
            }
        }
        constraints.destinations = destinations.unwrap_or_default();
        Ok(constraints)
    }
}

fn certificates(reader: &mut Reader<'_>) -> Result<AssociatedCertificates, Malformed> {
    let only = reader.bool()?;
    let mut list = Reader::new(reader.string()?);
    let mut certificates = Vec::new();
    while !list.is_empty() {
        if certificates.len() == MAX_CERTIFICATES {
            return Err(Malformed::new(format!("more than {MAX_CERTIFICATES} certificates")));
        }
        let key = PublicKey::from_blob(list.string()?)?;
        if key.certificate().is_none() {
            return Err(Malformed::new("a plain key where a certificate belongs"));
        }
        certificates.push(key);
    }
    Ok(AssociatedCertificates { only, certificates })
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(twice()),
    }
}

fn twice() -> Malformed {
    Malformed::new("constraint given twice")
}

#[cfg(test)]
mod tests {
    use super::super::wire::Put as _;
    use super::*;

    fn parse(octets: &[u8], subject: Subject) -> Result<Constraints, Malformed> {
        Constraints::parse(Reader::new(octets), subject)
    }

    fn extension(name: &str, payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![EXTENSION];
        octets.put_string(name.as_bytes());
        octets.extend_from_slice(payload);
        octets
    }

    #[test]
    fn lifetime_and_confirm_are_read_in_any_order() {
        let expected = Constraints { lifetime: Some(9), confirm: true, ..Constraints::default() };
        assert_eq!(parse(&[1, 0, 0, 0, 9, 2], Subject::Software), Ok(expected.clone()));
        assert_eq!(parse(&[2, 1, 0, 0, 0, 9], Subject::Software), Ok(expected));
    }

    #[test]
    fn unknown_repeated_and_cut_constraints_fail_the_addition() {
        for octets in [&[3, 0, 0, 0, 1][..], &[2, 2], &[1, 0, 0, 0, 1, 1, 0, 0, 0, 1], &[1, 0, 0]] {
            assert!(parse(octets, Subject::Software).is_err(), "{octets:?}");
        }
        let empty_list = extension(destination::NAME, &[0, 0, 0, 0]);
        assert!(parse(&empty_list, Subject::Software).is_ok());
        assert!(parse(&empty_list.repeat(2), Subject::Software).is_err());
        assert!(parse(&extension("x@example", &[]), Subject::Software).is_err());
    }

    #[test]
    fn a_constraint_belongs_to_its_kind_of_key() {
        let provider = extension(SK_PROVIDER, b"\0\0\0\x08internal");
        assert!(parse(&provider, Subject::SecurityKey).is_ok());
        assert!(parse(&provider, Subject::Software).is_err());
        assert!(parse(&provider, Subject::Provider).is_err());
        let certificates = extension(ASSOCIATED_CERTS, &[1, 0, 0, 0, 0]);
        assert!(parse(&certificates, Subject::Provider).is_ok());
        assert!(parse(&certificates, Subject::Software).is_err());
    }
}
