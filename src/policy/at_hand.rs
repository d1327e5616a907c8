//! Rules held against the keys that there are: those that are about no key, and those that demand what a key's device cannot be made to do.

use super::asked::KeyFacts;
use super::decide::{KeyPolicy, Policy};
use super::lint::Finding;
use super::requirements::{Action, Requirements};
use super::rule::Rule;

/// So many keys are named in one finding.
const MOST_NAMED: usize = 3;

/// A key that there is.
#[derive(Debug, Clone, Copy)]
pub struct KeyAtHand<'a> {
    /// What it can be called.
    pub facts: KeyFacts<'a>,
    /// Why its device cannot be made to wait for a touch; none where it can.
    pub no_touch: Option<&'a str>,
    /// Why the PIN cannot be asked for at each signature; none where it can.
    pub no_pin: Option<&'a str>,
}

impl Policy {
    /// What can hardly be meant, as these are all keys.
    #[must_use]
    pub fn lint_for(&self, keys: &[KeyAtHand<'_>]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for section in &self.keys {
            let own: Vec<_> = keys.iter().filter(|key| section.key.matches(&key.facts)).collect();
            if own.is_empty() {
                findings.push(about(section, "no key that the agent has matches this [[key]]"));
            }
            let always = unmet(Action::Require(section.always), &own);
            findings.extend(always.iter().map(|unmet| about(section, &format!("every use of the key {unmet}"))));
            section.rules.iter().for_each(|rule| findings.extend(rule_for(rule, &own)));
        }
        let of_sections = || self.keys.iter().flat_map(|section| &section.rules);
        for rule in self.written_rules().filter(|rule| !of_sections().any(|own| std::ptr::eq(own, *rule))) {
            let named = rule.when.key.as_ref();
            let own: Vec<_> =
                keys.iter().filter(|key| named.is_none_or(|pattern| pattern.matches(&key.facts))).collect();
            if named.is_some() && own.is_empty() {
                findings.push(Finding::of(rule, "no key that the agent has matches its key"));
            }
            findings.extend(rule_for(rule, &own));
        }
        findings
    }
}

fn about(section: &KeyPolicy, text: &str) -> Finding {
    Finding { place: Some(section.place.clone()), text: text.to_owned() }
}

fn rule_for<'a>(rule: &'a Rule, keys: &[&KeyAtHand<'_>]) -> impl Iterator<Item = Finding> + use<'a> {
    unmet(rule.action, keys).into_iter().map(|unmet| Finding::of(rule, &unmet))
}

/// What is demanded of keys that cannot do it: for which, and why.
fn unmet(action: Action, keys: &[&KeyAtHand<'_>]) -> Vec<String> {
    let Action::Require(demanded) = action else { return Vec::new() };
    type Why<'a> = fn(&KeyAtHand<'a>) -> Option<&'a str>;
    let demands: [(_, _, Why<'_>); 2] =
        [(Requirements::TOUCH, "touch", |key| key.no_touch), (Requirements::PIN, "pin", |key| key.no_pin)];
    let mut texts = Vec::new();
    for (_, word, why) in demands.into_iter().filter(|(requirement, ..)| demanded.contains(*requirement)) {
        let mut unable: Vec<(&str, Vec<&str>)> = Vec::new();
        for (key, reason) in keys.iter().filter_map(|key| Some((key, why(key)?))) {
            let name = if key.facts.comment.is_empty() { key.facts.fingerprint } else { key.facts.comment };
            match unable.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, names)) => names.push(name),
                None => unable.push((reason, vec![name])),
            }
        }
        texts.extend(unable.into_iter().map(|(reason, names)| {
            let more = names.len().saturating_sub(MOST_NAMED);
            let named = names[..names.len() - more].join(", ");
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!("demands {word}, so requests for {named}{more} are refused: {reason}")
        }));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn lint(text: &str) -> Vec<String> {
        let key = |comment, no_touch, no_pin| KeyAtHand {
            facts: KeyFacts { fingerprint: "SHA256:f", comment, uri: None },
            no_touch,
            no_pin,
        };
        let keys = [
            key("soft", Some("it is in memory"), Some("it has no PIN")),
            key("card", Some("PKCS#11 cannot"), None),
            key("stick", None, None),
        ];
        let findings = Config::parse(text).expect(text).policy.lint_for(&keys);
        let line = |finding: &Finding| finding.place.as_ref().map_or(0, |place| place.line);
        findings.iter().map(|finding| format!("{}: {}", line(finding), finding.text)).collect()
    }

    #[test]
    fn a_demand_that_a_key_cannot_meet_is_named_with_key_and_reason() {
        let found = lint("\n[[rule]]\naction = ['touch', 'pin']");
        assert_eq!(
            found,
            [
                "2: rule 1: demands touch, so requests for soft are refused: it is in memory",
                "2: rule 1: demands touch, so requests for card are refused: PKCS#11 cannot",
                "2: rule 1: demands pin, so requests for soft are refused: it has no PIN",
            ]
        );
        assert_eq!(lint("[[rule]]\nkey = 'stick'\naction = ['touch', 'pin']"), [""; 0]);
        assert_eq!(lint("[[rule]]\naction = 'confirm'"), [""; 0]);
        assert_eq!(lint("[[key]]\nmatch = 'stick'\n[[key.rule]]\naction = 'touch'"), [""; 0]);
        assert_eq!(lint("[[key]]\nmatch = 'card'\n[[key.rule]]\naction = 'touch'").len(), 1);
    }

    #[test]
    fn rules_and_sections_about_no_key_are_found() {
        let found = lint(
            "[[key]]\nmatch = 'gone'\n[[rule]]\nkey = 'sti*'\naction = 'deny'\n[[rule]]\nkey = 'lost'\naction = 'deny'",
        );
        assert_eq!(
            found,
            [
                "1: no key that the agent has matches this [[key]]",
                "6: rule 2: no key that the agent has matches its key"
            ]
        );
    }
}
