//! The `hardkey` command.
fn main() {}
