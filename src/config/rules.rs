//! The sections that make up a policy: `[defaults]`, `[forwarding]`, `[[key]]`, `[[rule]]` and `[[process]]`.

use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::BadConfig;
use super::values::{
    ActionValue, CacheValue, HostListValue, HostsValue, KeyValue, KindsValue, LOCAL, OriginsValue, PatternsValue,
    RateValue, WordsValue,
};
use crate::origin::classify::Origin;
use crate::policy::asked::Kind;
use crate::policy::matcher::Matcher;
use crate::policy::{FORWARDED, KeyPolicy, Place, Policy, Preset, ProcessRule, Requirements, Rule};
use crate::text;

/// `[defaults]`: what requests take that no rule is about.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Defaults {
    local: Option<Spanned<ActionValue>>,
    unknown: Option<Spanned<ActionValue>>,
    forwarded: Option<Spanned<ActionValue>>,
    raw: Option<Spanned<ActionValue>>,
}

/// `[forwarding]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forwarding {
    #[serde(default)]
    silent: bool,
}

/// One `[[key]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeySection {
    #[serde(rename = "match")]
    key: KeyValue,
    name: Option<String>,
    hosts: Option<HostListValue>,
    #[serde(default)]
    touch: Touch,
    #[serde(default, rename = "rule")]
    rules: Vec<Spanned<RuleSection>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Touch {
    /// As the token has it.
    #[default]
    Token,
    Always,
}

/// One `[[rule]]` or `[[key.rule]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleSection {
    key: Option<Spanned<KeyValue>>,
    origin: Option<OriginsValue>,
    kind: Option<KindsValue>,
    host: Option<HostsValue>,
    user: Option<PatternsValue>,
    via: Option<HostsValue>,
    namespace: Option<PatternsValue>,
    program: Option<PatternsValue>,
    parent: Option<PatternsValue>,
    listener: Option<PatternsValue>,
    action: ActionValue,
    cache: Option<CacheValue>,
    rate: Option<RateValue>,
}

/// One `[[process]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProcessSection {
    exe: PatternsValue,
    argv: Option<WordsValue>,
    #[serde(default = "relays")]
    relays: bool,
    action: Option<ActionValue>,
    cache: Option<CacheValue>,
    rate: Option<RateValue>,
}

const fn relays() -> bool {
    true
}

/// Where the sections stand: a file and its text.
pub(super) struct Source<'a> {
    pub(super) file: Arc<str>,
    pub(super) text: &'a str,
}

impl Source<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        Place { file: Arc::clone(&self.file), line: super::line_at(self.text, span.start) }
    }

    fn fail(&self, span: Range<usize>, reason: &str) -> BadConfig {
        BadConfig { line: super::line_at(self.text, span.start), reason: reason.to_owned() }
    }
}

/// All sections of a user's file.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) defaults: Defaults,
    pub(super) forwarding: Forwarding,
    pub(super) keys: Vec<Spanned<KeySection>>,
    pub(super) rules: Vec<Spanned<RuleSection>>,
    pub(super) processes: Vec<Spanned<ProcessSection>>,
}

impl Sections {
    /// The policy that they describe.
    ///
    /// # Errors
    /// A setting stands where it means nothing.
    pub(super) fn compile(self, preset: Preset, source: &Source<'_>) -> Result<Policy, BadConfig> {
        let mut policy = Policy::new(preset);
        policy.silent_forwarding = self.forwarding.silent;
        policy.defaults = self.defaults.compile(source);
        policy.processes = self.processes.into_iter().map(|section| process(section, source)).collect();
        policy.keys = self.keys.into_iter().map(|section| key(section, source)).collect::<Result<_, _>>()?;
        policy.rules = global(self.rules, "rule", source);
        Ok(policy)
    }
}

/// Rules that stand on their own, numbered from 1.
pub(super) fn global(sections: Vec<Spanned<RuleSection>>, word: &str, source: &Source<'_>) -> Vec<Rule> {
    let numbered = sections.into_iter().zip(1..);
    numbered.map(|(section, number)| rule(section, format!("{word} {number}"), source)).collect()
}

