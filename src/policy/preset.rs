//! The named sets of rules that a policy stands on: what each class of origin takes before anybody has written a rule.

use serde::Deserialize;

use super::asked::Kind;
use super::matcher::Matcher;
use super::requirements::Action;
use super::rule::Rule;
use crate::origin::classify::Origin;

/// A named set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Nothing that is not local for certain is served without consent.
    #[default]
    Strict,
    /// Exactly what stock ssh-agent allows.
    Openssh,
}

/// The classes of what is forwarded.
pub const FORWARDED: [Origin; 3] = [Origin::ForwardedVerified, Origin::ForwardedKnownHop, Origin::ForwardedUnverified];

impl Preset {
    /// The rules, first match first. There is one for every request.
    pub(super) fn rules(self) -> Vec<Rule> {
        match self {
            Self::Strict => strict(),
            Self::Openssh => {
                let label = "preset openssh: stock ssh-agent allows it";
                vec![Rule::built_in(label, Matcher::default(), Action::ALLOW)]
            }
        }
    }
}

fn strict() -> Vec<Rule> {
    //= RFC 9987 section 10: Agents SHOULD implement additional controls over key visibility and use for forwarded agent
    //= connections
    let from = |origin: Origin| Matcher { origins: Some(vec![origin]), ..Matcher::default() };
    let named = |origin: Origin| Matcher { named_destination: Some(true), ..from(origin) };
    vec![
        Rule::built_in(
            "the key was added for this hop and destination (ssh-add -h), and both are proved",
            Matcher { one_hop: true, ..named(Origin::ForwardedVerified) },
            Action::ALLOW,
        ),
        Rule::built_in(
            "the key was added for paths that begin here (ssh-add -h), and it is not certain that this one does",
            named(Origin::Unknown),
            Action::Deny,
        ),
        Rule::built_in(
            "forwarded: octets of unknown meaning are never signed",
            Matcher { origins: Some(FORWARDED.to_vec()), kinds: Some(vec![Kind::Raw]), ..Matcher::default() },
            Action::Deny,
        ),
        Rule::built_in("local-direct: the user's own ssh logs in for itself", from(Origin::LocalDirect), Action::ALLOW),
        Rule::built_in("local-tool: a trusted program that cannot relay", from(Origin::LocalTool), Action::ALLOW),
        Rule::built_in(
            "forwarded-verified: a hop never signs silently",
            from(Origin::ForwardedVerified),
            Action::CONFIRM,
        ),
        Rule::built_in(
            "forwarded-known-hop: a hop never signs silently",
            from(Origin::ForwardedKnownHop),
            Action::CONFIRM,
        ),
        Rule::built_in(
            "forwarded-unverified: a hop never signs silently",
            from(Origin::ForwardedUnverified),
            Action::CONFIRM,
        ),
        Rule::built_in("unknown: it may come from elsewhere", from(Origin::Unknown), Action::CONFIRM),
    ]
}
