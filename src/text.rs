//! Text that came from a token, a peer or the wire, made safe to show: what people see is what is there, on one line.

/// The longest excerpt, in characters.
const LONGEST_EXCERPT: usize = 64;

/// Shows any octets on one line: printable text as it is; control, bidirectional and invisible characters, line breaks, backslashes and
/// what is not UTF-8 as escapes. A label with a line break would otherwise put a line of its own into `authorized_keys`.
pub fn escape(octets: &[u8]) -> String {
    // Almost all text is.
    if let (true, Ok(text)) = (octets.iter().all(is_plain_ascii), str::from_utf8(octets)) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => shown.push_str("\\\\"),
                _ if is_plain(character) => shown.push(character),
                _ if character.is_ascii() => shown += &format!("\\x{:02x}", u32::from(character)),
                _ => shown += &format!("\\u{{{:x}}}", u32::from(character)),
            }
        }
        chunk.invalid().iter().for_each(|octet| shown += &format!("\\x{octet:02x}"));
    }
    shown
}

/// Octets as hexadecimal digits.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Shows the lines of a text for people as they are, but for what a terminal would obey: the agent that says them may be anybody's.
pub fn printable(text: &str) -> String {
    text.split('\n').map(|line| escape(line.as_bytes()).replace("\\\\", "\\")).collect::<Vec<_>>().join("\n")
}

/// Escapes and cuts: for text from elsewhere of which only the beginning matters.
pub fn excerpt(octets: &[u8]) -> String {
    // An escape is at most eight times as long as what it stands for, so this much is enough.
    let escaped = escape(&octets[..octets.len().min(4 * LONGEST_EXCERPT)]);
    cut(escaped, LONGEST_EXCERPT)
}

/// Cuts after so many characters, and shows that something was cut.
pub fn cut(mut text: String, longest: usize) -> String {
    if text.len() > longest
        && let Some((at, _)) = text.char_indices().nth(longest)
    {
        text.truncate(at);
        text.push('…');
    }
    text
}

const fn is_plain_ascii(octet: &u8) -> bool {
    matches!(octet, b' '..=b'~') && *octet != b'\\'
}

/// Whether a character shows as itself, moves nothing and hides nothing.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(u32::from(character),
            0x00ad | 0x034f | 0x061c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff
            | 0xffa0 | 0xfff0..=0xfffb | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(escape("Grüße, 鍵 key-1 (9a)".as_bytes()), "Grüße, 鍵 key-1 (9a)");
    }

    #[test]
    fn what_is_plain_in_ascii_is_plain() {
        let is_shown_as_it_is = |octet| is_plain(char::from(octet)) && octet != b'\\';
        assert!((0..0x80_u8).all(|octet| is_plain_ascii(&octet) == is_shown_as_it_is(octet)));
    }

    #[test]
    fn quotations_are_short() {
        assert_eq!(excerpt(b"ssh-dss"), "ssh-dss");
        assert_eq!(excerpt("é".repeat(1000).as_bytes()), "é".repeat(64) + "…");
    }

    #[test]
    fn nothing_breaks_the_line_or_turns_it_around() {
        assert_eq!(escape(b"a\nssh-rsa AAAA evil"), "a\\x0assh-rsa AAAA evil");
        assert_eq!(escape("a\u{202e}b\u{200b}c\u{2028}".as_bytes()), "a\\u{202e}b\\u{200b}c\\u{2028}");
        assert_eq!(escape(b"\xff\xfea\\"), "\\xff\\xfea\\\\");
        assert_eq!(escape(b"\x1b[2J\x7f"), "\\x1b[2J\\x7f");
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_printed() {
        assert_eq!(printable("a\\x0ab\n\u{1b}[2Jc\u{202e}\n"), "a\\x0ab\n\\x1b[2Jc\\u{202e}\n");
    }
}
