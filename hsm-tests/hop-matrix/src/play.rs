//! Plays a case, with a person and without, and compares what happened with what should have.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hsm_tests::is_stock;

use crate::case::{Case, Stock, Verdict, Wants};
use crate::world::{Person, Seen, World};

/// Both plays of a case.
pub(crate) struct Played {
    /// Where the agent found the requests to come from; empty for agents that do not look.
    pub(crate) classes: Vec<String>,
    /// With somebody who says yes. None if the case broke.
    pub(crate) with_person: Option<Outcome>,
    /// Without any way to ask; not played with OpenSSH's agent, which does not ask in any case.
    pub(crate) alone: Option<Outcome>,
    /// What went wrong, with all that is known about it.
    pub(crate) complaints: Vec<String>,
}

/// What came of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    given: bool,
    asked: bool,
    wants: Wants,
}

impl Outcome {
    /// Whether it was given, and whether somebody was asked about it.
    pub(crate) const fn new(case: &Case, given: bool, asked: bool) -> Self {
        Self { given, asked, wants: case.wants }
    }

    /// Whether somebody got more than a look at the keys, and nobody was asked.
    pub(crate) fn is_silent(self) -> bool {
        self.given && !self.asked && self.wants != Wants::Keys
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match (self.wants, self.given, self.asked) {
            (Wants::Signature, true, false) => "signed silently",
            (Wants::Signature, true, true) => "asked, signed",
            (Wants::Keys, true, _) => "shown",
            (Wants::Keys, false, _) => "not shown",
            (Wants::Change, true, false) => "done silently",
            (Wants::Change, true, true) => "asked, done",
            (_, false, true) => "asked, refused",
            (_, false, false) => "refused",
        })
    }
}

/// Plays a case as often as it takes.
pub(crate) fn play(case: &Case) -> Played {
    let mut played = Played { classes: Vec::new(), with_person: None, alone: None, complaints: Vec::new() };
    if is_stock() {
        let expected = Outcome::new(case, case.stock == Stock::Gives, false);
        played.with_person = once(case, Person::SaysYes, expected, &mut played);
        return played;
    }
    played.with_person = once(case, Person::SaysYes, expected(case, Person::SaysYes), &mut played);
    played.alone = once(case, Person::Nobody, expected(case, Person::Nobody), &mut played);
    played
}

/// What an agent does that knows where requests come from.
pub(crate) fn expected(case: &Case, person: Person) -> Outcome {
    let (given, asked) = match (case.verdict, person, case.wants) {
        (Verdict::Silent, _, _) | (Verdict::Ask, Person::SaysYes, Wants::Keys) => (true, false),
        (Verdict::Ask, Person::SaysYes, _) => (true, true),
        (Verdict::Ask, Person::Nobody, _) | (Verdict::Deny, _, _) => (false, false),
    };
    Outcome::new(case, given, asked)
}

fn once(case: &Case, person: Person, expected: Outcome, played: &mut Played) -> Option<Outcome> {
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let world = World::new(person, case.hosts);
        let given = (case.run)(&world);
        let seen = world.seen();
        let outcome = Outcome::new(case, given, !seen.questions.is_empty());
        let complaints = complaints(case, outcome, expected, &seen);
        let told = complaints.into_iter().map(|complaint| format!("{complaint}\n{}", world.home().logs())).next();
        (outcome, seen.classes, told)
    }));
    let way = match person {
        Person::SaysYes => "with a person who says yes",
        Person::Nobody => "without a way to ask",
    };
    match attempt {
        Ok((outcome, classes, complaint)) => {
            played.complaints.extend(complaint.map(|complaint| format!("{way}: {complaint}")));
            for class in classes {
                if !played.classes.contains(&class) {
                    played.classes.push(class);
                }
            }
            Some(outcome)
        }
        Err(panic) => {
            played.complaints.push(format!("{way}: could not be played: {}", text(panic.as_ref())));
            None
        }
    }
}

/// What is wrong with what was seen, worst first.
fn complaints(case: &Case, outcome: Outcome, expected: Outcome, seen: &Seen) -> Vec<String> {
    let mut complaints = Vec::new();
    if outcome != expected {
        complaints.push(format!("{outcome}, but it should be: {expected}"));
    }
    // One yes is for one signature.
    if case.verdict != Verdict::Silent && seen.signatures > seen.questions.len() {
        complaints.push(format!("{} questions, but {} signatures", seen.questions.len(), seen.signatures));
    }
    if let Some(question) = seen.needless_questions.first() {
        complaints.push(format!("a local login was asked about: {question}"));
    }
    complaints
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
