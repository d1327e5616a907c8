//! What in a policy is allowed and can hardly be meant.

use super::asked::Kind;
use super::decide::{LONGEST_FORWARDED_APPROVAL, Policy, ProcessRule};
use super::matcher::{Matcher, Patterns};
use super::preset::{FORWARDED, Preset};
use super::requirements::{Action, Requirements};
use super::rule::{Place, Rule};
use crate::origin::classify::Origin;
use crate::pattern;

/// Programs that pass on what others want signed, by the beginnings of their names. Made of the programs that were seen to, and of
/// interpreters, which run any program.
const RELAYS: [&str; 26] = [
    "asyncssh",
    "autossh",
    "bash",
    "code",
    "dbclient",
    "docker",
    "java",
    "kitty",
    "mosh",
    "nc",
    "ncat",
    "node",
    "paramiko",
    "perl",
    "plink",
    "podman",
    "python",
    "ruby",
    "sh",
    "socat",
    "ssh",
    "ssh-agent-filter",
    "sshd",
    "sudo",
    "systemd",
    "tmux",
];

/// Something that can hardly be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it stands; nowhere when it is about the whole.
    pub place: Option<Place>,
    /// What it is, and what to do.
    pub text: String,
}

impl Policy {
    /// Everything that can hardly be meant.
    #[must_use]
    pub fn lint(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.preset == Preset::Openssh {
            let text =
                "preset openssh is on: what is forwarded is signed without a question; write preset = \"strict\"";
            findings.push(Finding { place: None, text: text.to_owned() });
        }
        for rule in self.written_rules() {
            findings.extend(never(&rule.when).map(|why| Finding::of(rule, &format!("can never match: {why}"))));
            findings.extend(self.silence(rule));
            if rule.cache.is_some_and(|cache| cache.time > LONGEST_FORWARDED_APPROVAL)
                && is_only(&rule.when, &FORWARDED)
            {
                findings.push(Finding::of(
                    rule,
                    "an approval of forwarded requests holds 10 minutes at most, whatever its cache says",
                ));
            }
        }
        let processes: Vec<&Rule> = self.processes.iter().map(|process| &process.rule).collect();
        let lists =
            self.keys.iter().map(|key| key.rules.iter().collect()).chain([self.rules.iter().collect(), processes]);
        lists.for_each(|list: Vec<&Rule>| findings.extend(shadowed(&list)));
        findings.extend(self.processes.iter().filter_map(relaying));
        if self.silent_forwarding && !self.written_rules().any(|rule| self.may_silence(rule)) {
            let text = "[forwarding] silent is on, and no rule names a key, via and host; it has no effect";
            findings.push(Finding { place: None, text: text.to_owned() });
        }
        findings.sort_by_key(|finding| finding.place.as_ref().map_or(0, |place| place.line));
        findings
    }

    /// A rule that wants silence for forwarded requests and does not get it.
    fn silence(&self, rule: &Rule) -> Option<Finding> {
        let confirms = !matches!(rule.action, Action::Require(all) if !all.contains(Requirements::CONFIRM));
        if confirms || rule.when.via.is_none() || self.preset == Preset::Openssh {
            return None;
        }
        if !self.silent_forwarding {
            return Some(Finding::of(
                rule,
                "forwarded requests are confirmed all the same; silence takes [forwarding] silent = true",
            ));
        }
        let named = self.may_silence(rule);
        (!named).then(|| {
            Finding::of(
                rule,
                "forwarded requests are confirmed all the same; silence takes a rule that names key, via and host",
            )
        })
    }
}

impl Finding {
    /// Of a rule.
    pub(super) fn of(rule: &Rule, text: &str) -> Self {
        Self { place: rule.place.clone(), text: format!("{}: {text}", rule.label) }
    }
}

fn is_only(when: &Matcher, classes: &[Origin]) -> bool {
    when.origins.as_ref().is_some_and(|origins| origins.iter().all(|origin| classes.contains(origin)))
}

/// Why no request matches.
fn never(when: &Matcher) -> Option<&'static str> {
    let excludes = |wanted: &dyn Fn(Kind) -> bool| {
        when.kinds.as_ref().is_some_and(|kinds| !kinds.iter().any(|kind| wanted(*kind)))
    };
    let proved = [Origin::ForwardedVerified, Origin::ForwardedKnownHop];
    let possible = |classes: &[Origin]| {
        when.origins.as_ref().is_none_or(|origins| origins.iter().any(|origin| classes.contains(origin)))
    };
    if when.via.is_some() && !possible(&proved) {
        return Some("via is known of forwarded-verified and forwarded-known-hop only");
    }
    let for_login = when.hosts.is_some() || when.users.is_some();
    if for_login && excludes(&|kind| kind.is_login()) {
        return Some("only logins have a host and a user");
    }
    if when.namespaces.is_some() && excludes(&|kind| kind == Kind::SshSig) {
        return Some("only sshsig has a namespace");
    }
    if for_login && when.namespaces.is_some() {
        return Some("a request has a host and a user, or a namespace, and never both");
    }
    if when.listeners.is_some() && !possible(&FORWARDED) {
        return Some("everything that arrives at such a listener is forwarded");
    }
    None
}

/// Rules that an earlier one of the same list leaves nothing to.
fn shadowed(rules: &[&Rule]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        if let Some(earlier) = rules[..index].iter().find(|earlier| covers(&earlier.when, &rule.when)) {
            let place = earlier.place.as_ref().map_or(0, |place| place.line);
            findings.push(Finding::of(
                rule,
                &format!("never reached, as the rule in line {place} is about the same requests"),
            ));
        }
    }
    findings
}