impl Defaults {
    fn compile(self, source: &Source<'_>) -> Vec<Rule> {
        let raw = Matcher { kinds: Some(vec![Kind::Raw]), ..Matcher::default() };
        let from = |origins: &[Origin]| Matcher { origins: Some(origins.to_vec()), ..Matcher::default() };
        let all = [
            ("raw", self.raw, raw),
            ("local", self.local, from(&LOCAL)),
            ("unknown", self.unknown, from(&[Origin::Unknown])),
            ("forwarded", self.forwarded, from(&FORWARDED)),
        ];
        let rule = |(word, action, when): (&str, Option<Spanned<ActionValue>>, Matcher)| {
            let action = action?;
            Some(Rule {
                label: format!("default for {word}").into(),
                place: Some(source.place(action.span())),
                when,
                action: action.into_inner().0,
                cache: None,
                rate: None,
            })
        };
        all.into_iter().filter_map(rule).collect()
    }
}

fn key(section: Spanned<KeySection>, source: &Source<'_>) -> Result<KeyPolicy, BadConfig> {
    let place = source.place(section.span());
    let section = section.into_inner();
    let name = section.name.map(|name| text::escape(name.as_bytes()));
    let shown = name.clone().unwrap_or_else(|| text::escape(section.key.text.as_bytes()));
    let misplaced = section.rules.iter().find_map(|rule| rule.get_ref().key.as_ref());
    if let Some(misplaced) = misplaced {
        return Err(
            source.fail(misplaced.span(), "a rule of a [[key]] is about that key; leave key out, or write [[rule]]")
        );
    }
    let numbered = section.rules.into_iter().zip(1..);
    let rules = numbered.map(|(section, number)| rule(section, format!("rule {number} of key {shown}"), source));
    Ok(KeyPolicy {
        key: section.key.pattern,
        name: name.map(Into::into),
        place,
        hosts: section.hosts.map(|hosts| hosts.0),
        always: if section.touch == Touch::Always { Requirements::TOUCH } else { Requirements::NONE },
        rules: rules.collect(),
    })
}

fn rule(section: Spanned<RuleSection>, label: String, source: &Source<'_>) -> Rule {
    let place = Some(source.place(section.span()));
    let section = section.into_inner();
    let patterns = |value: Option<PatternsValue>| value.map(|value| value.0);
    let hosts = |value: Option<HostsValue>| value.map(|value| value.0);
    Rule {
        label: label.into(),
        place,
        when: Matcher {
            key: section.key.map(|key| key.into_inner().pattern),
            origins: section.origin.and_then(|origins| origins.0),
            kinds: section.kind.map(|kinds| kinds.0),
            hosts: hosts(section.host),
            users: patterns(section.user),
            via: hosts(section.via),
            namespaces: patterns(section.namespace),
            programs: patterns(section.program),
            parents: patterns(section.parent),
            listeners: patterns(section.listener),
            ..Matcher::default()
        },
        action: section.action.0,
        cache: section.cache.map(|cache| cache.0),
        rate: section.rate.map(Into::into),
    }
}

