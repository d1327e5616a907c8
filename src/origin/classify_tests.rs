use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::origin::Unknown;
use crate::origin::binds::BindFault;
use crate::origin::evidence::{Kind, Program};
use crate::origin::testing::Random;
use crate::origin::testing_world::{World, bound, hostbound, login, place};

use Origin::{LocalDirect, Unknown as Elsewhere};

/// The table says what arrives in each case that was seen in experiments; see its head for the columns.
#[test]
fn every_case_of_the_table_is_classed_as_it_says() {
    let cases = include_str!("classify_cases.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut count = 0;
    for case in cases {
        let columns: Vec<_> = case.split('|').map(str::trim).collect();
        let [_, binds, changes, request, class] = columns[..] else {
            panic!("five columns: {case}");
        };
        let judgement = World::of(binds, changes, request).judge();
        assert_eq!(judgement.origin.to_string(), class, "{case}\n{}", judgement.reason);
        count += 1;
    }
    assert!(count > 60, "{count}");
}

#[test]
fn each_rule_alone_is_enough_to_say_no() {
    type Break = (Rule, fn(&mut World));
    let breaks: [Break; 19] = [
        (Rule::D1, |w| w.apply("stranger")),
        (Rule::D1, |w| w.apply("old")),
        (Rule::D1, |w| {
            w.program = Ok(Program { role: Role::Ssh, version: None });
        }),
        (Rule::D2, |w| w.apply("second")),
        (Rule::D2, |w| w.standing.ordinal = None),
        (Rule::D2, |w| w.apply("tainted")),
        (Rule::D3, |w| w.apply("not-ours")),
        (Rule::D3, |w| {
            w.setup.own_agent_is_ours = Err(Unknown::new("?"));
        }),
        (Rule::D4, |w| w.phase.listens = true),
        (Rule::D4, |w| w.phase.forked = true),
        (Rule::D4, |w| w.phase.age = Duration::from_secs(121)),
        (Rule::D4, |w| w.apply("service backgrounds")),
        (Rule::D5, |w| w.apply("predates")),
        (Rule::D6, |w| w.sign(hostbound("hostb", "s0"))),
        (Rule::D7, |w| w.apply("foreign")),
        (Rule::D7, |w| w.pin = Answer::Revoked(place())),
        (Rule::D8, |w| w.apply("other-user")),
        (Rule::D9, |w| w.apply("relays")),
        (Rule::D10, |w| w.apply("gssapi-a")),
    ];
    for (rule, change) in breaks {
        let mut world = World::default();
        change(&mut world);
        let judgement = world.judge();
        let failed = |found: &&Finding| found.outcome == Outcome::Fail;
        let failed: Vec<_> = judgement.findings.iter().filter(failed).collect();
        assert_eq!(failed.iter().map(|found| found.rule).collect::<Vec<_>>(), [rule]);
        assert_eq!(judgement.origin, Elsewhere);
        assert!(judgement.reason.contains(&*failed[0].reason), "{}", judgement.reason);
    }
}

#[test]
fn a_service_is_told_from_an_ssh_that_went_into_the_background() {
    assert_eq!(World::of("A:hosta@s0", "service", "login s0").judge().origin, LocalDirect);
    assert_eq!(World::of("A:hosta@s0", "backgrounds", "login s0").judge().origin, LocalDirect);
}

#[test]
fn evidence_that_was_not_gathered_speaks_for_nobody() {
    let world = World::default();
    for missing in [Need::Phase, Need::Setup, Need::Pin] {
        let mut evidence = world.evidence();
        match missing {
            Need::Phase => evidence.phase = None,
            Need::Setup => evidence.setup = None,
            Need::Pin => evidence.pin = None,
        }
        assert_eq!(classify(&evidence).origin, Elsewhere);
        assert_eq!(needed(&evidence), Some(missing));
    }
    assert_eq!(needed(&world.evidence()), None);
}

#[test]
fn evidence_that_could_not_be_had_speaks_for_nobody() {
    let world = World::default();
    let unknown = || Unknown::new("gone");
    assert_eq!(classify(&Evidence { phase: Some(Err(unknown())), ..world.evidence() }).origin, Elsewhere);
    assert_eq!(classify(&Evidence { setup: Some(Err(unknown())), ..world.evidence() }).origin, Elsewhere);
    assert_eq!(classify(&Evidence { pin: Some(Err(unknown())), ..world.evidence() }).origin, Elsewhere);
    assert_eq!(classify(&Evidence { standing: Err(unknown()), ..world.evidence() }).origin, Elsewhere);
    assert_eq!(classify(&Evidence { program: Err(unknown()), ..world.evidence() }).origin, Elsewhere);
}

#[test]
fn nothing_is_gathered_for_what_is_decided_already() {
    let needs = |binds: &str, changes: &str| {
        let world = World::of(binds, changes, "bound hosta@s0");
        needed(&Evidence { phase: None, setup: None, pin: None, ..world.evidence() })
    };
    assert_eq!(needs("A:hosta@s0", ""), Some(Need::Phase));
    assert_eq!(needs("A:hosta@s0", "stranger"), None);
    assert_eq!(needs("A:hosta@s0", "second"), None);
    assert_eq!(needs("A:hosta@s0", "listener"), None);
    assert_eq!(needs("", "signer"), None);
    assert_eq!(needs("F:hosta@s0", "known"), None);
    assert_eq!(needs("F:hosta@s0", "stranger"), None);
    assert_eq!(needs("F:hosta@s0", ""), Some(Need::Setup));
}

#[test]
fn a_destination_is_a_fact_only_where_somebody_enforces_it() {
    let fact = |binds: &str, changes: &str, payload| {
        let mut world = World::of(binds, changes, "list");
        world.sign(payload);
        let evidence = world.evidence();
        match destination(&evidence, classify(&evidence).origin) {
            Destination::Enforced(key) => format!("enforced {}", String::from_utf8_lossy(key)),
            Destination::Vouched(key) => format!("vouched {}", String::from_utf8_lossy(key)),
            Destination::Unknown => "unknown".to_owned(),
        }
    };
    assert_eq!(fact("A:hosta@s0", "", login("s0")), "vouched hosta");
    assert_eq!(fact("A:hosta@s0", "second", login("s0")), "unknown");
    assert_eq!(fact("", "stranger", hostbound("hostb", "s1")), "enforced hostb");
    assert_eq!(fact("F:hosta@s0 A:hostb@s1", "forwards", login("s1")), "unknown");
    assert_eq!(fact("", "signer", PayloadFact::SshSig), "unknown");
}

#[test]
fn a_socket_with_a_label_is_named() {
    let world = World::of("A:hosta@s0", "listener", "login s0");
    let judgement = classify(&Evidence { label: Some("dev container"), ..world.evidence() });
    assert!(judgement.reason.ends_with(" (socket \"dev container\")"), "{}", judgement.reason);
}

#[test]
fn a_judgement_reads_as_a_table() {
    let text = World::of("A:hosta@s0", "second", "login s0").judge().to_string();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("unknown: may come from elsewhere: connection 2 of this process"), "{text}");
    assert_eq!(lines[1], "D1  pass a trusted ssh, OpenSSH 9.2");
    assert!(lines[2].starts_with("D2  FAIL connection 2 of this process"), "{text}");
    assert_eq!(lines.len(), 11);
}

