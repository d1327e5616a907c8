//! Verdicts: what a request takes, and by which rules.
//!
//! Pure: what is asked and by whom comes in as values, a verdict with its parts goes out. Never asks anybody, reads a file or waits.

pub mod asked;
mod at_hand;
mod decide;
pub mod destination;
mod hosts;
mod interests;
mod lint;
mod management;
pub mod matcher;
mod preset;
mod rate;
mod requirements;
mod rule;
mod verdict;
pub mod websafe;

pub use at_hand::KeyAtHand;
pub use decide::{Administrator, KeyLimits, KeyPolicy, LONGEST_FORWARDED_APPROVAL, Policy, ProcessRule, Sight};
pub use hosts::HostList;
pub use interests::Interests;
pub use lint::Finding;
pub use management::{NotManager, decide_list, decide_management};
pub use preset::{FORWARDED, Preset};
pub use rate::{Rates, TooOften};
pub use requirements::{Action, Requirements};
pub use rule::{Cache, Place, Rate, Rule};
pub use verdict::{Part, Remember, Scope, Source, Verdict};
