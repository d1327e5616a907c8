//! The decision on one signature: a pure function of a policy and of what is asked.

use std::sync::Arc;
use std::time::Duration;

use super::asked::{Asked, KeyFacts, Kind};
use super::hosts::HostList;
use super::matcher::KeyPattern;
use super::preset::Preset;
use super::requirements::{Action, Requirements};
use super::rule::{Cache, Place, Rule};
use super::verdict::{Part, Remember, Scope, Source, Verdict};
use crate::origin::classify::Origin;

/// An approval of forwarded requests holds at most this long, whatever a rule says.
pub const LONGEST_FORWARDED_APPROVAL: Duration = Duration::from_secs(600);

/// Everything that is decided by: a preset, what the user has written, and what the administrator has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The rules below everything.
    pub(super) preset: Preset,
    pub(super) class_rules: Vec<Rule>,
    /// `[[process]]`
    pub processes: Vec<ProcessRule>,
    /// `[[key]]`
    pub keys: Vec<KeyPolicy>,
    /// `[[rule]]`
    pub rules: Vec<Rule>,
    /// `[defaults]`: for what no rule is about.
    pub defaults: Vec<Rule>,
    /// `[forwarding] silent`: rules may let forwarded requests pass silently.
    pub silent_forwarding: bool,
    /// `/etc/hardkey/config.toml`
    pub administrator: Administrator,
}

/// What the user says of a program that the agent does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRule {
    /// Which program, and what its requests take.
    pub rule: Rule,
    /// Whether others may speak through it. If not, what the rule demands stands in the place of what unknown programs take.
    pub relays: bool,
}

/// What the user says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Which keys.
    pub key: KeyPattern,
    /// What the user calls it.
    pub name: Option<Arc<str>>,
    /// Where that stands.
    pub place: Place,
    /// The only hosts that it logs in at.
    pub hosts: Option<HostList>,
    /// What every use takes.
    pub always: Requirements,
    /// What certain uses take; the first match counts.
    pub rules: Vec<Rule>,
}

/// How far the connection that asks for a list has got.
#[derive(Debug, Clone, Copy)]
pub enum Sight<'a> {
    /// It begins here, and leads nowhere yet.
    Here,
    /// It is bound to a login at a host with these names.
    At(&'a [String]),
    /// It is forwarded, and nobody knows where to.
    Beyond,
}

/// The rules of the machine's administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Administrator {
    /// Demands on top of whatever users say, one list for each file; the first match of each list counts.
    Rules(Vec<Vec<Rule>>),
    /// There is a file that cannot be used, and why. Nothing is signed, as nobody knows what it forbids.
    Unknown(Arc<str>),
}

/// What a key's own limits say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyLimits {
    /// It was added with `ssh-add -c`.
    pub confirm: bool,
    /// It was added with `ssh-add -h`, and the constraints permit this signature.
    pub named_destination: bool,
    /// What its token demands by itself, whatever the agent does.
    pub token: Requirements,
}

/// The strict preset.
impl Default for Policy {
    fn default() -> Self {
        Self::new(Preset::default())
    }
}

impl Policy {
    /// A preset without any rules on top.
    #[must_use]
    pub fn new(preset: Preset) -> Self {
        Self {
            preset,
            class_rules: preset.rules(),
            processes: Vec::new(),
            keys: Vec::new(),
            rules: Vec::new(),
            defaults: Vec::new(),
            silent_forwarding: false,
            administrator: Administrator::Rules(Vec::new()),
        }
    }

    /// The same with the administrator's part.
    #[must_use]
    pub fn with_administrator(self, administrator: Administrator) -> Self {
        Self { administrator, ..self }
    }

    /// The preset it stands on.
    #[must_use]
    pub const fn preset(&self) -> Preset {
        self.preset
    }

    /// Decides on a signature: the union of what the class of its origin takes, what the first matching rule says, and what the key's
    /// limits, its token and the administrator demand. Nothing subtracts.
    ///
    /// That the key's destination constraints permit the path, and that it has not expired, has been tested before.
    #[must_use]
    pub fn decide(&self, asked: &Asked<'_>, limits: KeyLimits) -> Verdict {
        let rule = self.first_rule(asked, limits);
        let mut parts = vec![self.class_part(asked, limits, rule)];
        parts.extend(self.key_parts(asked));
        parts.extend(rule.map(|rule| part(Source::Rule, rule, asked)));
        if limits.confirm {
            //= RFC 9987 section 5.2.7.2: require explicit user confirmation for each private key operation using the key
            let label = "the key was added with confirmation (ssh-add -c)";
            parts.push(Part::plain(Source::Limit, label, Action::CONFIRM));
        }
        if !limits.token.is_empty() {
            parts.push(Part::plain(Source::Token, "the token demands it", Action::Require(limits.token)));
        }
        self.administrator_parts(asked, limits, &mut parts);
        let action = parts.iter().fold(Action::ALLOW, |action, part| action.and(part.action));
        Verdict { action, remember: remember(asked, action, &parts), parts }
    }

