//! The long test, run for a few seconds: that it works, and that nothing it does is refused.

use std::process::Command;

#[test]
fn everything_at_once_is_survived_for_a_while() {
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--minutes", "0.2"])
        .env("HARDKEY_BIN", hsm_tests::agent_binary())
        .output()
        .expect("the soak can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let last = said.lines().rev().find(|line| !line.contains("at rest")).expect("a table");
    let numbers: Vec<u64> = last.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    // Seconds, memory, files and workers; each kind of work was done; at most the refusals are none.
    let [work @ .., _refused] = &numbers[4..] else { panic!("columns: {last}") };
    assert!(work.iter().all(|done| *done > 0), "{said}");
}