fn process(section: Spanned<ProcessSection>, source: &Source<'_>) -> ProcessRule {
    let place = Some(source.place(section.span()));
    let section = section.into_inner();
    let shown = text::escape(section.exe.0.positive().join(", ").as_bytes());
    let when = Matcher {
        origins: Some(vec![Origin::Unknown]),
        programs: Some(section.exe.0),
        arguments: section.argv.map(|argv| argv.0),
        ..Matcher::default()
    };
    let rule = Rule {
        label: format!("process {shown}").into(),
        place,
        when,
        action: section.action.map_or(crate::policy::Action::ALLOW, |action| action.0),
        cache: section.cache.map(|cache| cache.0),
        rate: section.rate.map(Into::into),
    };
    ProcessRule { rule, relays: section.relays }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::origin::classify::Origin;
    use crate::policy::asked::{Asked, KeyFacts, Kind};
    use crate::policy::{Action, KeyLimits, Policy, Requirements, Verdict};

    const WORK: &str = r#"
        [forwarding]
        silent = true
        [defaults]
        raw = "deny"
        local = ["notify"]
        [[key]]
        match = "SHA256:work"
        name = "work"
        hosts = ["*.corp.example", "git@github.com"]
        touch = "always"
          [[key.rule]]
          origin = "forwarded"
          via = "DevBox.example"
          host = "github.com"
          user = "git"
          action = "allow"
          cache = { time = "5m", count = 50 }
          [[key.rule]]
          kind = ["sshsig", "sudo"]
          action = ["confirm", "touch"]
          rate = { count = 5, per = "1m" }
        [[rule]]
        origin = ["unknown", "local"]
        kind = "login"
        action = "deny"
        [[process]]
        exe = "/usr/bin/curl"
        relays = false
    "#;

    fn asked(origin: Origin, kind: Kind) -> Asked<'static> {
        Asked {
            key: KeyFacts { fingerprint: "SHA256:work", comment: "", uri: None },
            origin,
            kind,
            hosts: &[],
            user: None,
            via: &[],
            hops: 1,
            namespace: None,
            program: None,
            parents: &[],
            listener: None,
        }
    }

    fn decide(policy: &Policy, asked: &Asked<'_>) -> Verdict {
        policy.decide(asked, KeyLimits::default())
    }

    #[test]
    fn a_file_says_which_rule_decides_and_where_it_stands() {
        let policy = Config::parse(WORK).expect("a configuration").policy;
        let (hosts, via) = (["github.com".to_owned()], ["devbox.example".to_owned()]);
        let login = asked(Origin::ForwardedVerified, Kind::BoundLogin);
        let verdict = decide(&policy, &Asked { hosts: &hosts, via: &via, user: Some("git"), ..login });
        assert_eq!(verdict.action, Action::Require(Requirements::TOUCH), "silent but for the key's own touch");
        let verdict = decide(&policy, &asked(Origin::LocalTool, Kind::SshSig));
        let both = Action::Require(Requirements::TOUCH.union(Requirements::CONFIRM));
        assert_eq!(
            (verdict.action, verdict.because().cited()),
            (both, "rule 2 of key work (config.toml:19)".to_owned())
        );
        let other = Asked { key: KeyFacts { fingerprint: "SHA256:x", ..login.key }, ..login };
        let cases = [
            (Origin::LocalDirect, Kind::BoundLogin, Action::Deny, "rule 1 (config.toml:23)"),
            (Origin::LocalTool, Kind::Raw, Action::Deny, "default for raw (config.toml:5)"),
            (
                Origin::LocalTool,
                Kind::SshSig,
                Action::Require(Requirements::NOTIFY),
                "default for local (config.toml:6)",
            ),
        ];
        for (origin, kind, action, rule) in cases {
            let verdict = decide(&policy, &Asked { origin, kind, ..other });
            assert_eq!((verdict.action, verdict.because().cited()), (action, rule.to_owned()));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line_and_a_remedy() {
        for (text, line, remedy) in [
            ("[defaults]\nlocal = \"silent\"", 2, "write \"allow\""),
            ("[defaults]\nlocl = \"allow\"", 2, "expected one of `local`"),
            ("[forwarding]\nsilent = \"yes\"", 2, "boolean"),
            ("[[key]]\nname = \"work\"", 1, "missing field `match`"),
            ("[[key]]\nmatch = \"MD5:00\"", 2, "SHA256"),
            ("[[key]]\nmatch = \"pkcs11:model=x\"", 2, "leave the other attributes out"),
            ("[[key]]\nmatch = \"x\"\ntouch = \"never\"", 3, "`token` or `always`"),
            ("[[key]]\nmatch = \"x\"\nhosts = []", 3, "empty list"),
            ("[[key]]\nmatch = \"x\"\n\n[[key.rule]]\nkey = \"y\"\naction = \"deny\"", 5, "write [[rule]]"),
            ("[[rule]]\nhost = \"x\"", 1, "missing field `action`"),
            ("[[rule]]\naction = \"deny\"\norigin = \"remote\"", 3, "\"forwarded\""),
            ("[[rule]]\naction = \"deny\"\nkind = \"git\"", 3, "\"sshsig\""),
            ("[[rule]]\naction = \"deny\"\nhost = \"git@github.com\"", 3, "user ="),
            ("[[rule]]\naction = \"deny\"\nuser = [\"!root\"]", 3, "put a pattern before"),
            ("[[rule]]\naction = [\"confirm\", \"deny\"]", 2, "no action"),
            ("[[rule]]\naction = \"deny\"\ncache = 5", 3, "\"15m\""),
            ("[[rule]]\naction = \"deny\"\ncache = { time = \"1m\", counts = 5 }", 3, "counts"),
            ("[[rule]]\naction = \"deny\"\nrate = { count = 0, per = \"1m\" }", 3, "nonzero"),
            ("[[process]]\nrelays = false", 1, "missing field `exe`"),
            ("[trust]\nssh = [\"ssh\"]", 2, "absolute"),
        ] {
            let error = Config::parse(text).expect_err(text);
            assert!(error.line == line && error.reason.contains(remedy), "{text}: {error}");
        }
    }
}
