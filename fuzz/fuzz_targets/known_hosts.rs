//! See `properties::known_hosts`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::known_hosts::check(input));
