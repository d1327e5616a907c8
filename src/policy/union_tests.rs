//! What holds for every combination of class, kind, rule, limits, token and administrator, tried one by one: a decision demands no less
//! than each of its parts, and nothing that is added makes it more silent, but for the two exceptions that the documents name.

use super::*;
use crate::policy::asked::Program;
use crate::policy::matcher::{Matcher, Patterns};

const ORIGINS: [Origin; 6] = [
    Origin::LocalDirect,
    Origin::LocalTool,
    Origin::ForwardedVerified,
    Origin::ForwardedKnownHop,
    Origin::ForwardedUnverified,
    Origin::Unknown,
];

fn rule(when: Matcher, action: Action) -> Rule {
    Rule { label: "a rule".into(), place: None, when, action, cache: None, rate: None }
}

fn patterns(pattern: &str) -> Option<Patterns> {
    Some(Patterns::new([pattern]).expect("a pattern"))
}

/// One combination of everything a decision depends on.
#[derive(Debug, Clone, Copy)]
struct Case {
    preset: Preset,
    origin: Origin,
    kind: Kind,
    hops: usize,
    silent: bool,
    /// A rule on the key, and whether it names key, hop and host.
    rule: Option<(Action, bool)>,
    /// What is said of the program, and whether it relays.
    process: Option<(Action, bool)>,
    limits: KeyLimits,
    always: Requirements,
    administrator: Option<Action>,
}

impl Case {
    fn policy(&self) -> Policy {
        let when = match self.rule {
            Some((_, true)) => Matcher { via: patterns("devbox"), hosts: patterns("github.com"), ..Matcher::default() },
            _ => Matcher::default(),
        };
        let program = Matcher { programs: patterns("/usr/bin/curl"), ..Matcher::default() };
        Policy {
            keys: vec![KeyPolicy {
                key: KeyPattern::Comment("work".into()),
                name: None,
                place: Place { file: "config.toml".into(), line: 1 },
                hosts: None,
                always: self.always,
                rules: self.rule.iter().map(|(action, _)| rule(when.clone(), *action)).collect(),
            }],
            processes: self
                .process
                .iter()
                .map(|(action, relays)| ProcessRule { rule: rule(program.clone(), *action), relays: *relays })
                .collect(),
            silent_forwarding: self.silent,
            administrator: Administrator::Rules(
                self.administrator.iter().map(|action| vec![rule(Matcher::default(), *action)]).collect(),
            ),
            ..Policy::new(self.preset)
        }
    }

    fn decide(&self) -> Verdict {
        let (hosts, via) = (["github.com".to_owned()], ["devbox".to_owned()]);
        let asked = Asked {
            key: KeyFacts { fingerprint: "SHA256:work", comment: "work", uri: None },
            origin: self.origin,
            kind: self.kind,
            hosts: &hosts,
            user: Some("git"),
            via: &via,
            hops: self.hops,
            namespace: Some("git"),
            program: Some(Program { path: "/usr/bin/curl", arguments: &[] }),
            parents: &[],
            listener: None,
        };
        self.policy().decide(&asked, self.limits)
    }

    /// Whether the user has made one of the two exceptions that the documents name.
    fn is_excepted(&self) -> bool {
        let process = self.origin == Origin::Unknown
            && self.kind != Kind::Raw
            && !self.limits.named_destination
            && self.process.is_some_and(|(_, relays)| !relays);
        let forwarding = self.origin == Origin::ForwardedVerified
            && self.hops == 1
            && self.silent
            && self.rule.is_some_and(|(_, names)| names)
            && self.kind != Kind::Raw;
        self.preset == Preset::Strict && (process || forwarding)
    }
}

