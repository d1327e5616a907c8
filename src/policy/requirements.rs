//! What a signature takes: a set of requirements, or a refusal. Sets are joined by union, and a refusal outweighs every set, so that
//! nothing which is added to a policy takes anything away from it.

use std::fmt;

/// A set out of notify, confirm, touch and pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Requirements(u8);

/// What is to happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is served if all of this is met; at once if there is nothing to meet.
    Require(Requirements),
    /// It is refused.
    Deny,
}

impl Requirements {
    /// Nothing: the request is served silently.
    pub const NONE: Self = Self(0);
    /// The person is told, and not waited for.
    pub const NOTIFY: Self = Self(1);
    /// The person says yes in a dialog.
    pub const CONFIRM: Self = Self(2);
    /// The person touches the device.
    pub const TOUCH: Self = Self(4);
    /// The person gives the PIN, for this signature.
    pub const PIN: Self = Self(8);
    /// Each requirement, with its name in the configuration.
    pub const NAMES: [(&'static str, Self); 4] =
        [("notify", Self::NOTIFY), ("confirm", Self::CONFIRM), ("touch", Self::TOUCH), ("pin", Self::PIN)];

    /// The requirement of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(own, _)| *own == name).map(|(_, requirement)| *requirement)
    }

    /// What a device demands.
    #[must_use]
    pub const fn of(touch: bool, pin: bool) -> Self {
        let touch = if touch { Self::TOUCH } else { Self::NONE };
        touch.union(if pin { Self::PIN } else { Self::NONE })
    }

    /// What either set demands.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether everything that `other` demands is demanded.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is demanded.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Action {
    /// Served silently.
    pub const ALLOW: Self = Self::Require(Requirements::NONE);
    /// Served if a person says yes.
    pub const CONFIRM: Self = Self::Require(Requirements::CONFIRM);

    /// Both apply: the union of what they demand.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Require(own), Self::Require(other)) => Self::Require(own.union(other)),
            _ => Self::Deny,
        }
    }

    /// Whether this demands all that `other` does.
    #[must_use]
    pub const fn is_at_least(self, other: Self) -> bool {
        match (self, other) {
            (Self::Deny, _) => true,
            (Self::Require(own), Self::Require(other)) => own.contains(other),
            (Self::Require(_), Self::Deny) => false,
        }
    }

    /// Whether this requirement is among those that are made.
    #[must_use]
    pub const fn demands(self, requirement: Requirements) -> bool {
        matches!(self, Self::Require(own) if own.contains(requirement))
    }
}

/// The names of what is demanded, joined by `+`.
impl fmt::Display for Requirements {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(_, requirement)| self.contains(*requirement)).map(|(name, _)| *name);
        formatter.write_str(&names.collect::<Vec<_>>().join("+"))
    }
}

/// As the configuration has it: `allow`, `deny`, or what is demanded.
impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deny => formatter.write_str("deny"),
            Self::Require(nothing) if nothing.is_empty() => formatter.write_str("allow"),
            Self::Require(requirements) => requirements.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_actions_never_yields_less_than_either() {
        let sets = (0..16).map(|set| Action::Require(Requirements(set)));
        let all: Vec<Action> = sets.chain([Action::Deny]).collect();
        for own in &all {
            for other in &all {
                let both = own.and(*other);
                assert!(both.is_at_least(*own) && both.is_at_least(*other), "{own} {other}");
                assert_eq!(both, other.and(*own));
                assert!(
                    all.iter()
                        .all(|less| !(less.is_at_least(*own) && less.is_at_least(*other)) || less.is_at_least(both))
                );
            }
        }
    }

    #[test]
    fn actions_are_written_as_the_configuration_has_them() {
        let both = Requirements::CONFIRM.union(Requirements::TOUCH);
        let shown = [Action::ALLOW, Action::Deny, Action::Require(both)].map(|action| action.to_string());
        assert_eq!(shown, ["allow", "deny", "confirm+touch"]);
    }
}
