//! SSH's basic data types (RFC 4251 section 5), read without copying.
//!
//! `ssh-encoding`'s reader copies every string; requests arrive in one buffer that outlives their handling, so a cursor that
//! borrows is both simpler and the way to keep private keys and PINs in exactly one place.

use super::Malformed;

/// A cursor over the octets of one message. Whatever it returns borrows from the message.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first octet of `message`.
    pub const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Reads a `byte`.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or_else(truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    /// Reads a `boolean`; every non-zero value is true.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.u8()? != 0)
    }

    /// Reads a `uint32`.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let (first, rest) = self.rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*first))
    }

    /// Reads a `uint64`.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let (first, rest) = self.rest.split_first_chunk::<8>().ok_or_else(truncated)?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*first))
    }

    /// Reads a `string`: its length, then that many octets.
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        if length > self.rest.len() {
            return Err(truncated());
        }
        let (string, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(string)
    }

    /// Reads a `string` that must be UTF-8, such as a name.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.string()?).map_err(|_| Malformed::new("text is not UTF-8"))
    }

    /// Reads an `mpint` that must not be negative, as its magnitude without leading zero octets.
    pub fn positive(&mut self) -> Result<&'a [u8], Malformed> {
        let mpint = self.string()?;
        if mpint.first().is_some_and(|first| first & 0x80 != 0) {
            return Err(Malformed::new("negative number"));
        }
        let zeros = mpint.iter().take_while(|octet| **octet == 0).count();
        Ok(&mpint[zeros..])
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Fails when octets are left over.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Malformed::new(format!("{left} octets left over"))),
        }
    }
}

/// Appends SSH's basic data types to a buffer.
pub trait Put {
    /// Appends a `uint32`.
    fn put_u32(&mut self, value: u32);
    /// Appends a `string`. The caller keeps messages below [`super::frame::MAX_MESSAGE`], so lengths fit 32 bits.
    fn put_string(&mut self, value: &[u8]);
    /// Appends a non-negative `mpint`, given as its big-endian magnitude.
    fn put_positive(&mut self, magnitude: &[u8]);
}

impl Put for Vec<u8> {
    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_string(&mut self, value: &[u8]) {
        self.put_u32(value.len() as u32);
        self.extend_from_slice(value);
    }

    fn put_positive(&mut self, magnitude: &[u8]) {
        let zeros = magnitude.iter().take_while(|octet| **octet == 0).count();
        let magnitude = &magnitude[zeros..];
        let sign = usize::from(magnitude.first().is_some_and(|first| first & 0x80 != 0));
        self.put_u32((magnitude.len() + sign) as u32);
        if sign == 1 {
            self.push(0);
        }
        self.extend_from_slice(magnitude);
    }
}

fn truncated() -> Malformed {
    Malformed::new("message ends too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_longer_than_the_message_is_refused() {
        assert!(Reader::new(&[0, 0, 0, 5, 1, 2]).string().is_err());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff]).string().is_err());
    }

    #[test]
    fn numbers_survive_the_round_trip_in_their_shortest_form() {
        for (magnitude, wire) in [
            (&[][..], &[0, 0, 0, 0][..]),
            (&[0, 0], &[0, 0, 0, 0]),
            (&[0x7f], &[0, 0, 0, 1, 0x7f]),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
            (&[0, 0x80, 1], &[0, 0, 0, 3, 0, 0x80, 1]),
        ] {
            let mut buffer = Vec::new();
            buffer.put_positive(magnitude);
            assert_eq!(buffer, wire);
            let zeros = magnitude.iter().take_while(|octet| **octet == 0).count();
            assert_eq!(Reader::new(&buffer).positive().expect("valid"), &magnitude[zeros..]);
        }
    }

    #[test]
    fn negative_numbers_are_refused() {
        assert!(Reader::new(&[0, 0, 0, 1, 0x80]).positive().is_err());
    }

    #[test]
    fn left_over_octets_are_counted() {
        assert_eq!(Reader::new(&[1, 2, 3]).finish().expect_err("octets are left").0, "3 octets left over");
    }
}
