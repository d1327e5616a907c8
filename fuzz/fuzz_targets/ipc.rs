//! See `properties::ipc`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::ipc::check(input));
