use super::*;
use crate::policy::asked::Program;
use crate::policy::matcher::{Matcher, Patterns};
use crate::policy::rule::Rate;

const ORIGINS: [Origin; 6] = [
    Origin::LocalDirect,
    Origin::LocalTool,
    Origin::ForwardedVerified,
    Origin::ForwardedKnownHop,
    Origin::ForwardedUnverified,
    Origin::Unknown,
];

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn asked(origin: Origin, kind: Kind) -> Asked<'static> {
    Asked {
        key: KeyFacts { fingerprint: "SHA256:work", comment: "work", uri: None },
        origin,
        kind,
        hosts: &[],
        user: None,
        via: &[],
        hops: 0,
        namespace: None,
        program: None,
        parents: &[],
        listener: None,
    }
}

fn patterns(list: &[&str]) -> Option<Patterns> {
    Some(Patterns::new(list.iter().copied()).expect("a list"))
}

fn rule(when: Matcher, action: Action) -> Rule {
    Rule { label: "a rule".into(), place: None, when, action, cache: None, rate: None }
}

fn section(key: &str, rules: Vec<Rule>) -> KeyPolicy {
    KeyPolicy {
        key: KeyPattern::Comment(key.to_owned()),
        name: None,
        place: Place { file: "config.toml".into(), line: 1 },
        hosts: None,
        always: Requirements::NONE,
        rules,
    }
}

fn strict() -> Policy {
    Policy::new(Preset::Strict)
}

fn decide(policy: &Policy, asked: &Asked<'_>) -> Action {
    policy.decide(asked, KeyLimits::default()).action
}

#[test]
fn without_a_configuration_only_what_is_local_for_certain_is_silent() {
    for origin in ORIGINS {
        for kind in Kind::ALL {
            let expected = match origin {
                Origin::LocalDirect | Origin::LocalTool => Action::ALLOW,
                Origin::Unknown => Action::CONFIRM,
                _ if kind == Kind::Raw => Action::Deny,
                _ => Action::CONFIRM,
            };
            assert_eq!(decide(&strict(), &asked(origin, kind)), expected, "{origin} {kind}");
            assert_eq!(decide(&Policy::new(Preset::Openssh), &asked(origin, kind)), Action::ALLOW);
        }
    }
}

#[test]
fn a_key_for_one_proved_hop_and_destination_was_confirmed_when_it_was_added() {
    let named = KeyLimits { named_destination: true, ..KeyLimits::default() };
    let decide = |origin, hops| strict().decide(&Asked { hops, ..asked(origin, Kind::BoundLogin) }, named).action;
    assert_eq!(decide(Origin::ForwardedVerified, 1), Action::ALLOW);
    assert_eq!(decide(Origin::ForwardedVerified, 2), Action::CONFIRM, "the second hop is a claim");
    assert_eq!(decide(Origin::ForwardedKnownHop, 1), Action::CONFIRM);
    assert_eq!(decide(Origin::Unknown, 0), Action::Deny);
    let confirmed = KeyLimits { confirm: true, ..named };
    let asked = Asked { hops: 1, ..asked(Origin::ForwardedVerified, Kind::BoundLogin) };
    assert_eq!(strict().decide(&asked, confirmed).action, Action::CONFIRM);
}

#[test]
fn the_first_matching_rule_counts_and_a_keys_own_come_first() {
    let notify = Action::Require(Requirements::NOTIFY);
    let mut policy = strict();
    policy.rules = vec![rule(Matcher::default(), notify)];
    let git = Matcher { users: patterns(&["git"]), ..Matcher::default() };
    policy.keys = vec![section("work", vec![rule(git, Action::Deny)])];
    let login = asked(Origin::LocalDirect, Kind::BoundLogin);
    assert_eq!(decide(&policy, &Asked { user: Some("git"), ..login }), Action::Deny);
    assert_eq!(decide(&policy, &Asked { user: Some("dev"), ..login }), notify);
    let other = KeyFacts { comment: "home", ..login.key };
    assert_eq!(decide(&policy, &Asked { key: other, user: Some("git"), ..login }), notify);
}

#[test]
fn what_a_rule_mentions_has_to_be_known() {
    let login = asked(Origin::LocalDirect, Kind::Login);
    for when in [
        Matcher { hosts: patterns(&["*"]), ..Matcher::default() },
        Matcher { users: patterns(&["*"]), ..Matcher::default() },
        Matcher { via: patterns(&["*"]), ..Matcher::default() },
        Matcher { programs: patterns(&["*"]), ..Matcher::default() },
        Matcher { parents: patterns(&["*"]), ..Matcher::default() },
        Matcher { namespaces: patterns(&["*"]), ..Matcher::default() },
        Matcher { listeners: patterns(&["*"]), ..Matcher::default() },
        Matcher { arguments: Some(owned(&["*"])), ..Matcher::default() },
    ] {
        let policy = Policy { rules: vec![rule(when.clone(), Action::Deny)], ..strict() };
        assert_eq!(decide(&policy, &login), Action::ALLOW, "{when:?}");
    }
}

