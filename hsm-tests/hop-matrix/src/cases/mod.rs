//! The cases, by who asks and how a request gets to the agent.

mod forwarded;
mod gssapi;
mod hostile;
mod listener;
mod local;
mod masters;
mod named;
mod programs;
mod relays;
mod sudo;

use crate::case::Case;

/// All cases, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    let lists: [&'static [Case]; 10] = [
        local::CASES,
        forwarded::CASES,
        masters::CASES,
        relays::CASES,
        listener::CASES,
        named::CASES,
        programs::CASES,
        gssapi::CASES,
        sudo::CASES,
        hostile::CASES,
    ];
    lists.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::case::{Asks, Verdict, Wants};

    #[test]
    fn names_are_unique() {
        let mut names = HashSet::new();
        assert!(all().all(|case| names.insert(case.name)));
    }

    #[test]
    fn only_what_is_local_or_named_by_the_user_may_be_silent() {
        for case in all().filter(|case| case.wants != Wants::Keys) {
            let may = matches!(case.asks, Asks::Local | Asks::Named);
            assert_eq!(case.verdict == Verdict::Silent, may, "{}", case.name);
        }
    }

    #[test]
    fn every_case_is_in_the_document() {
        let document = include_str!("../../../../docs/forwarding.md");
        for case in all() {
            let begin = format!("| `{}` | {} | {} |", case.name, case.what, case.asks);
            assert!(document.contains(&begin), "docs/forwarding.md has no line {begin}");
        }
    }
}
