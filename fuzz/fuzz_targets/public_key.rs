//! See `properties::public_key`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::public_key::check(input));
