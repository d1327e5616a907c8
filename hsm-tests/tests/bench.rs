//! The benchmark runs and its numbers belong together. What they are is not for a test to say.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--quick", "--hardkey", "/usr/bin/ssh-agent"])
        .args(arguments)
        .output()
        .expect("the benchmark can be run")
}

#[test]
fn a_row_compares_hardkey_with_stock_and_the_bare_token() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("results");
    let output = bench(&["--only", "sign, token rsa2048, 1 client", "--json", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let results: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let rows = results["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    let name = "sign, token rsa2048, 1 client";
    assert_eq!(names, [name, &format!("{name}, median"), &format!("{name}, p99"), &format!("{name}, CPU")]);
    for target in ["hardkey", "stock", "raw"] {
        let target = &rows[0][target];
        assert_eq!(target["rounds"].as_array().unwrap().len(), 3);
        assert!(target["median"].as_f64().unwrap() > 1.0, "signatures a second");
    }
    assert!(rows[0]["hardkey/raw"].as_f64().unwrap() > 0.0);
}

#[test]
fn an_agent_that_does_not_start_is_named() {
    let output = bench(&["--hardkey", "/bin/false"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("ended with exit status: 1"));
}
