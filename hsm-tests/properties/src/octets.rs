//! SSH's basic types once more (RFC 4251 section 5), so that what is checked is not checked against itself.

/// A `string`: its length and the octets.
pub(crate) fn string(octets: &[u8]) -> Vec<u8> {
    let length = u32::try_from(octets.len()).expect("inputs are short");
    [&length.to_be_bytes(), octets].concat()
}

/// The `string` that the octets begin with, and what follows it.
pub(crate) fn split_string(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = octets.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// So many strings, and what follows them.
pub(crate) fn split_strings<const COUNT: usize>(mut octets: &[u8]) -> Option<([&[u8]; COUNT], &[u8])> {
    let mut strings = [&[][..]; COUNT];
    for place in &mut strings {
        (*place, octets) = split_string(octets)?;
    }
    Some((strings, octets))
}

/// The strings that the octets begin with, as far as they go.
pub(crate) fn strings(mut octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (string, rest) = split_string(octets)?;
        octets = rest;
        Some(string)
    })
}

/// Fails when a text would do harm in a log: break its line, or fill it. Messages quote what clients sent, and clients send much.
pub(crate) fn assert_fits_a_log(text: &str) {
    let length = text.chars().count();
    assert!(length <= 256, "a message of {length} characters");
    assert!(!text.chars().any(char::is_control), "control characters in {text:?}");
}
