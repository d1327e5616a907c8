//! See `properties::payload`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::payload::check(input));