fn devbox() -> Matcher {
    Matcher { via: patterns(&["devbox"]), hosts: patterns(&["github.com"]), ..Matcher::default() }
}

#[test]
fn forwarding_is_silent_by_a_switch_and_a_rule_that_names_key_hop_and_host() {
    let (hosts, via) = (owned(&["github.com"]), owned(&["devbox"]));
    let login = Asked { hosts: &hosts, via: &via, hops: 1, ..asked(Origin::ForwardedVerified, Kind::BoundLogin) };
    let policy = |key: &str, when: Matcher, silent| Policy {
        keys: vec![section(key, vec![rule(when, Action::ALLOW)])],
        silent_forwarding: silent,
        ..strict()
    };
    assert_eq!(decide(&policy("work", devbox(), true), &login), Action::ALLOW);
    assert_eq!(decide(&policy("work", devbox(), false), &login), Action::CONFIRM);
    assert_eq!(decide(&policy("*", devbox(), true), &login), Action::CONFIRM, "no key is named");
    assert_eq!(decide(&policy("work", Matcher { via: None, ..devbox() }, true), &login), Action::CONFIRM);
    assert_eq!(decide(&policy("work", Matcher { hosts: patterns(&["*"]), ..devbox() }, true), &login), Action::CONFIRM);
    assert_eq!(decide(&policy("work", devbox(), true), &Asked { hops: 2, ..login }), Action::CONFIRM);
    for origin in [Origin::ForwardedKnownHop, Origin::ForwardedUnverified] {
        assert_eq!(decide(&policy("work", devbox(), true), &Asked { origin, ..login }), Action::CONFIRM);
    }
    let shadowed = Policy {
        keys: vec![section("work", vec![rule(Matcher::default(), Action::ALLOW), rule(devbox(), Action::ALLOW)])],
        silent_forwarding: true,
        ..strict()
    };
    assert_eq!(decide(&shadowed, &login), Action::CONFIRM, "the rule that counts is the first one");
    let global = rule(Matcher { key: Some(KeyPattern::Comment("work".into())), ..devbox() }, Action::ALLOW);
    assert_eq!(decide(&Policy { rules: vec![global], silent_forwarding: true, ..strict() }, &login), Action::ALLOW);
}

#[test]
fn an_unknown_program_is_silent_only_where_the_user_says_that_it_does_not_relay() {
    let arguments = owned(&["curl", "sftp://host/"]);
    let program = Some(Program { path: "/usr/bin/curl", arguments: &arguments });
    let login = Asked { program, ..asked(Origin::Unknown, Kind::Login) };
    let policy = |relays, action| {
        let when = Matcher {
            programs: patterns(&["/usr/bin/curl"]),
            arguments: Some(owned(&["sftp:*"])),
            ..Matcher::default()
        };
        Policy { processes: vec![ProcessRule { rule: rule(when, action), relays }], ..strict() }
    };
    let notify = Action::Require(Requirements::NOTIFY);
    assert_eq!(decide(&policy(false, notify), &login), notify);
    assert_eq!(decide(&policy(true, notify), &login), notify.and(Action::CONFIRM));
    assert_eq!(decide(&policy(false, Action::Deny), &login), Action::Deny);
    assert_eq!(decide(&policy(false, notify), &Asked { program: None, ..login }), Action::CONFIRM);
    assert_eq!(decide(&policy(false, notify), &Asked { kind: Kind::Raw, ..login }), notify.and(Action::CONFIRM));
    let forwarded = Asked { origin: Origin::ForwardedUnverified, ..login };
    assert_eq!(decide(&policy(false, notify), &forwarded), Action::CONFIRM);
    let named = KeyLimits { named_destination: true, ..KeyLimits::default() };
    assert_eq!(policy(false, notify).decide(&login, named).action, Action::Deny);
}

#[test]
fn a_key_for_certain_hosts_logs_in_nowhere_else_and_does_nothing_else() {
    let mut work = section("work", Vec::new());
    work.hosts = Some(HostList::new(&owned(&["*.corp.example", "git@github.com"])));
    let policy = |rules| Policy { keys: vec![KeyPolicy { rules, ..work.clone() }], ..strict() };
    let (corp, github) = (owned(&["a.corp.example"]), owned(&["github.com"]));
    let login = asked(Origin::LocalDirect, Kind::BoundLogin);
    assert_eq!(decide(&policy(vec![]), &Asked { hosts: &corp, user: Some("dev"), ..login }), Action::ALLOW);
    assert_eq!(decide(&policy(vec![]), &Asked { hosts: &github, user: Some("dev"), ..login }), Action::Deny);
    assert_eq!(decide(&policy(vec![]), &login), Action::Deny, "the host is not known");
    let signature = asked(Origin::LocalTool, Kind::SshSig);
    assert_eq!(decide(&policy(vec![]), &signature), Action::Deny);
    let signing = rule(Matcher { kinds: Some(vec![Kind::SshSig]), ..Matcher::default() }, Action::ALLOW);
    assert_eq!(decide(&policy(vec![signing]), &signature), Action::ALLOW);
}

