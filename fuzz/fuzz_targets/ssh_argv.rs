//! See `properties::ssh_argv`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::ssh_argv::check(input));
