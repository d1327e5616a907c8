//! Citations: comments `//= RFC 9987 section 5.1: words of a sentence`, which may go on in further lines `//= more words`.

/// A citation and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Citation {
    /// The section's number.
    pub(crate) section: String,
    /// The words, with single blanks between them.
    pub(crate) words: String,
    /// The file, below the root, and the line, from 1.
    pub(crate) place: String,
    /// It stands in a test.
    pub(crate) in_test: bool,
}

const MARK: &str = "//=";
const SOURCE: &str = "RFC 9987 section ";

/// The citations in a Rust file. `name` is its path below the root.
///
/// # Errors
/// A citation that does not name a section, with its place.
pub(crate) fn find(name: &str, text: &str) -> Result<Vec<Citation>, String> {
    // A file of tests as a whole, or from where the unit tests begin to the end, as this project orders its modules.
    let tests_only = !name.starts_with("src/") || name.ends_with("_tests.rs");
    let (mut in_test, mut open) = (tests_only, false);
    let mut citations: Vec<Citation> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        in_test |= line.starts_with("mod tests {");
        let Some(words) = line.strip_prefix(MARK).map(str::trim) else {
            open = false;
            continue;
        };
        let place = format!("{name}:{number}");
        match (words.strip_prefix(SOURCE), citations.last_mut()) {
            (Some(rest), _) => {
                let (section, words) =
                    rest.split_once(": ").ok_or_else(|| format!("{place}: no words after the section"))?;
                citations.push(Citation { section: section.into(), words: normal(words), place, in_test });
                open = true;
            }
            (None, Some(citation)) if open => citation.words = normal(&format!("{} {words}", citation.words)),
            (None, _) => return Err(format!("{place}: a citation begins with \"{MARK} {SOURCE}\"")),
        }
    }
    Ok(citations)
}

/// With single blanks between words.
pub(crate) fn normal(words: &str) -> String {
    words.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
        //= RFC 9987 section 5.1: On success,
        //= the agent   MUST reply
        fn reply() {}
        mod tests {
            //= RFC 9987 section 5.7: MUST unlock
        }
        ";

    #[test]
    fn a_citation_may_go_on_and_knows_whether_it_is_in_a_test() {
        let citations = find("src/x.rs", FILE).expect("citations in form");
        assert_eq!(citations[0].words, "On success, the agent MUST reply");
        assert_eq!((citations[0].section.as_str(), citations[0].place.as_str()), ("5.1", "src/x.rs:2"));
        assert_eq!(citations.iter().map(|citation| citation.in_test).collect::<Vec<_>>(), [false, true]);
        assert!(find("tests/x.rs", FILE).expect("citations in form")[0].in_test);
        assert!(find("src/x_tests.rs", FILE).expect("citations in form")[0].in_test);
    }

    #[test]
    fn a_citation_out_of_form_is_named_by_its_place() {
        for text in ["//= words", "//= RFC 9987 section 5", "//= RFC 9987 section 5: a\nfn x() {}\n//= b"] {
            assert!(find("src/x.rs", text).expect_err(text).starts_with("src/x.rs:"), "{text}");
        }
    }
}