#[test]
fn an_administrators_rules_come_on_top_and_a_file_that_is_broken_stops_everything() {
    let touch = Action::Require(Requirements::TOUCH);
    let files = vec![vec![rule(Matcher::default(), touch)], vec![rule(Matcher::default(), Action::CONFIRM)]];
    let policy = Policy { administrator: Administrator::Rules(files), ..strict() };
    let login = asked(Origin::LocalDirect, Kind::BoundLogin);
    assert_eq!(decide(&policy, &login), touch.and(Action::CONFIRM));
    let stock = Policy { administrator: policy.administrator.clone(), ..Policy::new(Preset::Openssh) };
    assert_eq!(decide(&stock, &login), touch.and(Action::CONFIRM));
    let broken = Policy { administrator: Administrator::Unknown("it cannot be read".into()), ..strict() };
    let verdict = broken.decide(&login, KeyLimits::default());
    assert_eq!((verdict.action, &*verdict.because().rule), (Action::Deny, "it cannot be read"));
}

#[test]
fn an_approval_reaches_as_far_as_everybody_who_wants_one_agrees() {
    let cache = |seconds, count| Cache { time: Duration::from_secs(seconds), count };
    let caching = |action, cache| Rule { cache: Some(cache), ..rule(Matcher::default(), action) };
    let policy = Policy { rules: vec![caching(Action::CONFIRM, cache(900, Some(50)))], ..strict() };
    let reach = |policy: &Policy, asked: &Asked<'_>, limits| policy.decide(asked, limits).remember;
    let local = asked(Origin::LocalDirect, Kind::BoundLogin);
    let none = KeyLimits::default();
    let fifteen = Remember { cache: cache(900, Some(50)), scope: Scope::Terminal };
    assert_eq!(reach(&policy, &local, none), Some(fifteen));
    assert_eq!(reach(&policy, &local, KeyLimits { confirm: true, ..none }), None, "ssh-add -c wants a yes for each");
    let hop = asked(Origin::ForwardedKnownHop, Kind::Login);
    assert_eq!(reach(&policy, &hop, none), Some(Remember { cache: cache(600, Some(50)), scope: Scope::Hop }));
    assert_eq!(reach(&policy, &asked(Origin::ForwardedUnverified, Kind::Login), none), None);
    let unknown = asked(Origin::Unknown, Kind::BoundLogin);
    assert_eq!(reach(&policy, &unknown, none), None, "whoever else speaks through the program would share in it");
    let about_unknown = Matcher { origins: Some(vec![Origin::Unknown]), ..Matcher::default() };
    let rules = vec![Rule { when: about_unknown, ..policy.rules[0].clone() }];
    let explicit = Policy { rules, ..strict() };
    assert_eq!(reach(&explicit, &unknown, none), Some(fifteen));
    assert_eq!(reach(&explicit, &asked(Origin::Unknown, Kind::Raw), none), None);
    assert_eq!(reach(&strict(), &hop, none), None, "nobody said that one yes is enough");
    let admin = |rule| Policy { administrator: Administrator::Rules(vec![vec![rule]]), ..policy.clone() };
    assert_eq!(reach(&admin(rule(Matcher::default(), Action::CONFIRM)), &local, none), None);
    let shorter = admin(caching(Action::CONFIRM, cache(60, None)));
    assert_eq!(reach(&shorter, &local, none), Some(Remember { cache: cache(60, Some(50)), ..fifteen }));
}

#[test]
fn the_reason_that_is_told_is_the_one_that_weighs_most() {
    let mut policy = strict();
    let when = Matcher { users: patterns(&["git"]), ..Matcher::default() };
    policy.rules = vec![Rule {
        label: "rule 1".into(),
        place: Some(Place { file: "config.toml".into(), line: 7 }),
        rate: Some(Rate { count: 1, per: Duration::from_secs(1) }),
        ..rule(when, Action::CONFIRM)
    }];
    let login = Asked { user: Some("git"), ..asked(Origin::LocalDirect, Kind::BoundLogin) };
    let verdict = policy.decide(&login, KeyLimits::default());
    assert_eq!(verdict.because().cited(), "rule 1 (config.toml:7)");
    let limits = KeyLimits { token: Requirements::TOUCH, ..KeyLimits::default() };
    let verdict = strict().decide(&login, limits);
    assert_eq!((verdict.action, verdict.because().source), (Action::Require(Requirements::TOUCH), Source::Token));
}
