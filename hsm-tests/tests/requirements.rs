//! Every sentence of RFC 9987 is obeyed and tested, or it is said why not.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn requirements(root: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_requirements")).arg(root).output().expect("run the command")
}

#[test]
fn no_sentence_of_the_rfc_is_left_open() {
    let output = requirements(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_sentence_without_code_and_test_is_named() {
    let root = tempfile::tempdir().expect("a directory");
    for directory in ["docs", "src", "tests", "hsm-tests"] {
        fs::create_dir(root.path().join(directory)).expect("a directory");
    }
    let sentence = "[[requirement]]\nsection = \"5.1\"\nsentence = \"It MUST reply.\"\n";
    fs::write(root.path().join("docs/rfc9987-requirements.toml"), sentence).expect("write");
    fs::write(root.path().join("src/lib.rs"), "//= RFC 9987 section 5.1: MUST reply\n").expect("write");

    let output = requirements(root.path());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("section 5.1: no test: It MUST reply."), "{said}");
    assert!(said.contains("1 sentences of RFC 9987: 0 with code and test, 0 explained, 1 open"), "{said}");
}
