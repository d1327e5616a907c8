//! One field of a text for people, such as a dialog: text from elsewhere that keeps to its place.

use crate::text;

/// The longest field, in characters.
const LONGEST: usize = 64;

/// Shows text from elsewhere as one field: escaped, without anything that a dialog program could take for markup, the end of a quotation or a
/// break, and cut.
pub fn field(octets: &[u8]) -> String {
    cut(&inert(&text::escape(&octets[..octets.len().min(4 * LONGEST)])), LONGEST)
}

/// The same for text that is safe to show already, but may have any length.
pub fn line(text: &str, longest: usize) -> String {
    cut(&inert(text), longest)
}

/// The same for a text whose end says as much as its beginning: what is left out is in its midst.
pub fn ends(text: &str, longest: usize) -> String {
    let shown = inert(text);
    let backwards = |text: &str| text.chars().rev().collect::<String>();
    match cut(&shown, longest) == shown {
        true => shown,
        false => cut(&shown, longest / 2) + backwards(&cut(&backwards(&shown), longest / 2)).trim_start_matches('…'),
    }
}

/// In quotation marks, for what others say.
pub fn quoted(octets: &[u8]) -> String {
    format!("\"{}\"", field(octets))
}

/// Some dialog programs take `<b>` and `&amp;` for markup, pinentry's protocol `%0A` for a line break; a quotation mark would end the
/// quotation, and many blanks in a row would make the dialog begin a new line.
fn inert(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut after_blank = true;
    for character in text.chars() {
        let is_blank = character.is_whitespace() || character == '\u{2800}';
        match character {
            '<' | '>' | '&' | '%' | '"' => shown += &format!("\\x{:02x}", u32::from(character)),
            ' ' if after_blank => shown += "\\x20",
            ' ' => shown.push(' '),
            _ if is_blank => shown += &format!("\\u{{{:x}}}", u32::from(character)),
            _ => shown.push(character),
        }
        after_blank = is_blank;
    }
    match shown.strip_suffix(' ') {
        Some(rest) => format!("{rest}\\x20"),
        None => shown,
    }
}

/// Cuts after so many characters, and earlier where they take many octets: the dialog as a whole has to fit.
fn cut(text: &str, longest: usize) -> String {
    let fits = |(count, (at, character)): &(usize, (usize, char))| {
        *count < longest && at + character.len_utf8() <= longest + longest / 2
    };
    let end = text.char_indices().enumerate().take_while(fits).last();
    let end = end.map_or(0, |(_, (at, character))| at + character.len_utf8());
    match end == text.len() {
        true => text.to_owned(),
        false => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_and_long_text_is_cut() {
        assert_eq!(field("Grüße an bob@example (9a)".as_bytes()), "Grüße an bob@example (9a)");
        assert_eq!(field(&[b'x'; 1000]).chars().count(), LONGEST + 1);
        assert!(field("🔑".repeat(100).as_bytes()).len() <= 100);
    }

    #[test]
    fn both_ends_of_a_long_text_are_kept() {
        assert_eq!(ends("ssh host", 10), "ssh host");
        assert_eq!(ends(&format!("ssh {} host", "x".repeat(1000)), 10), "ssh x… host");
        let keys = ends(&"🔑".repeat(100), 60);
        assert!(keys.len() <= 93 && keys.starts_with('🔑') && keys.ends_with('🔑'), "{keys}");
    }

    #[test]
    fn nothing_is_markup_ends_a_quotation_or_makes_room() {
        assert_eq!(quoted(b"a\" at github.com"), "\"a\\x22 at github.com\"");
        assert_eq!(field(b"<b>%0A&amp;"), "\\x3cb\\x3e\\x250A\\x26amp;");
        assert_eq!(field(b" a  b "), "\\x20a \\x20b\\x20");
        assert_eq!(field("a\u{a0}\u{3000}\u{2800}b".as_bytes()), "a\\u{a0}\\u{3000}\\u{2800}b");
    }
}
