//! See `properties::constraints`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::constraints::check(input));
