//! Constraints a key is added with (RFC 9987 section 3.2.7).

use super::Malformed;
use super::wire::Reader;

const LIFETIME: u8 = 1;
const CONFIRM: u8 = 2;
const EXTENSION: u8 = 255;

/// The limits that a key was added with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Seconds until the key is forgotten; zero is gone before the next request.
    pub lifetime: Option<u32>,
    /// Every use needs the user's consent.
    pub confirm: bool,
}

impl Constraints {
    /// Reads constraints until the end of the request.
    ///
    /// # Errors
    /// An unknown constraint, or one given twice: the whole addition has to fail.
    pub fn parse(mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let mut constraints = Self::default();
        while !reader.is_empty() {
            match reader.u8()? {
                LIFETIME if constraints.lifetime.is_none() => constraints.lifetime = Some(reader.u32()?),
                CONFIRM if !constraints.confirm => constraints.confirm = true,
                LIFETIME | CONFIRM => return Err(Malformed::new("constraint given twice")),
                //= RFC 9987 section 3.2.7: if an agent receives a request with a constraint it does not recognise, it MUST refuse
                EXTENSION => {
                    let name = String::from_utf8_lossy(reader.string()?).into_owned();
                    return Err(Malformed(format!("constraint {name:?} is not supported")));
                }
                code => return Err(Malformed(format!("constraint {code} is not supported"))),
            }
        }
        Ok(constraints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetime_and_confirm_are_read_in_any_order() {
        let expected = Constraints { lifetime: Some(9), confirm: true };
        assert_eq!(Constraints::parse(Reader::new(&[1, 0, 0, 0, 9, 2])), Ok(expected.clone()));
        assert_eq!(Constraints::parse(Reader::new(&[2, 1, 0, 0, 0, 9])), Ok(expected));
    }

    #[test]
    fn unknown_repeated_and_cut_constraints_fail_the_addition() {
        for octets in
            [&[3, 0, 0, 0, 1][..], &[2, 2], &[1, 0, 0, 0, 1, 1, 0, 0, 0, 1], &[1, 0, 0], &[255, 0, 0, 0, 1, b'x']]
        {
            assert!(Constraints::parse(Reader::new(octets)).is_err(), "{octets:?}");
        }
    }
}