    /// What the user calls a key.
    #[must_use]
    pub fn name_of(&self, key: &KeyFacts<'_>) -> Option<&str> {
        self.keys.iter().find(|section| section.name.is_some() && section.key.matches(key))?.name.as_deref()
    }

    /// All rules but the preset's.
    pub fn written_rules(&self) -> impl Iterator<Item = &Rule> {
        let administrators = match &self.administrator {
            Administrator::Rules(files) => files.as_slice(),
            Administrator::Unknown(_) => &[],
        };
        let keys = self.keys.iter().flat_map(|key| &key.rules);
        let processes = self.processes.iter().map(|process| &process.rule);
        keys.chain(&self.rules).chain(&self.defaults).chain(processes).chain(administrators.iter().flatten())
    }

    /// The names of hosts that rules spell out.
    #[must_use]
    pub fn host_names(&self) -> Vec<String> {
        let named = |rule: &Rule| {
            let patterns = rule.when.hosts.iter().chain(&rule.when.via);
            patterns.flat_map(|patterns| patterns.literals().map(str::to_owned)).collect::<Vec<_>>()
        };
        let sections = self.keys.iter().filter_map(|section| section.hosts.as_ref());
        let mut names: Vec<String> = self.written_rules().flat_map(named).collect();
        names.extend(sections.flat_map(|hosts| hosts.literals().map(str::to_owned)));
        names
    }

    /// Whether a key is shown to a connection that is as far as this on its way.
    #[must_use]
    pub fn shows(&self, key: &KeyFacts<'_>, sight: Sight<'_>) -> bool {
        self.sections(key).all(|section| match (&section.hosts, sight) {
            (None, _) | (_, Sight::Here) => true,
            (Some(hosts), Sight::At(names)) => hosts.matches(names, None) || section.is_for_more_than_logins(),
            (Some(_), Sight::Beyond) => section.is_for_more_than_logins(),
        })
    }

    /// Whether forwarded requests for this key may be served with nobody to ask.
    #[must_use]
    pub fn may_pass_silently(&self, key: &KeyFacts<'_>) -> bool {
        let own = self.sections(key).flat_map(|section| &section.rules);
        let global = self.rules.iter().filter(|rule| rule.when.key.as_ref().is_some_and(|own| own.matches(key)));
        self.silent_forwarding && own.chain(global).any(|rule| self.may_silence(rule))
    }

    /// Whether keys are listed by what the policy says of them.
    #[must_use]
    pub fn sorts_keys(&self) -> bool {
        self.silent_forwarding || self.keys.iter().any(|section| section.hosts.is_some())
    }

    fn sections<'a>(&'a self, key: &'a KeyFacts<'_>) -> impl Iterator<Item = &'a KeyPolicy> {
        self.keys.iter().filter(|section| section.key.matches(key))
    }

    fn first_rule<'a>(&'a self, asked: &'a Asked<'_>, limits: KeyLimits) -> Option<&'a Rule> {
        let keys = self.sections(&asked.key).flat_map(|section| &section.rules);
        let mut all = keys.chain(&self.rules).chain(&self.defaults);
        all.find(|rule| rule.when.matches(asked, limits.named_destination))
    }

    /// What the class takes, or what stands in its place: the two exceptions that a user can make.
    fn class_part(&self, asked: &Asked<'_>, limits: KeyLimits, rule: Option<&Rule>) -> Part {
        let class = self.class_rules.iter().find(|rule| rule.when.matches(asked, limits.named_destination));
        let Some(class) = class.map(|rule| Part::of(Source::Class, rule)) else {
            return Part::plain(Source::Class, "no rule of the preset is about it", Action::Deny);
        };
        if asked.origin == Origin::Unknown {
            return self.process_part(asked, limits, class);
        }
        match rule.filter(|rule| class.action == Action::CONFIRM && self.is_silenced_by(asked, rule)) {
            Some(rule) => Part {
                rule: "forwarded-verified: a rule that names key, hop and host lets it pass ([forwarding] silent)"
                    .into(),
                place: rule.place.clone(),
                action: Action::ALLOW,
                ..class
            },
            None => class,
        }
    }

    fn process_part(&self, asked: &Asked<'_>, limits: KeyLimits, class: Part) -> Part {
        let named = |process: &&ProcessRule| process.rule.when.matches(asked, limits.named_destination);
        let Some(process) = self.processes.iter().find(named) else { return class };
        let part = Part::of(Source::Class, &process.rule);
        // Octets of unknown meaning are not what a program that logs in asks for.
        match !process.relays && class.action == Action::CONFIRM && asked.kind != Kind::Raw {
            true => part,
            false => Part { action: class.action.and(part.action), ..part },
        }
    }

    /// Whether this rule, the first that is about the request, may let a forwarded request pass silently. Hosts after the first hop are
    /// claims, so longer paths are not eligible.
    fn is_silenced_by(&self, asked: &Asked<'_>, rule: &Rule) -> bool {
        self.silent_forwarding && asked.origin == Origin::ForwardedVerified && asked.hops == 1 && self.may_silence(rule)
    }

    /// Whether a rule names the key, the hop and the host.
    pub(super) fn may_silence(&self, rule: &Rule) -> bool {
        let named = |patterns: &Option<super::matcher::Patterns>| {
            patterns.as_ref().is_some_and(super::matcher::Patterns::names_something)
        };
        let section = self.keys.iter().find(|section| section.rules.iter().any(|own| std::ptr::eq(own, rule)));
        let key = section.is_some_and(|section| section.key.names_something())
            || rule.when.key.as_ref().is_some_and(KeyPattern::names_something);
        key && named(&rule.when.via) && named(&rule.when.hosts)
    }

    fn key_parts(&self, asked: &Asked<'_>) -> Vec<Part> {
        let mut parts = Vec::new();
        for section in self.sections(&asked.key) {
            let part = |rule: &str, action| Part {
                place: Some(section.place.clone()),
                ..Part::plain(Source::Key, rule, action)
            };
            if !section.always.is_empty() {
                parts.push(part("every use of the key", Action::Require(section.always)));
            }
            if let Err(reason) = section.permits(asked) {
                parts.push(part(reason, Action::Deny));
            }
        }
        parts
    }

    fn administrator_parts(&self, asked: &Asked<'_>, limits: KeyLimits, parts: &mut Vec<Part>) {
        match &self.administrator {
            Administrator::Unknown(reason) => parts.push(Part::plain(Source::Administrator, reason, Action::Deny)),
            Administrator::Rules(files) => parts.extend(files.iter().filter_map(|rules| {
                let first = rules.iter().find(|rule| rule.when.matches(asked, limits.named_destination))?;
                Some(part(Source::Administrator, first, asked))
            })),
        }
    }
}

