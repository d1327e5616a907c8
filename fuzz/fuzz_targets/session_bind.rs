//! See `properties::session_bind`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::session_bind::check(input));
