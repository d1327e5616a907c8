//! Every property, for the seeds of its fuzz target and for random changes of them.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use super::ALL;

/// A change of an input, at a place given in parts of its length so that it means something for any length.
#[derive(Debug, Clone)]
enum Edit {
    Replace(f64, u8),
    Insert(f64, Vec<u8>),
    Remove(f64, usize),
    Cut(f64),
    /// Goes on with another seed, from a place of that.
    Continue(f64, prop::sample::Index, f64),
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = || 0.0..1.0;
    // Lengths are 32 bits with mostly zeros; changing one is what parsers stumble over.
    let octet = prop_oneof![Just(0_u8), Just(1), Just(255), any::<u8>()];
    prop_oneof![
        4 => (place(), octet).prop_map(|(at, octet)| Edit::Replace(at, octet)),
        2 => (place(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, octets)| Edit::Insert(at, octets)),
        2 => (place(), 1..9_usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        1 => place().prop_map(Edit::Cut),
        1 => (place(), any::<prop::sample::Index>(), place()).prop_map(|(at, other, from)| Edit::Continue(at, other, from)),
    ]
}

fn apply(mut input: Vec<u8>, edits: &[Edit], seeds: &[Vec<u8>]) -> Vec<u8> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
    let place = |length: usize, part: f64| (length as f64 * part) as usize;
    for edit in edits {
        let length = input.len();
        match edit {
            Edit::Replace(at, octet) => input.get_mut(place(length, *at)).into_iter().for_each(|old| *old = *octet),
            Edit::Insert(at, octets) => drop(input.splice(place(length, *at)..place(length, *at), octets.clone())),
            Edit::Remove(at, count) => {
                let at = place(length, *at);
                input.drain(at..length.min(at + count));
            }
            Edit::Cut(at) => input.truncate(place(length, *at)),
            Edit::Continue(at, other, from) => {
                let other = other.get(seeds);
                input.truncate(place(length, *at));
                input.extend_from_slice(&other[place(other.len(), *from)..]);
            }
        }
    }
    input
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("an entry of the directory").path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a seed")).collect()
}

/// Seeds as they are, then `cases` inputs made from them.
fn holds(name: &str, cases: u32) {
    let (_, check) = ALL.into_iter().find(|(own, _)| *own == name).expect("a property of this name");
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "no seeds for {name}");
    seeds.iter().for_each(|seed| check(seed));
    check(&[]);

    let inputs = (any::<prop::sample::Index>(), prop::collection::vec(edit(), 1..6))
        .prop_map(|(seed, edits)| apply(seed.get(&seeds).clone(), &edits, &seeds));
    // Failures are kept as seeds, by people, and not as proptest's own files.
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    // The same inputs at each run; new ones are what the fuzz targets are for.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&inputs, |input| {
        check(&input);
        Ok(())
    });
    if let Err(TestError::Fail(reason, input)) = outcome {
        panic!("{reason}, with \"{}\"", input.escape_ascii());
    }
}

#[test]
fn configurations_keep_their_promises() {
    holds("configuration", 3000);
}

#[test]
fn a_security_key_that_says_anything_gets_no_more_than_a_failure() {
    holds("fido_device", 1000);
}

#[test]
fn constraints_are_understood_one_way() {
    holds("constraints", 5000);
}

#[test]
fn frames_come_out_however_they_are_cut() {
    holds("frames", 2000);
}

#[test]
fn answers_of_workers_are_no_danger() {
    holds("ipc", 5000);
}

#[test]
fn known_hosts_have_a_line_for_each_answer() {
    holds("known_hosts", 1000);
}

#[test]
fn payloads_are_recognised_to_the_last_octet() {
    holds("payload", 10_000);
}

#[test]
fn a_public_key_has_one_blob() {
    holds("public_key", 5000);
}

#[test]
fn requests_are_what_was_sent() {
    holds("requests", 1500);
}

#[test]
fn binds_are_recorded_as_openssh_does() {
    holds("session_bind", 3000);
}

#[test]
fn the_question_to_ssh_is_the_command_itself() {
    holds("ssh_argv", 10_000);
}

#[test]
fn uris_read_back_and_keep_pins_to_themselves() {
    holds("uri", 10_000);
}
