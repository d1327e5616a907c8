//! Sentences beside their citations, and what is wrong with that.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::citation::{Citation, normal};

/// One sentence of the RFC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirement {
    section: String,
    sentence: String,
    /// Why there is no code or no test.
    why: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    requirement: Vec<Requirement>,
}

/// Which sentence is cited where.
pub(crate) struct Coverage {
    sentences: Vec<Sentence>,
    strays: Vec<String>,
}

struct Sentence {
    requirement: Requirement,
    code: Vec<String>,
    tests: Vec<String>,
}

/// Reads the file of requirements.
pub(crate) fn parse(text: &str) -> Result<Vec<Requirement>, toml::de::Error> {
    toml::from_str::<File>(text).map(|file| file.requirement)
}

impl Coverage {
    /// Puts each citation with its sentence.
    pub(crate) fn new(requirements: Vec<Requirement>, citations: Vec<Citation>) -> Self {
        let sentence = |requirement: Requirement| Sentence {
            requirement: Requirement { sentence: normal(&requirement.sentence), ..requirement },
            code: Vec::new(),
            tests: Vec::new(),
        };
        let mut coverage = Self { sentences: requirements.into_iter().map(sentence).collect(), strays: Vec::new() };
        for citation in citations {
            coverage.place(citation);
        }
        coverage
    }

    fn place(&mut self, Citation { section, words, place, in_test }: Citation) {
        let fits = |sentence: &&mut Sentence| {
            sentence.requirement.section == section && sentence.requirement.sentence.contains(&words)
        };
        let mut found: Vec<_> = self.sentences.iter_mut().filter(fits).collect();
        let count = match found.as_mut_slice() {
            [sentence] if in_test => return sentence.tests.push(place),
            [sentence] => return sentence.code.push(place),
            [] => "no sentence of section",
            _ => "several sentences of section",
        };
        self.strays.push(format!("{place}: {count} {section}: \"{words}\""));
    }

    /// What is missing or wrong, a line each.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.strays.iter().cloned().chain(self.sentences.iter().filter_map(Sentence::complaint)).collect()
    }

    /// How much there is of everything, in a line.
    pub(crate) fn summary(&self) -> String {
        let count = |condition: fn(&Sentence) -> bool| self.sentences.iter().filter(|one| condition(one)).count();
        format!(
            "{} sentences of RFC 9987: {} with code and test, {} explained, {} open",
            self.sentences.len(),
            count(|one| one.is_covered() && one.requirement.why.is_none()),
            count(|one| one.requirement.why.is_some()),
            count(|one| !one.is_covered() && one.requirement.why.is_none()),
        )
    }

    /// Every sentence with its places or its explanation.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for Sentence { requirement, code, tests } in &self.sentences {
            let _ = writeln!(text, "section {}: {}", requirement.section, requirement.sentence);
            for (title, places) in [("code", code), ("test", tests)] {
                for place in places {
                    let _ = writeln!(text, "    {title} {place}");
                }
            }
            if let Some(why) = &requirement.why {
                let _ = writeln!(text, "    why  {}", normal(why));
            }
        }
        text
    }
}

impl Sentence {
    fn is_covered(&self) -> bool {
        !self.code.is_empty() && !self.tests.is_empty()
    }

    fn complaint(&self) -> Option<String> {
        let Requirement { section, sentence, why } = &self.requirement;
        let what = match (self.code.is_empty(), self.tests.is_empty(), why) {
            (false, false, Some(_)) => "explained without need",
            (false, false, None) | (_, _, Some(_)) => return None,
            (true, true, None) => "neither code nor test",
            (true, false, None) => "no code",
            (false, true, None) => "no test",
        };
        Some(format!("section {section}: {what}: {sentence}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::citation::find;

    const SENTENCES: &str = r#"
        [[requirement]]
        section = "1"
        sentence = "It MUST answer and it MUST wait."
        [[requirement]]
        section = "1"
        sentence = "It MUST wait or go."
        "#;

    fn complaints(sentences: &str, files: &[(&str, &str)]) -> Vec<String> {
        let citations = files.iter().flat_map(|(name, text)| find(name, text).expect("citations in form")).collect();
        Coverage::new(parse(sentences).expect("sentences in form"), citations).complaints()
    }

    #[test]
    fn a_sentence_needs_code_and_test() {
        let code = ("src/a.rs", "//= RFC 9987 section 1: It MUST answer\n//= RFC 9987 section 1: wait or go.");
        let test = ("tests/a.rs", "//= RFC 9987 section 1: It MUST answer\n//= RFC 9987 section 1: wait or go.");
        assert_eq!(complaints(SENTENCES, &[code, test]), [""; 0]);
        let one = complaints(SENTENCES, &[code]);
        assert!(one[0].contains("no test: It MUST answer") && one[1].contains("no test: It MUST wait"), "{one:?}");
        assert!(complaints(SENTENCES, &[test])[0].contains("no code"));
        assert!(complaints(SENTENCES, &[])[1].contains("neither code nor test"));
    }

    #[test]
    fn an_explanation_stands_for_code_or_test_and_not_beside_both() {
        let explained = SENTENCES.replace("or go.\"", "or go.\"\nwhy = \"because\"").replace("answer and it", "");
        let code = ("src/a.rs", "//= RFC 9987 section 1: wait or go");
        let test = ("tests/a.rs", "//= RFC 9987 section 1: wait or go");
        assert_eq!(complaints(&explained, &[code]).len(), 1);
        assert!(complaints(&explained, &[code, test]).iter().any(|line| line.contains("explained without need")));
    }

    #[test]
    fn words_of_no_sentence_or_of_several_are_named() {
        let stray =
            |words: &str| complaints(SENTENCES, &[("src/a.rs", &format!("//= RFC 9987 section {words}"))])[0].clone();
        assert!(stray("1: It MAY answer").starts_with("src/a.rs:1: no sentence"));
        assert!(stray("2: It MUST answer").starts_with("src/a.rs:1: no sentence"));
        assert!(stray("1: MUST wait").starts_with("src/a.rs:1: several sentences"));
    }
}