impl KeyPolicy {
    /// Whether the key may be used for this at all.
    fn permits(&self, asked: &Asked<'_>) -> Result<(), &'static str> {
        let Some(hosts) = &self.hosts else { return Ok(()) };
        if !asked.kind.is_login() {
            return match self.mentions(asked.kind) {
                true => Ok(()),
                false => Err("the key is for logins at its hosts, and none of its rules names this kind of request"),
            };
        }
        match hosts.matches(asked.hosts, asked.user) {
            true => Ok(()),
            false if asked.hosts.is_empty() => {
                Err("the key is for certain hosts, and it is not certain that this is one")
            }
            false => Err("the key is not for this host"),
        }
    }

    fn is_for_more_than_logins(&self) -> bool {
        Kind::ALL.into_iter().any(|kind| !kind.is_login() && self.mentions(kind))
    }

    /// Whether one of the key's rules names this kind of request.
    fn mentions(&self, kind: Kind) -> bool {
        self.rules.iter().any(|rule| rule.when.kinds.as_ref().is_some_and(|kinds| kinds.contains(&kind)))
    }
}

/// What a rule says of a request. Somebody else may speak through a program that is not known, and would share in what is remembered of it: so a
/// rule has its yes remembered there only if it says that it is about such programs.
fn part(source: Source, rule: &Rule, asked: &Asked<'_>) -> Part {
    let whole = Part::of(source, rule);
    let may_remember = asked.origin != Origin::Unknown || rule.when.names_programs();
    Part { cache: whole.cache.filter(|_| may_remember), ..whole }
}

/// How far a yes may reach. Each part that wants a confirmation has to agree, but for that of the class: it wants one yes, and leaves it
/// to the user's rule for how long.
fn remember(asked: &Asked<'_>, action: Action, parts: &[Part]) -> Option<Remember> {
    let for_each = |part: &Part| {
        part.source != Source::Class && part.cache.is_none() && part.action.demands(Requirements::CONFIRM)
    };
    if !action.demands(Requirements::CONFIRM) || asked.kind == Kind::Raw || parts.iter().any(for_each) {
        return None;
    }
    let cache = parts.iter().filter_map(|part| part.cache).reduce(Cache::and)?;
    match asked.origin {
        Origin::LocalDirect | Origin::LocalTool | Origin::Unknown => Some(Remember { cache, scope: Scope::Terminal }),
        Origin::ForwardedVerified | Origin::ForwardedKnownHop => {
            let cache = Cache { time: cache.time.min(LONGEST_FORWARDED_APPROVAL), ..cache };
            Some(Remember { cache, scope: Scope::Hop })
        }
        // Nobody knows whose it is, so nobody knows when it ends.
        Origin::ForwardedUnverified => None,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "union_tests.rs"]
mod union;
