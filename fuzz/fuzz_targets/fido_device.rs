//! See `properties::fido_device`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| properties::fido_device::check(input));