/// Whatever else is true: what claims to be forwarded, is tainted, or does not come from a trusted program, is not local; and
/// only a proved first hop makes a forwarded request more than a claim.
#[test]
fn no_evidence_makes_a_relay_local() {
    let mut random = Random::new(7);
    let mut seen = BTreeSet::new();
    for _ in 0..100_000 {
        let world = World::random(&mut random);
        let evidence = world.evidence();
        let judgement = classify(&evidence);
        seen.insert(judgement.origin);
        assert!(!(judgement.first_hop_proved && world.binds.tainted()), "{world:?}");
        if judgement.origin.is_local() {
            assert!(!evidence.is_forwarded() && !world.binds.tainted(), "{world:?}");
            assert!(evidence.program.is_ok() && world.standing.taint.is_none(), "{world:?}");
            assert!(!(evidence.is_ssh() && world.standing.predates_agent), "{world:?}");
        }
        if judgement.origin == LocalDirect && world.request != Request::Manage {
            let pass = |found: &Finding| found.outcome == Outcome::Pass;
            assert!(judgement.findings.iter().all(pass), "{world:?}");
        }
        if matches!(judgement.origin, Origin::ForwardedVerified | Origin::ForwardedKnownHop) {
            assert!(evidence.is_forwarded() && judgement.first_hop_proved, "{world:?}");
            assert!(evidence.is_ssh() && !world.binds.tainted(), "{world:?}");
        }
        // Gathering stops only where more could not change the class.
        let poor = Evidence { phase: None, setup: None, pin: None, ..world.evidence() };
        if needed(&poor).is_none() {
            assert_eq!(classify(&poor).origin, judgement.origin, "{world:?}");
        }
    }
    assert_eq!(seen.len(), 6, "every class comes up: {seen:?}");
}

#[test]
fn a_local_class_is_lost_with_any_one_fault_added() {
    for change in World::FAULTS {
        let world = World::of("A:hosta@s0", change, "bound hosta@s0");
        assert!(!world.judge().origin.is_local(), "{change}");
    }
    let listening = World { listener: Kind::Forward, ..World::default() };
    assert!(!listening.judge().origin.is_local());
    let tainted = World { binds: bound("A:hosta@s0 !"), ..World::default() };
    assert_eq!(tainted.binds.taint_reason(), Some(BindFault::BadSignature));
    assert!(!tainted.judge().origin.is_local());
}
