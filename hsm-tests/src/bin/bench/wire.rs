//! The encoding of RFC 4251 section 5, as far as a benchmark's messages need it.

/// Appends a `string`.
pub(crate) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("nothing here is longer than a message");
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}

/// Appends an `mpint` of an unsigned big-endian number.
pub(crate) fn put_mpint(out: &mut Vec<u8>, number: &[u8]) {
    let digits = without_leading_zeros(number);
    let padding: &[u8] = if digits.first().is_some_and(|digit| digit & 0x80 != 0) { &[0] } else { &[] };
    put(out, &[padding, digits].concat());
}

/// Takes a `string` off the front.
pub(crate) fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (string, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(string)
}

/// A non-negative `mpint`'s digits.
pub(crate) fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|digit| **digit == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back() {
        let mut bytes = Vec::new();
        put(&mut bytes, b"one");
        put(&mut bytes, b"");
        let mut rest = &bytes[..];
        assert_eq!((take(&mut rest), take(&mut rest), take(&mut rest)), (Some(&b"one"[..]), Some(&b""[..]), None));
    }

    #[test]
    fn numbers_have_no_surplus_and_no_missing_zero() {
        let mpint = |number: &[u8]| {
            let mut out = Vec::new();
            put_mpint(&mut out, number);
            out
        };
        assert_eq!(mpint(&[0, 0, 0x7f]), [0, 0, 0, 1, 0x7f]);
        assert_eq!(mpint(&[0x80]), [0, 0, 0, 2, 0, 0x80]);
    }
}