/// Calls `check` with every combination of what can be told apart.
fn each(mut check: impl FnMut(&Case)) {
    let both = Requirements::CONFIRM.union(Requirements::TOUCH);
    let actions =
        [Action::ALLOW, Action::Require(Requirements::NOTIFY), Action::CONFIRM, Action::Require(both), Action::Deny];
    let few = [
        None,
        Some(Action::ALLOW),
        Some(Action::Require(Requirements::PIN)),
        Some(Action::CONFIRM),
        Some(Action::Deny),
    ];
    let pairs = || actions.iter().flat_map(|action| [Some((*action, false)), Some((*action, true))]);
    let rules: Vec<_> = std::iter::once(None).chain(pairs()).collect();
    let token = Requirements::TOUCH.union(Requirements::PIN);
    let limits = [(false, false), (true, false), (false, true), (true, true)].map(|(confirm, named_destination)| {
        [Requirements::NONE, token].map(|token| KeyLimits { confirm, named_destination, token })
    });
    for (preset, origin) in
        ORIGINS.map(|origin| (Preset::Strict, origin)).into_iter().chain([(Preset::Openssh, Origin::Unknown)])
    {
        let forwarded = origin == Origin::ForwardedVerified;
        for (kind, always) in [
            (Kind::Login, Requirements::NONE),
            (Kind::BoundLogin, Requirements::NONE),
            (Kind::SshSig, Requirements::NOTIFY),
            (Kind::Raw, Requirements::NONE),
        ] {
            for (hops, silent) in if forwarded { &[(1, false), (1, true), (2, true)][..] } else { &[(1, true)] } {
                for rule in &rules {
                    for process in if origin == Origin::Unknown { &rules[..] } else { &rules[..1] } {
                        for limits in limits.as_flattened() {
                            for administrator in few {
                                let (rule, process, hops, silent) = (*rule, *process, *hops, *silent);
                                let limits = *limits;
                                check(&Case {
                                    preset,
                                    origin,
                                    kind,
                                    hops,
                                    silent,
                                    rule,
                                    process,
                                    limits,
                                    always,
                                    administrator,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_decision_demands_no_less_than_each_of_its_parts() {
    each(|case| {
        let action = case.decide().action;
        let limits = case.limits;
        let rule = case.rule.map(|(action, _)| action);
        let process = case.process.map(|(action, _)| action).filter(|_| case.origin == Origin::Unknown);
        let parts = [
            rule,
            process,
            case.administrator,
            limits.confirm.then_some(Action::CONFIRM),
            Some(Action::Require(limits.token)),
            Some(Action::Require(case.always)),
        ];
        for part in parts.into_iter().flatten() {
            assert!(action.is_at_least(part), "{action} is less than {part}: {case:?}");
        }
        let class = Case { rule: None, process: None, administrator: None, silent: false, ..*case };
        let class =
            Case { limits: KeyLimits { named_destination: limits.named_destination, ..KeyLimits::default() }, ..class };
        assert!(case.is_excepted() || action.is_at_least(class.decide().action), "less than its class takes: {case:?}");
    });
}

#[test]
fn what_is_forwarded_without_proof_and_what_nobody_understands_is_never_silent() {
    each(|case| {
        let unproved = matches!(case.origin, Origin::ForwardedKnownHop | Origin::ForwardedUnverified);
        let raw = case.kind == Kind::Raw && !matches!(case.origin, Origin::LocalDirect | Origin::LocalTool);
        if case.preset == Preset::Strict && (unproved || raw) {
            // A key that was added for one proved hop and destination is the user's own word for exactly that.
            let named = case.limits.named_destination && case.origin == Origin::ForwardedVerified && case.hops == 1;
            assert!(named || case.decide().action.is_at_least(Action::CONFIRM), "{case:?}");
        }
    });
}

#[test]
fn nothing_that_is_added_makes_a_decision_more_silent() {
    each(|case| {
        let action = case.decide().action;
        let limits = case.limits;
        for less in [
            Case { rule: None, ..*case },
            Case { process: None, ..*case },
            Case { administrator: None, ..*case },
            Case { always: Requirements::NONE, ..*case },
            Case { limits: KeyLimits { confirm: false, ..limits }, ..*case },
            Case { limits: KeyLimits { token: Requirements::NONE, ..limits }, ..*case },
        ] {
            let before = less.decide().action;
            assert!(case.is_excepted() || action.is_at_least(before), "{before} became {action}: {case:?}");
        }
    });
}
