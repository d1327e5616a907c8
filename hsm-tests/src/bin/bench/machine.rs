//! What the numbers were measured on: without it they mean nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::options::Options;

/// Names and values, in the order to be shown.
pub(crate) fn describe(options: &Options) -> Vec<(&'static str, String)> {
    let first_of = |path: &str, prefix: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(prefix)).unwrap_or_default();
        line.trim_start_matches([':', ' ', '\t']).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("cpu", format!("{} x {}", cores, first_of("/proc/cpuinfo", "model name"))),
        ("kernel", first_of("/proc/sys/kernel/osrelease", "")),
        ("load", first_of("/proc/loadavg", "")),
        ("openssh", said(Command::new("ssh").arg("-V"))),
        ("softhsm", said(Command::new("softhsm2-util").arg("--version"))),
        ("hardkey", path(&options.hardkey)),
        ("stock", path(&options.stock)),
        ("rounds", format!("{} of {:?} for each target", options.rounds, options.turn)),
    ]
}

fn path(path: &Path) -> String {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Versions come on either output.
fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
