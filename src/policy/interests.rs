//! What it costs to judge by rules: nothing is found out for a decision that no rule looks at.

use super::decide::{Administrator, Policy};
use super::matcher::Matcher;

/// What the rules look at that takes reading files or processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interests {
    /// The names of the hosts that a request comes through and leads to.
    pub hosts: bool,
    /// The program that asks, with its arguments.
    pub program: bool,
    /// The programs above it.
    pub parents: bool,
}

impl Interests {
    fn of(matcher: &Matcher) -> Self {
        Self {
            hosts: matcher.hosts.is_some() || matcher.via.is_some(),
            program: matcher.programs.is_some() || matcher.arguments.is_some(),
            parents: matcher.parents.is_some(),
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            hosts: self.hosts || other.hosts,
            program: self.program || other.program,
            parents: self.parents || other.parents,
        }
    }
}

impl Policy {
    /// What its rules look at beyond what is known anyway.
    #[must_use]
    pub fn interests(&self) -> Interests {
        let sections = Interests { hosts: self.keys.iter().any(|key| key.hosts.is_some()), ..Interests::default() };
        self.written_rules().map(|rule| Interests::of(&rule.when)).fold(sections, Interests::and)
    }

    /// Whether any rule looks at more than the class of the origin and the kind of the payload; if not, nobody needs to gather it.
    #[must_use]
    pub fn looks_closer(&self) -> bool {
        !(self.processes.is_empty() && self.keys.is_empty() && self.rules.is_empty() && self.defaults.is_empty())
            || self.administrator != Administrator::Rules(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::matcher::Patterns;
    use crate::policy::{Action, Preset, Rule};

    #[test]
    fn what_no_rule_names_is_of_no_interest() {
        let patterns = || Some(Patterns::new(["*"]).expect("a pattern"));
        let interests = |matcher: Matcher| {
            let rule = Rule::built_in("a rule", matcher, Action::ALLOW);
            Policy { rules: vec![rule], ..Policy::new(Preset::Strict) }.interests()
        };
        let none = Interests::default();
        assert_eq!(Policy::default().interests(), none);
        assert_eq!(interests(Matcher { users: patterns(), ..Matcher::default() }), none);
        let hosts = Interests { hosts: true, ..none };
        assert_eq!(interests(Matcher { hosts: patterns(), ..Matcher::default() }), hosts);
        assert_eq!(interests(Matcher { via: patterns(), ..Matcher::default() }), hosts);
        let program = Interests { program: true, ..none };
        assert_eq!(interests(Matcher { programs: patterns(), ..Matcher::default() }), program);
        assert_eq!(interests(Matcher { arguments: Some(Vec::new()), ..Matcher::default() }), program);
        assert_eq!(
            interests(Matcher { parents: patterns(), ..Matcher::default() }),
            Interests { parents: true, ..none }
        );
    }
}
