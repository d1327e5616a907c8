//! Verdicts: whether a request is served, needs consent or is refused, and by which rule.
//!
//! Pure: what is asked and by whom comes in as values, a verdict with its rule goes out. Never asks anybody, reads a file or waits.

pub mod destination;
mod verdict;
pub mod websafe;

pub use verdict::{Action, Ask, KeyLimits, Preset, Verdict, decide, decide_as_stock, decide_list, decide_management};
