//! See `properties::requests`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::requests::check(input));