/// Whether certainly everything that the second is about the first is about, too.
fn covers(first: &Matcher, second: &Matcher) -> bool {
    fn within<T: PartialEq>(first: &Option<Vec<T>>, second: &Option<Vec<T>>) -> bool {
        match (first, second) {
            (None, _) => true,
            (Some(first), Some(second)) => second.iter().all(|own| first.contains(own)),
            (Some(_), None) => false,
        }
    }
    let patterns = |first: &Option<Patterns>, second: &Option<Patterns>| match (first, second) {
        (None, _) => true,
        (Some(first), Some(second)) => first == second || includes(first, second),
        (Some(_), None) => false,
    };
    within(&first.origins, &second.origins)
        && within(&first.kinds, &second.kinds)
        && (first.key.is_none() || first.key == second.key)
        && (first.arguments.is_none() || first.arguments == second.arguments)
        && [
            (&first.hosts, &second.hosts),
            (&first.users, &second.users),
            (&first.via, &second.via),
            (&first.namespaces, &second.namespaces),
            (&first.programs, &second.programs),
            (&first.parents, &second.parents),
            (&first.listeners, &second.listeners),
        ]
        .iter()
        .all(|(first, second)| patterns(first, second))
}

/// Whether one list certainly matches whatever the other does. A `?` could stand for a `*` of the other, so it is not relied on.
fn includes(first: &Patterns, second: &Patterns) -> bool {
    let wider = |pattern: &String| {
        first.positive().iter().any(|own| own == pattern || (!own.contains('?') && pattern::matches(own, pattern)))
    };
    first.exceptions().is_empty() && second.positive().iter().all(wider)
}

/// A program that is said to pass nothing on, and is known to.
fn relaying(process: &ProcessRule) -> Option<Finding> {
    let programs = process.rule.when.programs.as_ref().filter(|_| !process.relays)?;
    let name = |pattern: &str| pattern.rsplit('/').next().unwrap_or(pattern).trim_end_matches(['*', '?']).to_owned();
    let relays = |pattern: &&String| {
        let name = name(pattern);
        let plain = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        !pattern.chars().any(char::is_alphanumeric) || plain.is_empty() || RELAYS.contains(&plain)
    };
    let relay = programs.positive().iter().find(relays)?;
    let text = format!(
        "{} can pass on what others want signed; without a question they get it, so drop relays = false",
        crate::text::escape(relay.as_bytes())
    );
    Some(Finding::of(&process.rule, &text))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn lint(text: &str) -> Vec<String> {
        let findings = Config::parse(text).expect(text).policy.lint();
        let shown = |place: Option<super::Place>| place.map_or_else(String::new, |place| format!("{}: ", place.line));
        findings.into_iter().map(|finding| shown(finding.place) + &finding.text).collect()
    }

    #[test]
    fn rules_that_never_match_are_found() {
        for when in [
            "via = 'hop'\norigin = 'local'",
            "via = 'hop'\norigin = 'forwarded-unverified'",
            "host = 'h'\nkind = 'sshsig'",
            "namespace = 'git'\nkind = 'login'",
            "namespace = 'git'\nuser = 'git'",
            "listener = 'box'\norigin = 'unknown'",
        ] {
            let found = lint(&format!("\n[[rule]]\naction = 'deny'\n{when}"));
            assert!(found.len() == 1 && found[0].starts_with("2: rule 1: can never match"), "{when}: {found:?}");
        }
        assert_eq!(lint("[[rule]]\naction = 'deny'\nhost = 'h'\nkind = ['login', 'sshsig']"), [""; 0]);
    }

    #[test]
    fn rules_that_an_earlier_one_leaves_nothing_to_are_found() {
        let second = "[[rule]]\naction = 'deny'\nhost = ['a.example', 'b.*.example']\nuser = 'git'";
        for (first, is_shadow) in [
            ("", true),
            ("host = '*.example'", true),
            ("host = '*.example'\nuser = 'git'", true),
            ("host = ['*.example', '!c.example']", false),
            ("host = 'a.example'", false),
            ("host = '?.example'", false),
            ("user = 'dev'", false),
            ("kind = 'login'", false),
        ] {
            let found = lint(&format!("[[rule]]\naction = 'confirm'\n{first}\n{second}"));
            assert_eq!(found.len(), usize::from(is_shadow), "{first}: {found:?}");
        }
    }

    #[test]
    fn programs_that_relay_are_not_called_harmless_unnoticed() {
        for (exe, warns) in [
            ("/usr/bin/python3.11", true),
            ("/usr/bin/python3*", true),
            ("/usr/sbin/sshd", true),
            ("*", true),
            ("/usr/bin/*", true),
            ("/usr/bin/curl", false),
            ("/usr/bin/ssh-keyscan", false),
        ] {
            let found = lint(&format!("[[process]]\nexe = '{exe}'\nrelays = false"));
            assert_eq!(found.len(), usize::from(warns), "{exe}: {found:?}");
        }
        assert_eq!(lint("[[process]]\nexe = '/usr/bin/python3'"), [""; 0]);
    }

    #[test]
    fn silence_that_is_not_to_be_had_is_found() {
        let rule = "[[key]]\nmatch = 'work'\n[[key.rule]]\naction = 'allow'\nvia = 'hop'\n";
        assert!(lint(rule)[0].contains("[forwarding] silent = true"));
        let on = lint(&format!("[forwarding]\nsilent = true\n{rule}"));
        assert!(
            on.len() == 2 && on[0].contains("has no effect") && on[1].contains("names key, via and host"),
            "{on:?}"
        );
        assert_eq!(lint(&format!("[forwarding]\nsilent = true\n{rule}host = 'h'")), [""; 0]);
        let long = "[[rule]]\naction = 'confirm'\norigin = 'forwarded'\ncache = '1h'";
        assert!(lint(long)[0].contains("10 minutes"));
    }
}
